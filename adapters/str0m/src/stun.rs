//! STUN messages as bytes (RFC 8489), with what TURN adds (RFC 8656).
//!
//! Reading never copies and never panics: [`Message::parse`] checks every length once. What stands
//! behind the signature (MESSAGE-INTEGRITY) is not looked at, as the RFC demands. FINGERPRINT is
//! neither written nor checked: it tells STUN from other packets, which the first byte does here.
//!
//! Signatures are HMAC-SHA1 by aws-lc-rs; MD5 makes the key of a password, because every TURN
//! server does it so (RFC 8489 §9.2.2).
//!
//! Written here, not taken from a crate: those that fit (`stun-types`, `is`) write keys or
//! addresses into spans and logs, or refuse answers of STUN servers for want of a signature.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::hmac;

/// Bytes before the attributes.
pub(crate) const HEADER: usize = 20;

/// Bytes 4 to 7 of every message.
const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();

/// Bytes of a signature.
const SIGNATURE: usize = 20;

/// Numbers of attributes (RFC 8489 §18.3, RFC 8656 §18).
pub(crate) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const CHANNEL_NUMBER: u16 = 0x000C;
    pub(crate) const LIFETIME: u16 = 0x000D;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const DATA: u16 = 0x0013;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
}

/// What ties an answer to its request.
pub(crate) type TransactionId = [u8; 12];

/// What kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Class {
    Request = 0x000,
    Indication = 0x010,
    Success = 0x100,
    Error = 0x110,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Method {
    Binding = 0x001,
    Allocate = 0x003,
    Refresh = 0x004,
    Send = 0x006,
    Data = 0x007,
    CreatePermission = 0x008,
    ChannelBind = 0x009,
}

const METHODS: [Method; 7] = [
    Method::Binding,
    Method::Allocate,
    Method::Refresh,
    Method::Send,
    Method::Data,
    Method::CreatePermission,
    Method::ChannelBind,
];

const CLASSES: [Class; 4] = [Class::Request, Class::Indication, Class::Success, Class::Error];

/// The bits of a message's type that are its class (RFC 8489 §5).
const CLASS: u16 = 0x110;

/// The key that a user, a realm and a password make.
pub(crate) struct Key(hmac::Key);

impl Key {
    /// The long-term key of RFC 8489 §9.2.2.
    pub(crate) fn new(user: &str, realm: &str, password: &str) -> Self {
        // Part by part: put together, the password would stay behind in memory.
        let mut digest = md5::Context::new();
        for part in [user, ":", realm, ":", password] {
            digest.consume(part);
        }
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &digest.finalize().0))
    }
}

/// A message that was read.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
    pub(crate) class: Class,
    pub(crate) method: Method,
    pub(crate) id: TransactionId,
}

impl<'a> Message<'a> {
    /// Reads a message that fills `bytes`; `None` for whatever else.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_at_checked(HEADER)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length != body.len() || !length.is_multiple_of(4) || header[4..8] != COOKIE {
            return None;
        }
        let class = CLASSES.into_iter().find(|class| kind & CLASS == *class as u16)?;
        let method = METHODS.into_iter().find(|method| kind & !CLASS == *method as u16)?;
        let id = header[8..].try_into().ok()?;
        let whole = Attributes(body).fold(0, |sum, (_, value)| sum + 4 + padded(value.len()));
        (whole == length).then_some(Self { bytes, class, method, id })
    }

    /// The first attribute of this kind before the signature.
    pub(crate) fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.signed_part().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// A text of at most 763 bytes (RFC 8489 §14.9).
    pub(crate) fn text(&self, kind: u16) -> Option<&'a str> {
        let value = self.attribute(kind).filter(|value| value.len() <= 763)?;
        std::str::from_utf8(value).ok()
    }

    /// A number of 32 bits.
    pub(crate) fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(kind)?.try_into().ok()?))
    }

    /// An address that is hidden from routers by XOR (RFC 8489 §14.2).
    pub(crate) fn address(&self, kind: u16) -> Option<SocketAddr> {
        let (head, value) = self.attribute(kind)?.split_at_checked(4)?;
        let mask = mask(self.id);
        let port = u16::from_be_bytes([head[2] ^ mask[0], head[3] ^ mask[1]]);
        let bytes: Vec<u8> = value.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
        let ip: IpAddr = match head[1] {
            1 => <[u8; 4]>::try_from(value.len().eq(&4).then_some(bytes)?).ok()?.into(),
            2 => <[u8; 16]>::try_from(value.len().eq(&16).then_some(bytes)?).ok()?.into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// The code of an error, 300 to 699.
    pub(crate) fn error(&self) -> Option<u16> {
        let value = self.attribute(attribute::ERROR_CODE)?;
        let (class, rest) = (*value.get(2)? & 0x07, *value.get(3)?);
        ((3..=6).contains(&class) && rest < 100).then(|| u16::from(class) * 100 + u16::from(rest))
    }

    /// Whether there is a signature, good or bad.
    pub(crate) fn is_signed(&self) -> bool {
        self.signature().is_some()
    }

    /// Whether there is a signature made with this key.
    pub(crate) fn is_signed_with(&self, key: &Key) -> bool {
        let Some((at, signature)) = self.signature() else { return false };
        let mut signed = self.bytes[..at].to_vec();
        set_length(&mut signed, at - HEADER + 4 + SIGNATURE);
        hmac::verify(&key.0, &signed, signature).is_ok()
    }

    /// Where the signature's attribute begins, and its value.
    fn signature(&self) -> Option<(usize, &'a [u8])> {
        let before = self.signed_part().map(|(_, value)| 4 + padded(value.len()));
        let at = HEADER + before.sum::<usize>();
        let (kind, value) = Attributes(&self.bytes[at..]).next()?;
        let is_signature = kind == attribute::MESSAGE_INTEGRITY && value.len() == SIGNATURE;
        is_signature.then_some((at, value))
    }

    fn signed_part(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let all = Attributes(&self.bytes[HEADER..]);
        all.take_while(|(kind, _)| *kind != attribute::MESSAGE_INTEGRITY)
    }
}

/// Walks over attributes; ends early where a length is wrong.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.0.split_at_checked(4)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (value, _) = rest.split_at_checked(length)?;
        self.0 = rest.get(padded(length)..)?;
        Some((u16::from_be_bytes([head[0], head[1]]), value))
    }
}

