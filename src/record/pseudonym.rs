//! What stands in the place of private text.
//!
//! A pseudonym has the length and the form of what it stands for: letters for letters, digits for
//! digits, everything else as it is, so that a user id is still one and a replay takes the path of
//! the live call. It comes from a keyed hash with a key that nobody writes down. In one file the
//! same text has the same pseudonym, and (as far as there are enough of that form) different texts
//! have different ones.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    ops::Bound,
};

use crate::{
    id::PartyId,
    sdp::{self, MAX_SDP_BYTES},
    wire::member::{self, KeyLayout},
};

/// Texts with up to so many private characters could meet by chance, so their pseudonyms are remembered.
const SHORT: usize = 16;
/// Most pseudonyms that are remembered; beyond them, two short texts may look alike.
const MAX_REMEMBERED: usize = 16_384;
/// How often another pseudonym is tried for a text whose first is taken.
const ATTEMPTS: u64 = 64;
/// The same for one that has to stand between two others, which may be near to each other.
const ATTEMPTS_BETWEEN: u64 = 1024;
/// Ids of which so few are possible that there may be no room between two.
const ROOMY: usize = 16;

/// Words of a candidate line that say nothing about anybody (RFC 8839 §5.1).
const CANDIDATE_WORDS: &[&str] = &[
    "udp",
    "UDP",
    "tcp",
    "TCP",
    "typ",
    "host",
    "srflx",
    "prflx",
    "relay",
    "raddr",
    "rport",
    "tcptype",
    "active",
    "passive",
    "so",
    "generation",
    "ufrag",
    "network-id",
    "network-cost",
];

/// The attributes of a description that stand in its skeleton as they are.
const KEPT_ATTRIBUTES: &[&str] =
    &["sendrecv", "sendonly", "recvonly", "inactive", "bundle-only", "end-of-candidates"];

/// An `rtpmap` of tones, without anything that does not belong there.
const TONES: &str = " telephone-event/";

/// Schemes that tell what a URI is for.
const SCHEMES: &[&str] = &["stun:", "stuns:", "turn:", "turns:", "mxc:", "sip:", "tel:"];

/// The pseudonyms of one file.
#[derive(Debug, Default)]
pub(super) struct Pseudonyms {
    key: RandomState,
    ours: Option<PartyId>,
    /// Which text a short pseudonym stands for, as its hash.
    taken: BTreeMap<String, u64>,
    /// Users and devices: their pseudonyms stand in the order of the texts.
    ordered: BTreeMap<String, String>,
}

impl Pseudonyms {
    /// For the recording of an engine that is this party.
    pub(super) fn of_engine(party: PartyId) -> Self {
        Self { ours: Some(party), ..Self::default() }
    }

    /// Ours comes from the seed, and a replay mints the same. Others write what they like, and some
    /// their device's id.
    pub(super) fn party(&mut self, party: &str) -> String {
        let ours = self.ours.as_ref().is_some_and(|ours| ours.as_str() == party);
        if ours { party.to_owned() } else { self.text(party) }
    }

    /// For the id of a visit to a group call. Ours are random, and a replay mints them again; those of
    /// other clients may be made of a user's name.
    pub(super) fn visit(&mut self, session: &str) -> String {
        let minted = session.len() == 16 && session.bytes().all(|it| it.is_ascii_alphanumeric());
        if minted { session.to_owned() } else { self.text(session) }
    }

    /// For the state key of a membership: its user and its device by themselves, as they stand
    /// elsewhere.
    pub(super) fn state_key(&mut self, key: &str) -> String {
        match member::parts(key) {
            Some((KeyLayout::UnprotectedDevice, user, device)) => {
                format!("{}_{}", self.member(device), self.member(user))
            }
            Some((KeyLayout::OwnedDevice, user, device)) => {
                format!("{}_{}", self.member(user), self.member(device))
            }
            Some((KeyLayout::User, ..)) | None => self.text(key),
        }
    }

    /// For what is private, whatever it is: descriptions, candidates, other text.
    pub(super) fn private(&mut self, text: &str) -> String {
        if text.starts_with("v=0") && text.len() <= MAX_SDP_BYTES {
            self.skeleton(text)
        } else if text.starts_with("candidate:") {
            self.candidate(text)
        } else {
            let name = self.text(text);
            // What is no description must not look like one by chance.
            name.strip_prefix("v=0").map(|rest| format!("u=0{rest}")).unwrap_or(name)
        }
    }

