//! Frames → RTP: one source of ours on one m-line.
//!
//! The crate's track never changes (correction C: it says that another one was taken and sends
//! nothing any more). What feeds it does.

use std::sync::Arc;

use bytes::Bytes;
use matrix_voip::host::{Codec, Frame};
use rtc::{
    media_stream::MediaStreamTrack,
    rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication,
    rtp::{
        Header, Packet,
        codec::{h264::H264Payloader, vp8::Vp8Payloader},
        packetizer::Payloader,
    },
    rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind},
};
use webrtc::media_stream::track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP};

use crate::codecs;

/// Largest payload of a packet, in bytes: with everything around it, it fits every path.
const MAX_PAYLOAD: usize = 1150;

/// Levels up to this (dBov) are no voice.
const SILENCE: i8 = -50;

/// The connection of the crate's is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// What was agreed for a line that sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) mid: String,
    pub(crate) payloads: Vec<(u8, Codec)>,
    pub(crate) level: Option<u8>,
    pub(crate) mid_extension: Option<u8>,
}

/// One source of ours.
pub(crate) struct Source {
    track: Arc<TrackLocalStaticRTP>,
    pub(crate) ssrc: u32,
    sequence: u16,
    /// What is added to time stamps (RFC 3550 §5.1).
    offset: u32,
    vp8: Vp8Payloader,
    h264: H264Payloader,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) codec: Option<Codec>,
}

impl Source {
    /// A source for a line that `codec` may be sent on; `stream` is its name in RTCP.
    pub(crate) fn new(codec: Codec, stream: &str) -> Self {
        let ssrc = fastrand::u32(1..);
        let rtp_coding_parameters =
            RTCRtpCodingParameters { ssrc: Some(ssrc), ..RTCRtpCodingParameters::default() };
        let coding = RTCRtpEncodingParameters {
            rtp_coding_parameters,
            active: true,
            codec: codecs::parameters(codec),
            ..RTCRtpEncodingParameters::default()
        };
        let name = format!("source-{ssrc}");
        let mut vp8 = Vp8Payloader::default();
        vp8.enable_picture_id = true;
        let track = MediaStreamTrack::new(
            stream.to_owned(),
            name.clone(),
            name,
            codecs::kind(codec),
            vec![coding],
        );
        Self {
            track: Arc::new(TrackLocalStaticRTP::new(track)),
            ssrc,
            // Below half of the range, so that an early loss does not look like a turn of it.
            sequence: fastrand::u16(..1 << 15),
            offset: fastrand::u32(..),
            vp8,
            h264: H264Payloader::default(),
            packets: 0,
            bytes: 0,
            codec: None,
        }
    }

    /// What the crate binds to a line.
    pub(crate) fn track(&self) -> Arc<TrackLocalStaticRTP> {
        self.track.clone()
    }

    /// Sends a frame, if its codec was agreed and its bytes are of it.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn send(&mut self, frame: &Frame, form: &Form) -> Result<(), Gone> {
        let agreed = form.payloads.iter().find(|(_, codec)| *codec == frame.codec);
        let (Some((payload_type, _)), Some(payloads)) = (agreed, self.split(frame)) else {
            return Ok(());
        };
        let count = payloads.len();
        self.codec = Some(frame.codec);
        for (at, payload) in payloads.into_iter().enumerate() {
            let marker = at + 1 == count && frame.codec != Codec::Opus;
            let mut header = Header {
                version: 2,
                marker,
                payload_type: *payload_type,
                sequence_number: self.sequence,
                timestamp: (frame.timestamp as u32).wrapping_add(self.offset),
                ssrc: self.ssrc,
                ..Header::default()
            };
            extend(&mut header, frame, form);
            self.sequence = self.sequence.wrapping_add(1);
            self.packets += 1;
            self.bytes += payload.len() as u64;
            // `Ok` says little: the crate's driver drops what is for a sender that it does not know (a
            // line that is stopped), with no more than a line in its log. So what is counted is what was
            // handed over. Where its queue is full, this waits.
            self.track.write_rtp(Packet { header, payload }).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    fn split(&mut self, frame: &Frame) -> Option<Vec<Bytes>> {
        let data = Bytes::copy_from_slice(&frame.data);
        match frame.codec {
            Codec::Opus => Some(vec![data]),
            Codec::Vp8 => self.vp8.payload(MAX_PAYLOAD, &data).ok(),
            Codec::H264 => self.h264.payload(MAX_PAYLOAD, &data).ok(),
            _ => None,
        }
    }

    /// Asks for a picture of that remote source which decodes by itself.
    pub(crate) async fn ask_for_key_frame(&self, media_ssrc: u32) {
        let request = PictureLossIndication { sender_ssrc: self.ssrc, media_ssrc };
        drop(self.track.write_rtcp(vec![Box::new(request)]).await);
    }
}

/// The header extensions that were agreed. One whose number is none goes without: frames matter more.
fn extend(header: &mut Header, frame: &Frame, form: &Form) {
    if let Some(number) = form.mid_extension {
        drop(header.set_extension(number, Bytes::copy_from_slice(form.mid.as_bytes())));
    }
    if let (Some(number), Some(level)) = (form.level, frame.audio_level) {
        let voice = if level > SILENCE { 0x80 } else { 0 };
        let level = level.unsigned_abs().min(127) | voice;
        drop(header.set_extension(number, Bytes::copy_from_slice(&[level])));
    }
}

/// The kind of a codec as the crate names it.
pub(crate) const fn crate_kind(kind: matrix_voip::machine::io::MediaKind) -> RtpCodecKind {
    match kind {
        matrix_voip::machine::io::MediaKind::Audio => RtpCodecKind::Audio,
        matrix_voip::machine::io::MediaKind::Video => RtpCodecKind::Video,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::{Assembly, Received};

    /// A frame in pieces, and put together again.
    fn there_and_back(codec: Codec, data: &[u8]) -> (usize, Vec<Frame>) {
        let mut source = Source::new(codec, "name");
        let payloads = source.split(&Frame::new(codec, 0, data.to_vec())).unwrap();
        let (count, mut assembly) = (payloads.len(), Assembly::default());
        let frames = payloads.into_iter().enumerate().flat_map(|(at, payload)| {
            assert!(payload.len() <= MAX_PAYLOAD);
            assembly.push(Received {
                codec,
                sequence: at as u16,
                timestamp: 1,
                is_last: at + 1 == count,
                payload,
                level: None,
                arrival: std::time::Duration::ZERO,
            })
        });
        (count, frames.collect())
    }

    #[test]
    fn a_picture_of_vp8_comes_together_again() {
        let mut data = vec![0x10, 2, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0];
        data.resize(5000, 7);
        let (count, frames) = there_and_back(Codec::Vp8, &data);
        assert!(count > 4 && frames.len() == 1);
        assert!(frames[0].data == data && frames[0].key_frame);
    }

    #[test]
    fn a_picture_of_h264_comes_together_again() {
        let unit = |first: u8, length: usize| {
            let mut unit = vec![0, 0, 0, 1, first];
            unit.resize(length, 0xab);
            unit
        };
        let (sequence, picture) = (unit(0x67, 20), unit(0x68, 10));
        let idr = unit(0x65, 4000);
        let whole = [sequence, picture, idr].concat();
        let (count, frames) = there_and_back(Codec::H264, &whole);
        assert!(count > 3 && frames.len() == 1);
        assert!(frames[0].data == whole && frames[0].key_frame);
        let (_, later) = there_and_back(Codec::H264, &unit(0x41, 3000));
        assert!(!later[0].key_frame);
    }
}
