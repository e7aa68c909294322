//! Frames to RTP and back, and what belongs to them: codecs, levels, key frame requests.

use std::time::Duration;

use matrix_voip::{
    host::{Codec, Frame},
    id::TrackId,
};
use str0m::format::CodecExtra;
use str0m::media::{Frequency, KeyframeRequestKind, MediaData, MediaTime, Mid};

use super::{Output, Peer};

/// Shortest time between two key frame requests for one m-line: a round trip and an encoder need
/// about that long, more requests only make more key frames.
const KEY_FRAME_PAUSE: Duration = Duration::from_millis(300);

/// Levels up to this (dBov) are no voice.
const SILENCE: i8 = -50;

impl Peer {
    /// Sends a frame on every line that the track is agreed for.
    pub(super) fn send(&mut self, track: TrackId, frame: &Frame) {
        // Not `rtc.is_connected()`: after a loss media may still get through and end it.
        if !self.health.is_secured() {
            return;
        }
        let lines: Vec<Mid> = self.negotiation.sending(&self.rtc, track).collect();
        let is_silent = self.dialling.hushes(self.now, track, frame);
        for mid in lines.into_iter().filter(|_| !is_silent) {
            if self.write(mid, frame).is_some() {
                self.measured.on_sent(&mid, frame.codec);
            }
            self.drain();
            self.feed(str0m::Input::Timeout(self.now));
        }
    }

    /// Writes a frame to a line; `None` where its codec was not agreed or str0m refuses it.
    fn write(&mut self, mid: Mid, frame: &Frame) -> Option<()> {
        let codec = theirs(frame.codec)?;
        let clock = Frequency::new(frame.codec.clock_rate())?;
        let mut writer = self.rtc.writer(mid)?;
        let agreed = writer.payload_params().find(|params| params.spec().codec == codec)?.pt();
        if let Some(level) = frame.audio_level {
            writer = writer.audio_level(level, level > SILENCE);
        }
        let time = MediaTime::new(frame.timestamp, clock);
        writer.write(agreed, self.now, time, frame.data.as_slice()).ok()
    }

    /// Asks the other side for a picture that decodes by itself, not too often.
    pub(super) fn request_key_frame(&mut self, mid: &str) {
        let asked = self.key_frames_asked.get(mid);
        if asked.is_some_and(|asked| self.now < *asked + KEY_FRAME_PAUSE) {
            return;
        }
        let Some(mut writer) = self.rtc.writer(Mid::from(mid)) else { return };
        let kind = KeyframeRequestKind::Pli;
        if writer.request_keyframe(None, kind).is_ok() {
            self.key_frames_asked.insert(mid.to_owned(), self.now);
        }
        self.drain();
        self.feed(str0m::Input::Timeout(self.now));
    }

    /// Hands a received frame out.
    pub(super) fn on_media(&mut self, data: &MediaData) {
        let state = self.health.on_media();
        self.report(state);
        self.health.on_heard(self.now);
        self.measured.on_arrival(&data.mid, data.network_time);
        let packets = **data.seq_range.start()..=**data.seq_range.end();
        if let CodecExtra::Tele(event) = data.codec_extra {
            self.measured.on_event(&data.mid, packets);
            return self.on_tone(data, event);
        }
        let Some(codec) = ours(data.params.spec().codec) else { return };
        self.measured.on_received(&data.mid, codec, packets.clone());
        self.measured.on_level(&data.mid, data.ext_vals.audio_level);
        let frame = Frame {
            codec,
            timestamp: data.time.numer(),
            data: data.data.to_vec(),
            key_frame: codec == Codec::Opus || data.is_keyframe(),
            sequence: Some(*packets.start()),
            contiguous: data.contiguous,
            audio_level: data.ext_vals.audio_level,
            arrival: Some(data.network_time.saturating_duration_since(self.epoch)),
        };
        self.outputs.push_back(Output::Frame { mid: data.mid.to_string(), frame });
    }
}

/// Our name of a codec; `None` for what we do not carry.
const fn ours(codec: str0m::format::Codec) -> Option<Codec> {
    match codec {
        str0m::format::Codec::Opus => Some(Codec::Opus),
        str0m::format::Codec::Vp8 => Some(Codec::Vp8),
        str0m::format::Codec::H264 => Some(Codec::H264),
        _ => None,
    }
}

/// str0m's name of a codec.
const fn theirs(codec: Codec) -> Option<str0m::format::Codec> {
    match codec {
        Codec::Opus => Some(str0m::format::Codec::Opus),
        Codec::Vp8 => Some(str0m::format::Codec::Vp8),
        Codec::H264 => Some(str0m::format::Codec::H264),
        _ => None,
    }
}
