//! H.264 in Annex B form, as far as encryption has to know it (ITU-T H.264, annex B and §7.3.1).
//!
//! A frame is a row of units, each after a start code (`00 00 01`, with more zeros before it where
//! somebody liked). Engines take the row apart and put it together again: always with four-byte
//! start codes, without delimiters and filler, parameter sets first, no zeros at a unit's end. What
//! is clear is authenticated, so the sender brings it into that form *before* he encrypts.
//!
//! The encrypted part must not look like a start code: it is escaped as units are (a 3 before a
//! byte up to 3 that follows two zeros).

/// Kinds of units (ITU-T H.264 table 7-1).
mod kind {
    pub(super) const SLICE: u8 = 1;
    pub(super) const KEY_SLICE: u8 = 5;
    pub(super) const SEQUENCE: u8 = 7;
    pub(super) const PICTURE: u8 = 8;
    pub(super) const DELIMITER: u8 = 9;
    pub(super) const FILLER: u8 = 12;
}

const START: [u8; 4] = [0, 0, 0, 1];

/// Bytes of the first slice that stay clear: what kind it is, and the beginning of its header.
const SLICE_BYTES: usize = 2;

/// How many bytes of a frame are clear: up to the first two of its first slice. `None`: it does
/// not begin with a start code, or has no slice, or one that is too short.
pub(super) fn clear_bytes(frame: &[u8]) -> Option<usize> {
    let slice = units(frame)?.find(|head| is_slice(frame[*head]))?;
    let clear = slice + SLICE_BYTES;
    (clear <= frame.len()).then_some(clear)
}

/// The clear part in normal form, and the rest as it stands. `None` also where the second byte of
/// the slice is zero: with two zeros of ciphertext behind it, it would look like a start code.
pub(super) fn normalised(frame: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let clear = clear_bytes(frame)?;
    let slice = clear - SLICE_BYTES;
    if frame[clear - 1] == 0 {
        return None;
    }
    let mut normal = Vec::with_capacity(clear + START.len());
    let before = units_before(frame, slice);
    let (sets, others): (Vec<&[u8]>, Vec<&[u8]>) =
        before.into_iter().partition(|unit| is_parameter_set(unit[0]));
    for unit in sets.into_iter().chain(others) {
        normal.extend(START);
        normal.extend(unit);
    }
    normal.extend(START);
    normal.extend(&frame[slice..clear]);
    Some((normal, &frame[clear..]))
}

/// The units before the slice that begins at `slice`, without those that engines throw away.
fn units_before(frame: &[u8], slice: usize) -> Vec<&[u8]> {
    let heads: Vec<usize> =
        units(frame).into_iter().flatten().take_while(|at| *at < slice).collect();
    let nexts = heads.iter().skip(1).copied().chain([slice]);
    heads
        .iter()
        .zip(nexts)
        .map(|(head, next)| trimmed(&frame[*head..next - 3]))
        .filter(|unit| unit.first().is_some_and(|first| !is_thrown_away(*first)))
        .collect()
}

/// Without the zeros at its end: they belong to no unit.
fn trimmed(unit: &[u8]) -> &[u8] {
    let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &unit[..end]
}

/// Where the units of a frame begin, behind their start codes; `None`: it does not begin with one.
fn units(frame: &[u8]) -> Option<impl Iterator<Item = usize>> {
    let first = next_unit(frame, 0)?;
    if frame[..first - 3].iter().any(|byte| *byte != 0) {
        return None;
    }
    // Lazily: behind the first slice nobody looks, and there is most of the frame.
    let mut last = None;
    Some(std::iter::from_fn(move || {
        last = last.map_or(Some(first), |at| next_unit(frame, at));
        last
    }))
}

/// The first unit whose start code begins at `from` or later.
fn next_unit(frame: &[u8], from: usize) -> Option<usize> {
    let code = frame.get(from..)?.windows(3).position(|three| three == [0, 0, 1])?;
    let head = from + code + 3;
    (head < frame.len()).then_some(head)
}

const fn kind_of(first: u8) -> u8 {
    first & 0x1f
}