/// A message that is being written.
pub(crate) struct Writer {
    bytes: Vec<u8>,
    id: TransactionId,
}

impl Writer {
    /// Begins a message.
    pub(crate) fn new(class: Class, method: Method, id: TransactionId) -> Self {
        let kind = class as u16 | method as u16;
        let bytes = [&kind.to_be_bytes()[..], &[0, 0], &COOKIE, &id].concat();
        Self { bytes, id }
    }

    /// Adds an attribute. Values beyond 65,535 bytes are cut: nothing of ours is so long.
    #[must_use]
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        let value = &value[..usize::from(length)];
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(padded(self.bytes.len()), 0);
        self
    }

    /// Adds an address, hidden by XOR.
    #[must_use]
    pub(crate) fn address(self, kind: u16, address: SocketAddr) -> Self {
        let mask = mask(self.id);
        let (family, ip) = match address.ip() {
            IpAddr::V4(ip) => (1, Ipv4Addr::octets(&ip).to_vec()),
            IpAddr::V6(ip) => (2, Ipv6Addr::octets(&ip).to_vec()),
        };
        let [high, low] = address.port().to_be_bytes();
        let mut value = vec![0, family, high ^ mask[0], low ^ mask[1]];
        value.extend(ip.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        self.attribute(kind, &value)
    }

    /// Signs what was written so far.
    #[must_use]
    pub(crate) fn signed(mut self, key: &Key) -> Self {
        let attributes = self.bytes.len() - HEADER;
        set_length(&mut self.bytes, attributes + 4 + SIGNATURE);
        let signature = hmac::sign(&key.0, &self.bytes);
        self.attribute(attribute::MESSAGE_INTEGRITY, signature.as_ref())
    }

    /// The message.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let attributes = self.bytes.len() - HEADER;
        set_length(&mut self.bytes, attributes);
        self.bytes
    }
}

/// Writes the length of the attributes into a header.
fn set_length(bytes: &mut [u8], length: usize) {
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
}

/// What addresses are hidden with; ports with its first two bytes.
fn mask(id: TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&COOKIE);
    mask[4..].copy_from_slice(&id);
    mask
}