    /// For a user or a device. Of two members of a mesh the one with the smaller id calls the other,
    /// so pseudonyms stand in the order of what they stand for, as far as there is room between them.
    pub(super) fn member(&mut self, id: &str) -> String {
        if let Some(known) = self.ordered.get(id) {
            return known.clone();
        }
        let to = (Bound::Unbounded, Bound::Excluded(id));
        let before = self.ordered.range::<str, _>(to).next_back().map(|(_, name)| name.clone());
        let from = (Bound::Included(id), Bound::Unbounded);
        let after = self.ordered.range::<str, _>(from).next().map(|(_, name)| name.clone());
        let tag = self.key.hash_one(id);
        let between = |(form, attempt): (&str, u64)| {
            let drawn =
                self.draw_between(form, (tag, attempt), (before.as_deref(), after.as_deref()));
            drawn.filter(|drawn| drawn != id && !self.taken.contains_key(drawn))
        };
        // Between two that are next to each other there is room for a longer one.
        let long = format!("{id}00");
        let forms = [id, &long];
        let forms = &forms[..if id.len() < ROOMY { 2 } else { 1 }];
        let draws = forms.iter().flat_map(|form| (0..ATTEMPTS_BETWEEN).map(move |at| (*form, at)));
        let drawn = draws.into_iter().find_map(between).unwrap_or_else(|| self.of(id));
        // No other text may get it.
        self.taken.entry(drawn.clone()).or_insert(tag);
        if self.ordered.len() < MAX_REMEMBERED {
            self.ordered.insert(id.to_owned(), drawn.clone());
        }
        drawn
    }

