//! Payload types of remote descriptions: what str0m would assert, checked beforehand.
//!
//! Within bundled media one payload type means one codec, in all m-lines (RFC 9143 §9) and for the
//! whole session (RFC 3264 §8.3.2); each codec has at most one retransmission format.

use std::collections::BTreeMap;

use crate::error::PeerError;

/// RTP has seven bits for it.
const MAX_PAYLOAD_TYPE: u8 = 127;

/// What the payload types of one remote party mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PayloadTypes(BTreeMap<u8, String>);

impl PayloadTypes {
    /// These and those of another description of the same party.
    ///
    /// # Errors
    /// [`PeerError::BadPayloadTypes`] when it contradicts itself or these.
    pub(crate) fn joined(&self, sdp: &str) -> Result<Self, PeerError> {
        let mut all = self.clone();
        for section in sdp.split("\nm=").skip(1) {
            for (payload_type, meaning) in section_types(section)? {
                let known = all.0.entry(payload_type).or_insert_with(|| meaning.clone());
                if *known != meaning {
                    return Err(PeerError::BadPayloadTypes);
                }
            }
        }
        Ok(all)
    }
}

/// The payload types that one m-section defines.
fn section_types(section: &str) -> Result<BTreeMap<u8, String>, PeerError> {
    let repaired = repaired(section)?;
    let mut types = BTreeMap::new();
    for value in values(section, "a=rtpmap:") {
        let (payload_type, codec) = split(value)?;
        let mut meaning = codec.trim().to_ascii_lowercase();
        if let Some(primary) = repaired.get(&payload_type) {
            meaning.push_str(&format!(" for {primary}"));
        }
        if meaning.starts_with("h264/") {
            meaning.push_str(&h264_variant(section, payload_type)?);
        }
        if types.insert(payload_type, meaning).is_some() {
            return Err(PeerError::BadPayloadTypes);
        }
    }
    Ok(types)
}

/// H.264 comes in variants that are codecs of their own: profile and packetisation.
fn h264_variant(section: &str, payload_type: u8) -> Result<String, PeerError> {
    let mut variant = Vec::new();
    for value in values(section, "a=fmtp:") {
        let (of, parameters) = split(value)?;
        let parameters = parameters.split(';').map(|p| p.trim().to_ascii_lowercase());
        variant.extend(parameters.filter(|p| of == payload_type && is_variant(p)));
    }
    variant.sort();
    Ok(format!(" {}", variant.join(" ")))
}

fn is_variant(parameter: &str) -> bool {
    parameter.starts_with("profile-level-id=") || parameter.starts_with("packetization-mode=")
}

/// Which payload type each retransmission format repairs (`a=fmtp:97 apt=96`).
fn repaired(section: &str) -> Result<BTreeMap<u8, u8>, PeerError> {
    let mut repaired = BTreeMap::new();
    for value in values(section, "a=fmtp:") {
        let (payload_type, parameters) = split(value)?;
        let primaries = parameters.split(';').filter_map(|p| p.trim().strip_prefix("apt="));
        for primary in primaries {
            let primary = number(primary)?;
            let is_twice = repaired.values().any(|known| *known == primary);
            if is_twice || repaired.insert(payload_type, primary).is_some() {
                return Err(PeerError::BadPayloadTypes);
            }
        }
    }
    Ok(repaired)
}

fn values<'a>(section: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    section.lines().filter_map(move |line| line.trim_end().strip_prefix(prefix))
}

fn split(value: &str) -> Result<(u8, &str), PeerError> {
    let (payload_type, rest) = value.split_once(' ').unwrap_or((value, ""));
    Ok((number(payload_type)?, rest))
}

fn number(text: &str) -> Result<u8, PeerError> {
    let number = text.trim().parse().ok().filter(|number| *number <= MAX_PAYLOAD_TYPE);
    number.ok_or(PeerError::BadPayloadTypes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\nm=video 9 x 96 97\r\na=rtpmap:96 VP8/90000\r\n\
        a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\nm=video 9 x 96\r\na=rtpmap:96 VP8/90000\r\n";

    fn joined(sdp: &str) -> Result<PayloadTypes, PeerError> {
        PayloadTypes::default().joined(sdp)
    }

    #[test]
    fn the_same_meaning_in_every_line_and_every_description_is_fine() {
        let types = joined(SDP).unwrap();
        assert_eq!(types.joined(SDP).as_ref(), Ok(&types));
    }

    #[test]
    fn a_payload_type_with_two_meanings_is_refused() {
        let bad = Err(PeerError::BadPayloadTypes);
        let (first, second) = SDP.split_at(SDP.rfind("m=").unwrap());
        assert_eq!(joined(&format!("{first}{}", second.replace("VP8", "H264"))), bad);
        assert_eq!(joined(&SDP.replace("rtpmap:97", "rtpmap:96")), bad);
        assert_eq!(joined(SDP).unwrap().joined(&SDP.replace("VP8", "VP9")), bad);
    }

    #[test]
    fn numbers_out_of_range_and_double_repairs_are_refused() {
        let bad = Err(PeerError::BadPayloadTypes);
        assert_eq!(joined(&SDP.replace("96", "200")), bad);
        assert_eq!(joined(&SDP.replace("apt=96", "apt=x")), bad);
        let double = "a=fmtp:97 apt=96\r\na=fmtp:98 apt=96\r\n";
        assert_eq!(joined(&SDP.replace("a=fmtp:97 apt=96\r\n", double)), bad);
    }
}
