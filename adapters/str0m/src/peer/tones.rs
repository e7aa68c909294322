//! Tones of a telephone as RTP events (RFC 4733): sent one after the other, received as reports.
//!
//! str0m makes the packets of a tone: the first one marked, all with the time stamp of its
//! beginning, an update every 20 ms with the duration so far, and the end three times. While a
//! tone lasts, the sound of its track is not sent, as browsers do it: the far end plays the tone
//! in its place.
//!
//! Only `telephone-event/48000` is agreed on. Tones are a part of the sound's stream, with its
//! sequence numbers and its time stamps (RFC 4733 §2.1), and our only sound is Opus, whose clock
//! is 48 kHz. `telephone-event/8000` belongs beside a codec of 8 kHz (PCMU, G.722), of which we
//! have none: who offers no other (Firefox, many gateways) gets no tones, hears so from our
//! answer, and the application from [`PeerError::NoTones`]. Other stacks fall back to 8 kHz then,
//! with time stamps on one clock and durations on another, and receivers disagree what that means.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use matrix_voip::{
    host::{Codec, Frame},
    id::TrackId,
    machine::io::Tones,
};
use str0m::media::{Frequency, MediaData, MediaTime, Mid, TelephoneEvent};

use super::{Output, Peer, ToneReport, config::LAST_TONE};
use crate::error::PeerError;

/// Most tones that wait: four full requests.
const MAX_WAITING: usize = 4 * matrix_voip::machine::io::MAX_TONES;

/// What str0m makes, and what a telephone network can tell apart.
const SHORTEST: Duration = Duration::from_millis(40);
const LONGEST: Duration = Duration::from_secs(6);

/// The three packets of an end take 40 ms, and str0m wants 50 between two tones.
const SHORTEST_GAP: Duration = Duration::from_millis(60);

/// How strong our tones are said to be, in dB below 0 dBm0: as in browsers.
const VOLUME: u8 = 10;

/// The order of the events 0 to 15 (RFC 4733 §3.2).
const DIGITS: &str = "0123456789*#ABCD";

/// One tone that waits.
#[derive(Debug, Clone, Copy)]
struct Tone {
    track: TrackId,
    event: u8,
    duration: Duration,
    gap: Duration,
}

/// The last sound of a track, to which the time stamps of its tones belong.
#[derive(Debug, Clone, Copy)]
struct Heard {
    track: TrackId,
    at: Instant,
    timestamp: u64,
}

/// The tones of one connection.
#[derive(Debug, Default)]
pub(super) struct Dialling {
    waiting: VecDeque<Tone>,
    /// Which track sounds, and until when.
    sounding: Option<(TrackId, Instant)>,
    /// When the next tone may begin.
    free: Option<Instant>,
    heard: Option<Heard>,
}

impl Dialling {
    /// When the next tone is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.free.filter(|_| !self.waiting.is_empty())
    }

    /// Whether a tone takes the place of this frame.
    pub(super) fn hushes(&mut self, now: Instant, track: TrackId, frame: &Frame) -> bool {
        if frame.codec != Codec::Opus {
            return false;
        }
        self.heard = Some(Heard { track, at: now, timestamp: frame.timestamp });
        self.sounding.is_some_and(|(sounds, end)| sounds == track && now < end)
    }

    fn add(&mut self, now: Instant, track: TrackId, tones: &Tones) {
        let duration = tones.duration().clamp(SHORTEST, LONGEST);
        let gap = tones.gap().max(SHORTEST_GAP);
        let events = tones.digits().expose().chars().filter_map(|digit| DIGITS.find(digit));
        let tones = events.map(|event| Tone { track, event: event as u8, duration, gap });
        self.waiting.extend(tones);
        self.free = self.free.max(Some(now));
    }

    /// The next tone, if its time has come.
    fn take(&mut self, now: Instant) -> Option<Tone> {
        self.free.filter(|free| *free <= now)?;
        let tone = self.waiting.pop_front()?;
        self.sounding = Some((tone.track, now + tone.duration));
        self.free = Some(now + tone.duration + tone.gap);
        Some(tone)
    }

    /// The time stamp that sound of this track would have now.
    fn timestamp(&self, now: Instant, track: TrackId) -> u64 {
        let heard = self.heard.filter(|heard| heard.track == track);
        heard.map_or(0, |heard| heard.timestamp + ticks(now.saturating_duration_since(heard.at)))
    }
}