/// A length filled up to a multiple of four.
pub(crate) const fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.4: a request signed with a long-term key.
    const SAMPLE: [u8; 116] = [
        0x00, 0x01, 0x00, 0x60, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72,
        0xc0, 0x29, 0xda, 0x41, 0x2e, 0x00, 0x06, 0x00, 0x12, 0xe3, 0x83, 0x9e, 0xe3, 0x83, 0x88,
        0xe3, 0x83, 0xaa, 0xe3, 0x83, 0x83, 0xe3, 0x82, 0xaf, 0xe3, 0x82, 0xb9, 0x00, 0x00, 0x00,
        0x15, 0x00, 0x1c, 0x66, 0x2f, 0x2f, 0x34, 0x39, 0x39, 0x6b, 0x39, 0x35, 0x34, 0x64, 0x36,
        0x4f, 0x4c, 0x33, 0x34, 0x6f, 0x4c, 0x39, 0x46, 0x53, 0x54, 0x76, 0x79, 0x36, 0x34, 0x73,
        0x41, 0x00, 0x14, 0x00, 0x0b, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x2e, 0x6f, 0x72,
        0x67, 0x00, 0x00, 0x08, 0x00, 0x14, 0xf6, 0x70, 0x24, 0x65, 0x6d, 0xd6, 0x4a, 0x3e, 0x02,
        0xb8, 0xe0, 0x71, 0x2e, 0x85, 0xc9, 0xa2, 0x8c, 0xa8, 0x96, 0x66,
    ];

    fn written(value: &[u8]) -> Vec<u8> {
        let writer = Writer::new(Class::Success, Method::Allocate, [7; 12]);
        writer.attribute(attribute::DATA, value).finish()
    }

    #[test]
    fn the_sample_of_the_rfc_is_read_and_its_signature_is_good() {
        let message = Message::parse(&SAMPLE).unwrap();
        assert_eq!((message.class, message.method), (Class::Request, Method::Binding));
        let user = message.text(attribute::USERNAME).unwrap();
        assert_eq!(user, "マトリックス");
        let realm = message.text(attribute::REALM).unwrap();
        assert!(message.is_signed_with(&Key::new(user, realm, "TheMatrIX")));
        assert!(!message.is_signed_with(&Key::new(user, realm, "TheMatrix")));
    }

    #[test]
    fn the_sample_is_written_byte_for_byte() {
        let id = SAMPLE[8..20].try_into().unwrap();
        let read = Message::parse(&SAMPLE).unwrap();
        let mut writer = Writer::new(Class::Request, Method::Binding, id);
        for kind in [attribute::USERNAME, attribute::NONCE, attribute::REALM] {
            writer = writer.attribute(kind, read.attribute(kind).unwrap());
        }
        let key = Key::new("マトリックス", "example.org", "TheMatrIX");
        assert_eq!(writer.signed(&key).finish(), SAMPLE);
    }

    #[test]
    fn addresses_of_both_families_survive_the_masking() {
        for address in ["192.0.2.1:32853", "[2001:db8::1:2]:65535"] {
            let address: SocketAddr = address.parse().unwrap();
            let kind = attribute::XOR_PEER_ADDRESS;
            let writer = Writer::new(Class::Indication, Method::Send, [9; 12]);
            let bytes = writer.address(kind, address).finish();
            assert_eq!(Message::parse(&bytes).unwrap().address(kind), Some(address));
        }
    }

    #[test]
    fn what_follows_the_signature_is_not_believed() {
        let key = Key::new("u", "r", "p");
        let writer = Writer::new(Class::Success, Method::Allocate, [1; 12]).signed(&key);
        let bytes = writer.attribute(attribute::LIFETIME, &60_u32.to_be_bytes()).finish();
        let message = Message::parse(&bytes).unwrap();
        assert!(message.is_signed_with(&key));
        assert_eq!(message.number(attribute::LIFETIME), None);
    }

    #[test]
    fn no_cut_lengthened_or_broken_message_panics_or_passes_as_signed() {
        let key = Key::new("マトリックス", "example.org", "TheMatrIX");
        for at in 0..SAMPLE.len() {
            assert!(Message::parse(&SAMPLE[..at]).is_none());
            for bit in 0..8 {
                let mut broken = SAMPLE;
                broken[at] ^= 1 << bit;
                let Some(message) = Message::parse(&broken) else { continue };
                assert!(!message.is_signed_with(&key), "byte {at}, bit {bit}");
                for kind in 0..0x30 {
                    let _ = (message.text(kind), message.number(kind), message.address(kind));
                }
                let _ = (message.error(), message.is_signed());
            }
        }
        let mut longer = SAMPLE.to_vec();
        longer.push(0);
        assert!(Message::parse(&longer).is_none());
    }

    #[test]
    fn values_of_every_length_are_padded_and_come_back() {
        for length in 0..9 {
            let bytes = written(&vec![5; length]);
            assert!(bytes.len().is_multiple_of(4));
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(message.attribute(attribute::DATA), Some(&vec![5; length][..]));
        }
    }

    #[test]
    fn error_codes_out_of_range_are_none() {
        let code = |class, number| {
            let writer = Writer::new(Class::Error, Method::Allocate, [0; 12]);
            let bytes = writer.attribute(attribute::ERROR_CODE, &[0, 0, class, number]).finish();
            Message::parse(&bytes).unwrap().error()
        };
        assert_eq!((code(4, 38), code(5, 8)), (Some(438), Some(508)));
        assert_eq!((code(2, 0), code(7, 0), code(4, 100)), (None, None, None));
    }
}