    /// The same for many, the middle one first: so each finds room.
    pub(super) fn members<'a>(&mut self, ids: impl Iterator<Item = &'a str>) {
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        let mut parts = vec![ids.as_slice()];
        while let Some(part) = parts.pop() {
            let (before, rest) = part.split_at(part.len() / 2);
            let Some((middle, after)) = rest.split_first() else { continue };
            self.member(middle);
            parts.extend([before, after]);
        }
    }

    /// Another text of the same form that stands between two, if chance finds one.
    fn draw_between(
        &self,
        text: &str,
        (tag, attempt): (u64, u64),
        (before, after): (Option<&str>, Option<&str>),
    ) -> Option<String> {
        let (mut before, mut after) = (before.map(str::as_bytes), after.map(str::as_bytes));
        let mut drawn = String::with_capacity(text.len());
        for (at, byte) in text.bytes().enumerate() {
            // A text that ended goes before every longer one.
            before = before.filter(|name| at < name.len());
            let (lowest, highest) = (
                before.map_or(0, |name| name[at]),
                match after {
                    Some(name) => *name.get(at)?,
                    None => u8::MAX,
                },
            );
            let alike = alike(byte);
            let (first, last) = (lowest.max(*alike.start()), highest.min(*alike.end()));
            let span = last.checked_sub(first)?;
            let chance = self.key.hash_one((tag, attempt, at));
            // Well between the two, where there is room: others come between them and this.
            let (first, span) = match span {
                0..=2 => (first, span + 1),
                3..=7 => (first + 1, span - 1),
                8.. => (first + span / 4, span / 2),
            };
            let chosen = first + u8::try_from(chance % u64::from(span)).unwrap_or_default();
            before = before.filter(|_| chosen == lowest);
            after = after.filter(|_| chosen == highest);
            drawn.push(char::from(chosen));
        }
        let above = before.is_none();
        let below = after.is_none_or(|name| text.len() < name.len());
        (above && below).then_some(drawn)
    }

    /// For any text.
    pub(super) fn text(&mut self, text: &str) -> String {
        if text.starts_with('@') {
            return self.member(text);
        }
        let scheme = SCHEMES.iter().find(|scheme| text.starts_with(**scheme));
        let scheme = scheme.copied().unwrap_or_default();
        format!("{scheme}{}", self.of(&text[scheme.len()..]))
    }

    /// For a key: as many other bytes. Keys are long and made by chance, so that no two of them meet.
    pub(super) fn bytes(&self, key: &[u8]) -> Vec<u8> {
        let tag = self.key.hash_one(key);
        let words =
            (0..key.len().div_ceil(8)).flat_map(|at| self.key.hash_one((tag, at)).to_le_bytes());
        words.take(key.len()).collect()
    }

    /// Another text of the same length and form.
    fn of(&mut self, text: &str) -> String {
        if !text.bytes().any(is_private) {
            return text.to_owned();
        }
        let tag = self.key.hash_one(text);
        let mut drawn = self.draw(text, tag, 0);
        if text.bytes().filter(|byte| is_private(*byte)).count() > SHORT {
            return drawn;
        }
        for attempt in 1..ATTEMPTS {
            let free = self.taken.get(&drawn).is_none_or(|other| *other == tag);
            if free && drawn != text {
                break;
            }
            drawn = self.draw(text, tag, attempt);
        }
        if self.taken.len() < MAX_REMEMBERED {
            self.taken.entry(drawn.clone()).or_insert(tag);
        }
        drawn
    }

    fn draw(&self, text: &str, tag: u64, attempt: u64) -> String {
        let mut word = 0;
        let drawn = text.bytes().enumerate().map(|(at, byte)| {
            if at % 8 == 0 {
                word = self.key.hash_one((tag, attempt, at));
            }
            let chance = (word >> (at % 8 * 8)) as u8;
            char::from(like(byte, chance))
        });
        drawn.collect()
    }

    /// A candidate with its kind and protocol.
    fn candidate(&mut self, line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(|word| self.candidate_word(word)).collect();
        words.join(" ")
    }

    fn candidate_word(&mut self, word: &str) -> String {
        match word.strip_prefix("candidate:") {
            Some(foundation) => format!("candidate:{}", self.of(foundation)),
            None if CANDIDATE_WORDS.contains(&word) => word.to_owned(),
            None => self.of(word),
        }
    }

    // ---------------------------------------------------------------------------- descriptions

    /// What `sdp.rs` looks at, and nothing else. No line gets longer: what is as long as it may be
    /// stays so.
    fn skeleton(&mut self, sdp: &str) -> String {
        let mut skeleton = String::with_capacity(sdp.len());
        for (at, whole) in sdp.split_inclusive('\n').enumerate() {
            let line = whole.trim_end();
            let kept = match line {
                "v=0" if at == 0 => Some(line.to_owned()),
                _ => self.line(line),
            };
            if let Some(kept) = kept {
                skeleton.push_str(&kept);
                skeleton.push_str(end_of(whole));
            }
        }
        skeleton
    }

    fn line(&mut self, line: &str) -> Option<String> {
        if let Some(media) = line.strip_prefix("m=") {
            return Some(media_line(media));
        }
        let attribute = line.strip_prefix("a=")?;
        if KEPT_ATTRIBUTES.contains(&attribute) {
            return Some(line.to_owned());
        }
        if attribute.starts_with("candidate:") {
            return Some(format!("a={}", self.candidate(attribute)));
        }
        let (name, value) = attribute.split_once(':')?;
        let value = self.value(name, value)?;
        Some(format!("a={name}:{value}"))
    }

    fn value(&mut self, name: &str, value: &str) -> Option<String> {
        match name {
            "mid" => Some(value.to_owned()),
            "msid" => Some(self.stream(value)),
            "ssrc" => {
                let (_, stream) = value.split_once(" msid:")?;
                Some(format!(" msid:{}", self.stream(stream)))
            }
            "ice-ufrag" | "ice-pwd" => Some(self.of(value)),
            "fingerprint" => {
                let (algorithm, print) = value.split_once(' ').unwrap_or(("", value));
                let algorithm = if algorithm == "sha-256" { "sha-256 " } else { "" };
                Some(format!("{algorithm}{}", self.of(print)))
            }
            "rtpmap" if sdp::names_tones(value) => Some(TONES.to_owned()),
            _ => None,
        }
    }

    /// The stream of an `msid` as it is, its track as a pseudonym.
    fn stream(&mut self, msid: &str) -> String {
        match msid.split_once(' ') {
            Some((stream, track)) => format!("{stream} {}", self.of(track)),
            None => msid.to_owned(),
        }
    }
}

/// The kind of a media line, and whether its port is zero.
fn media_line(media: &str) -> String {
    let mut words = media.split(' ');
    let kind = match words.next().unwrap_or_default() {
        kind @ ("audio" | "video" | "application" | "") => kind,
        _ => "x",
    };
    let port = if words.next() == Some("0") { " 0" } else { "" };
    format!("m={kind}{port}")
}

/// How a line ends: CRLF by the book, LF from some clients, and the last one perhaps not at all.
fn end_of(line: &str) -> &'static str {
    match (line.ends_with("\r\n"), line.ends_with('\n')) {
        (true, _) => "\r\n",
        (false, true) => "\n",
        (false, false) => "",
    }
}