fn ticks(time: Duration) -> u64 {
    (time.as_nanos() * u128::from(Codec::Opus.clock_rate()) / 1_000_000_000) as u64
}

impl Peer {
    /// Sends tones in the lines that send this track, behind those that wait already. They go out
    /// also while the track is muted; what a hold interrupts is not made up for.
    ///
    /// # Errors
    /// [`PeerError::NoTones`] when the other side takes none, [`PeerError::NotSending`],
    /// [`PeerError::TooManyTones`], [`PeerError::Dead`].
    pub fn dial(&mut self, now: Instant, track: TrackId, tones: &Tones) -> Result<(), PeerError> {
        self.alive(now)?;
        let lines: Vec<Mid> = self.negotiation.sending(&self.rtc, track).collect();
        if lines.is_empty() || !self.health.is_secured() {
            return Err(PeerError::NotSending);
        }
        if !lines.iter().any(|mid| self.takes_tones(*mid)) {
            return Err(PeerError::NoTones);
        }
        if self.dialling.waiting.len() + tones.digits().expose().len() > MAX_WAITING {
            return Err(PeerError::TooManyTones);
        }
        self.dialling.add(now, track, tones);
        self.sound_next();
        Ok(())
    }

    /// Begins the next tone, if it is time.
    pub(super) fn sound_next(&mut self) {
        let Some(tone) = self.dialling.take(self.now) else { return };
        let timestamp = self.dialling.timestamp(self.now, tone.track);
        let lines: Vec<Mid> = self.negotiation.sending(&self.rtc, tone.track).collect();
        for mid in lines {
            if self.sound(mid, tone, timestamp).is_none() {
                tracing::debug!("a tone could not be sent");
            }
            self.drain();
            self.feed(str0m::Input::Timeout(self.now));
        }
    }

    fn sound(&mut self, mid: Mid, tone: Tone, timestamp: u64) -> Option<()> {
        let clock = Frequency::new(Codec::Opus.clock_rate())?;
        let writer = self.rtc.writer(mid)?;
        let opus = str0m::format::Codec::Opus;
        let beside = writer.payload_params().find(|params| params.spec().codec == opus)?.pt();
        let Tone { event, duration, .. } = tone;
        let event = TelephoneEvent { event, end: true, volume: VOLUME, duration };
        let nothing: &[u8] = &[];
        let time = MediaTime::new(timestamp, clock);
        writer.telephone_event(event).write(beside, self.now, time, nothing).ok()
    }

    /// Whether both sides have agreed on tones in this line, on the clock of its sound.
    fn takes_tones(&mut self, mid: Mid) -> bool {
        let Some(writer) = self.rtc.writer(mid) else { return false };
        writer.payload_params().any(|params| {
            let spec = params.spec();
            spec.codec == str0m::format::Codec::Tele
                && spec.clock_rate.get() == Codec::Opus.clock_rate()
        })
    }

    /// A report about a tone came in. What is no tone of a telephone, or comes on a line where none
    /// were agreed on, is counted only.
    pub(super) fn on_tone(&mut self, data: &MediaData, event: TelephoneEvent) {
        let media = self.rtc.media(data.mid);
        let is_agreed = media.is_some_and(|media| media.remote_pts().contains(&data.pt));
        if !is_agreed || event.event > LAST_TONE {
            self.refused += 1;
            return;
        }
        let report = ToneReport {
            timestamp: data.time.numer(),
            event: event.event,
            duration: event.duration,
            volume: event.volume,
            is_end: event.end,
        };
        self.outputs.push_back(Output::Tone { mid: data.mid.to_string(), report });
    }
}