fn is_slice(first: u8) -> bool {
    matches!(kind_of(first), kind::SLICE | kind::KEY_SLICE)
}

fn is_parameter_set(first: u8) -> bool {
    matches!(kind_of(first), kind::SEQUENCE | kind::PICTURE)
}

fn is_thrown_away(first: u8) -> bool {
    matches!(kind_of(first), kind::DELIMITER | kind::FILLER)
}

/// Appends the bytes, escaped.
pub(super) fn escape_into(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = after_two_zeros(rest, |byte| byte <= 3) {
        let (before, behind) = rest.split_at(at);
        out.extend_from_slice(before);
        out.push(3);
        rest = behind;
    }
    out.extend_from_slice(rest);
}

/// The bytes without escapes.
pub(super) fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = after_two_zeros(rest, |byte| byte == 3) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out
}

/// Where the first byte of this kind, which is at most 3, stands that follows two zeros. Of most bytes
/// only every third is looked at: one above 3 can be none of the three.
fn after_two_zeros(bytes: &[u8], is_kind: impl Fn(u8) -> bool) -> Option<usize> {
    let mut at = 2;
    while let Some(byte) = bytes.get(at) {
        if *byte > 3 {
            at += 3;
        } else if bytes[at - 2] == 0 && bytes[at - 1] == 0 && is_kind(*byte) {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::testkit::hex, *};

    fn escaped(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        escape_into(&mut out, bytes);
        out
    }

    #[test]
    fn escapes_are_those_of_the_vector() {
        let (plain, written) = (hex("0000000000010000030000"), hex("0000030000030001000003030000"));
        assert_eq!(escaped(&plain), written);
        assert_eq!(unescaped(&written), plain);
    }

    #[test]
    fn everything_up_to_two_bytes_of_the_first_slice_is_clear() {
        let frame = hex("000000016742c01f0000000168ce3c8000000001658884000000010203");
        assert_eq!(clear_bytes(&frame), Some(22));
        assert_eq!(normalised(&frame), Some((frame[..22].to_vec(), &frame[22..])));
    }

    #[test]
    fn the_clear_part_gets_the_form_that_engines_give_it() {
        // A delimiter, information, the sequence's and the picture's set, filler; short codes, zeros.
        let frame =
            hex("00000109f0 00000106ab 0000016742c01f00 00000168ce 0000010cff 00000165888400");
        let (clear, rest) = normalised(&frame).unwrap();
        assert_eq!(clear, hex("000000016742c01f 0000000168ce 0000000106ab 000000016588"));
        assert_eq!(rest, hex("8400"));
    }

    #[test]
    fn what_is_no_row_of_units_with_a_slice_is_refused() {
        for frame in ["", "65888400", "ff00000165888400", "0000000167420000000168", "0000000165"] {
            assert_eq!(clear_bytes(&hex(frame)), None, "{frame}");
        }
    }

    #[test]
    fn a_slice_that_could_look_like_a_start_code_is_refused() {
        assert_eq!(normalised(&hex("00000001650001020304")), None);
    }

    proptest! {
        #[test]
        fn escaping_keeps_everything_and_leaves_no_start_code(
            bytes in proptest::collection::vec(0_u8..6, 0..200)
        ) {
            let written = escaped(&bytes);
            prop_assert_eq!(unescaped(&written), bytes);
            prop_assert!(!written.windows(3).any(|three| three[..2] == [0, 0] && three[2] < 3));
        }

        #[test]
        fn the_normal_form_is_its_own_normal_form(
            bytes in proptest::collection::vec(
                prop_oneof![Just(0_u8), Just(1), Just(0x65), Just(0x67), Just(9), any::<u8>()], 0..120)
        ) {
            let frame = [&[0, 0, 1][..], &bytes].concat();
            if let Some((clear, rest)) = normalised(&frame) {
                let whole = [&clear, rest].concat();
                prop_assert_eq!(clear_bytes(&whole), Some(clear.len()));
                prop_assert_eq!(normalised(&whole), Some((clear, rest)));
            }
        }
    }
}