const fn is_private(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// The characters of the same kind.
const fn alike(byte: u8) -> std::ops::RangeInclusive<u8> {
    match byte {
        b'0'..=b'9' => b'0'..=b'9',
        b'A'..=b'Z' => b'A'..=b'Z',
        _ if byte.is_ascii() && !byte.is_ascii_lowercase() => byte..=byte,
        _ => b'a'..=b'z',
    }
}

/// A character of the same kind, by chance.
const fn like(byte: u8, chance: u8) -> u8 {
    match byte {
        b'0'..=b'9' => b'0' + chance % 10,
        // Also letters of tones and of hexadecimal digits stay within theirs.
        b'A'..=b'D' => b'A' + chance % 4,
        b'E'..=b'Z' => b'E' + chance % 22,
        b'a'..=b'z' => b'a' + chance % 26,
        _ if byte.is_ascii() => byte,
        _ => b'a' + chance % 26,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_has_length_and_form_and_is_always_the_same() {
        let mut names = Pseudonyms::default();
        for text in
            ["@ada.l:example.org", "!r00m:hs", "+49 170 1234567", "Ädä 😀", "a", "7", "123*#A,"]
        {
            let name = names.text(text);
            assert_eq!(name.len(), text.len(), "{text}");
            assert_ne!(name, text);
            assert_eq!(name, names.text(text));
        }
        assert_ne!(Pseudonyms::default().text("@ada.lovelace:example.org"), {
            Pseudonyms::default().text("@ada.lovelace:example.org")
        });
        assert!(names.text("turn:relay.example?transport=udp").starts_with("turn:"));
        assert_eq!(names.text(""), "");
        assert_eq!(names.text("***"), "***");
    }

    #[test]
    fn users_and_devices_stand_in_the_order_of_their_ids() {
        for _ in 0..50 {
            let mut names = Pseudonyms::default();
            let mut ids: Vec<_> =
                (0..40).map(|user| format!("@user{}:x.y", user * 7 % 40)).collect();
            ids.extend(
                ["@ada:x", "@adam:x", "@Zoe:x", "@ada:x.y", "D0", "D1", "DEVICE"]
                    .map(str::to_owned),
            );
            names.members(ids.iter().map(String::as_str));
            let drawn: Vec<_> = ids.iter().map(|id| names.member(id)).collect();
            let mut pairs: Vec<_> = ids.iter().zip(&drawn).collect();
            pairs.sort();
            assert!(pairs.windows(2).all(|two| two[0].1 < two[1].1), "{pairs:?}");
            assert!(pairs.iter().all(|(id, name)| id != name && id.len() == name.len()));
            assert_eq!(names.member("@ada:x"), names.text("@ada:x"));
        }
    }

    #[test]
    fn ids_of_a_letter_stand_in_their_order_too() {
        for _ in 0..2_000 {
            let mut names = Pseudonyms::default();
            let [phone, d, e] = ["PHONE", "D", "E"].map(|id| names.member(id));
            assert!(d < e && e < phone, "{d} {e} {phone}");
            let mut names = Pseudonyms::default();
            let [d, z, e] = ["D", "Z", "E"].map(|id| names.member(id));
            assert!(d < e && e < z, "{d} {e} {z}");
        }
    }

    #[test]
    fn no_text_is_its_own_pseudonym() {
        for _ in 0..100 {
            let mut names = Pseudonyms::default();
            for text in ["7", "a", "@a", "---------------------------7"] {
                assert_ne!(names.text(text), text);
            }
        }
    }

    #[test]
    fn a_key_has_other_bytes_of_its_length_and_always_the_same() {
        let names = Pseudonyms::default();
        for length in [0, 16, 20, 32] {
            let key: Vec<u8> = (0..length).collect();
            assert_eq!(names.bytes(&key), names.bytes(&key));
            assert_eq!(names.bytes(&key).len(), key.len());
        }
        let [key, other] = [[7; 32], [8; 32]];
        assert_ne!(names.bytes(&key), key);
        assert_ne!(names.bytes(&key), names.bytes(&other));
        assert_ne!(names.bytes(&key), Pseudonyms::default().bytes(&key));
        assert_ne!(names.bytes(&key)[..16], names.bytes(&key)[16..]);
    }

    #[test]
    fn a_candidate_keeps_its_kind_and_no_foundation() {
        let line = "candidate:842163049 1 udp 1677729535 192.0.2.7 46154 typ srflx";
        let name = Pseudonyms::default().private(line);
        assert!(!name.contains("842163049") && name.starts_with("candidate:"), "{name}");
        assert!(name.ends_with(" typ srflx") && name.len() == line.len(), "{name}");
    }

    #[test]
    fn short_texts_do_not_meet() {
        let mut names = Pseudonyms::default();
        let all: std::collections::BTreeSet<_> =
            (0..100).map(|n| names.text(&format!("{n:02}"))).collect();
        assert!(all.len() > 90, "{} of 100", all.len());
        let letters: std::collections::BTreeSet<_> =
            (0..400).map(|n| names.text(&format!("@u{n}:hs"))).collect();
        assert_eq!(letters.len(), 400);
    }

    #[test]
    fn what_is_no_description_never_looks_like_one() {
        let mut names = Pseudonyms::default();
        for n in 0..3_000 {
            assert!(!names.private(&format!("a=0\r\n{n}")).starts_with("v=0"));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut names = Pseudonyms::default();
        for n in 0..MAX_REMEMBERED + 10 {
            names.text(&format!("{n:08}"));
        }
        assert_eq!(names.taken.len(), MAX_REMEMBERED);
    }

    const OFFER: &str = "v=0\r\no=- 4242 2 IN IP4 192.0.2.77\r\ns=Adas call\r\nt=0 0\r\n\
        a=group:BUNDLE 0 1\r\n\
        m=audio 51234 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.0.2.77\r\na=ice-ufrag:ufRag\r\n\
        a=ice-pwd:passwordOfAda\r\na=fingerprint:sha-256 AB:CD\r\na=mid:0\r\na=sendonly\r\n\
        a=msid:cam mic-track\r\na=rtpmap:101 telephone-event/8000\r\na=rtpmap:111 opus/48000/2\r\n\
        a=candidate:1 1 udp 2122260223 192.0.2.77 51234 typ host\r\n\
        m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=bundle-only\r\na=mid:1\r\na=recvonly\r\n\
        a=ssrc:77 msid:old track\r\nm=video 0 x\r\n";

    #[test]
    fn a_skeleton_says_what_the_machine_asks_and_nothing_else() {
        let mut names = Pseudonyms::default();
        let skeleton = names.private(OFFER);
        assert_eq!(sdp::media_lines(&skeleton), sdp::media_lines(OFFER));
        assert_eq!(sdp::check(&skeleton), Ok(()));
        assert_eq!(sdp::offers_video(&skeleton), sdp::offers_video(OFFER));
        let candidate = names.private("candidate:1 1 udp 2122260223 192.0.2.77 51234 typ host");
        assert!(sdp::holds_candidate(&skeleton, &candidate), "{skeleton}\n{candidate}");
        assert!(candidate.ends_with(" typ host") && candidate.contains(" udp "), "{candidate}");
        assert!(skeleton.contains("telephone-event/"));
        for needle in ["192.0.2.77", "51234", "Ada", "ufRag", "4242", "AB:CD", "mic-track", "opus"]
        {
            assert!(!skeleton.contains(needle), "{needle} in {skeleton}");
            assert!(!candidate.contains(needle), "{needle} in {candidate}");
        }
    }

    #[test]
    fn what_the_machine_refuses_it_refuses_as_a_skeleton_too() {
        let mut names = Pseudonyms::default();
        // As long as a description may be, of lines of which nothing is left out.
        let full = |line: &str| {
            let top = "v=0\nm=audio\na=ice-ufrag:x\na=ice-pwd:y\na=fingerprint:z\n";
            let lines = if line.starts_with('m') { 9 } else { MAX_SDP_BYTES / line.len() - 9 };
            let text = format!("{top}{}a=mid:", line.repeat(lines));
            format!("{text}{}", "x".repeat(MAX_SDP_BYTES - text.len()))
        };
        let huge = format!("{OFFER}a={}", "x".repeat(MAX_SDP_BYTES));
        let many = format!("{OFFER}{}", "m=audio 9 x\r\n".repeat(sdp::MAX_MEDIA_LINES));
        let bad = [
            "",
            "v=0",
            "nonsense",
            "v=0\r\nm=audio 9 x\r\n",
            &huge,
            &many,
            "v=0\r\nm=audio 9 x\r\na=ice-ufrag:x\r\na=ice-pwd:\r\n",
            "v=0\r\nm=audio 9 x\r\na=ice-ufrag:x\r\na=ice-pwd:y\r\na=fingerprint:\r\n",
            "v=0 \nm=audio 9 x\na=ice-ufrag:x\na=ice-pwd:y\na=fingerprint:z\n",
            "v=01",
            &full("a=sendrecv\n"),
            &full("m=\n"),
            &full("m=text 9\n"),
            &full("a=ssrc: msid:s\n"),
            &full("a=rtpmap: telephone-event/\n"),
        ];
        for sdp in bad {
            let skeleton = names.private(sdp);
            assert_eq!(sdp::check(&skeleton), sdp::check(sdp), "{:.60}", sdp);
            assert!(skeleton.len() <= sdp.len(), "{:.60}", sdp);
            let tones = [&skeleton, sdp].map(sdp::has_telephone_events);
            assert!(sdp::check(sdp).is_err() || tones[0] == tones[1], "{:.60}", sdp);
        }
    }
}
