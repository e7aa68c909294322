//! The status line of a call: state, marks, path, level, loss, what was made up, delay, round trip. Pure.

use std::{fmt, time::Duration};

use matrix_voip::{
    CallState, PeerStats,
    host::{Playout, PlayoutOutput},
    machine::io::MediaKind,
};
use matrix_voip_media::{Heard, HeardTone};

use super::meter::bar;

/// Sound below this many decibels is shown as silence.
const SILENT: f32 = -60.0;

/// Sound with more than this share of its power in one tone is called a tone.
const PURE: f32 = 0.8;

/// What the line shows.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) state: CallState,
    /// Since media flows; `None` before.
    pub(crate) talking: Option<Duration>,
    pub(crate) stats: Option<PeerStats>,
    /// How loud our microphone is, 0 to 1; `None`: what is said is no device's.
    pub(crate) said: Option<f32>,
    pub(crate) heard: Heard,
    /// Pictures decoded.
    pub(crate) pictures: u64,
    /// What is different from a plain call: muted, on hold, a camera, a screen.
    pub(crate) marks: Vec<&'static str>,
}

impl Status {
    /// The line for a terminal of so many columns: where all of it is too long, it has no path. What is
    /// cut off then are figures, and never a mark.
    pub(crate) fn within(&self, columns: usize) -> String {
        let whole = self.to_string();
        if whole.chars().count() <= columns {
            return whole;
        }
        let figures = self.stats.iter().map(|stats| Figures(self, stats).to_string());
        std::iter::once(Head(self).to_string()).chain(figures).collect()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Head(self))?;
        match &self.stats {
            Some(stats) => write!(f, "  {}{}", path(stats), Figures(self, stats)),
            None => Ok(()),
        }
    }
}

/// What a person must see first: the state, and what is different from a plain call.
struct Head<'a>(&'a Status);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.state)?;
        if let Some(talking) = self.0.talking {
            let seconds = talking.as_secs();
            write!(f, " {:02}:{:02}", seconds / 60, seconds % 60)?;
        }
        self.0.marks.iter().try_for_each(|mark| write!(f, "  {mark}"))
    }
}

/// How it is heard and seen.
struct Figures<'a>(&'a Status, &'a PeerStats);

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(status, stats) = self;
        if let Some(said) = status.said {
            write!(f, "  you {} they {}", bar(said), bar(status.heard.level.rms))?;
        }
        write!(f, "  hears {}", level(&status.heard))?;
        if status.pictures > 0 {
            write!(f, "  {} pictures", status.pictures)?;
        }
        if let Some(loss) = loss(stats) {
            write!(f, "  loss {loss:.1} %")?;
        }
        if let Some(playout) = playout(stats) {
            write!(f, "{}", Played(&playout))?;
        }
        match stats.round_trip {
            Some(time) => write!(f, "  round trip {:.0} ms", time.as_secs_f64() * 1000.0),
            None => Ok(()),
        }
    }
}

fn path(stats: &PeerStats) -> String {
    match &stats.pair {
        None => "no path yet".to_owned(),
        Some(pair) => {
            format!("{} to {} ({})", pair.local.kind, pair.remote.kind, pair.local.protocol)
        }
    }
}

/// Decibels below full scale, and the tone where there is one.
pub(super) fn level(heard: &Heard) -> String {
    let decibels = 20.0 * heard.level.rms.log10();
    if decibels.is_nan() || decibels < SILENT {
        return "silence".to_owned();
    }
    match tone(heard) {
        Some(tone) => format!("{decibels:.0} dB ({:.0} Hz)", tone.hz),
        None => format!("{decibels:.0} dB"),
    }
}

/// The tone that is nearly all of what is heard.
pub(crate) fn tone(heard: &Heard) -> Option<HeardTone> {
    heard.tone.filter(|tone| tone.share > PURE)
}

/// Per cent of the sound that did not come.
fn loss(stats: &PeerStats) -> Option<f64> {
    let sound = stats.inbound.iter().find(|stream| stream.kind == MediaKind::Audio)?;
    let lost = sound.lost? as f64;
    let all = sound.packets as f64 + lost;
    Some(if all > 0.0 { 100.0 * lost / all } else { 0.0 })
}

/// How the sound is heard, where it goes through a jitter buffer.
fn playout(stats: &PeerStats) -> Option<Playout> {
    let mut sounds = stats.inbound.iter().filter(|stream| stream.kind == MediaKind::Audio);
    sounds.find_map(|sound| sound.playout)
}

/// Per cent of the sound that was made up, and how long it waits in the jitter buffer.
struct Played<'a>(&'a Playout);

impl fmt::Display for Played<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Playout { played, concealed, delay, output, .. } = self.0;
        match output {
            PlayoutOutput::NoDevice => return f.write_str("  no loudspeaker"),
            PlayoutOutput::Muted => return f.write_str("  muted here"),
            _ => {}
        }
        if *played > 0 {
            write!(f, "  made up {:.1} %", 100.0 * *concealed as f64 / *played as f64)?;
        }
        write!(f, "  buffer {} ms", delay.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use matrix_voip::machine::io::{CandidateInfo, CandidatePair, StreamStats};
    use matrix_voip_media::Level;

    use super::*;

    fn status(stats: Option<PeerStats>) -> Status {
        let level = Level { rms: 0.1, peak: 0.2 };
        let tone = Some(HeardTone { hz: 440.2, level: 0.14, share: 0.99 });
        let heard = Heard { level, tone, samples: 4096 };
        let talking = Some(Duration::from_secs(63));
        Status {
            state: CallState::Connected,
            talking,
            stats,
            said: None,
            heard,
            pictures: 0,
            marks: vec!["muted"],
        }
    }

    fn measured() -> PeerStats {
        let end = |kind| CandidateInfo::new(kind, "udp", "1.2.3.4:5");
        let mut sound = StreamStats::new("0", MediaKind::Audio, "audio/opus");
        (sound.packets, sound.lost) = (99, Some(1));
        let mut stats = PeerStats::default();
        stats.pair = Some(CandidatePair::new(end("relay"), end("host")));
        stats.round_trip = Some(Duration::from_millis(12));
        stats.inbound = vec![sound];
        stats
    }

    #[test]
    fn the_line_has_state_marks_path_level_loss_and_round_trip_and_no_address() {
        let line = status(Some(measured())).to_string();
        let expected = "connected 01:03  muted  relay to host (udp)  hears -20 dB (440 Hz)  \
                        loss 1.0 %  round trip 12 ms";
        assert_eq!(line, expected);
    }

    #[test]
    fn in_eighty_columns_whoever_is_muted_and_on_hold_sees_that_and_how_loud_he_is() {
        let marks = vec!["muted", "on hold by us"];
        let status = Status { said: Some(1.0), marks, ..status(Some(measured())) };
        let seen: String = status.within(79).chars().take(79).collect();
        let expected =
            "connected 01:03  muted  on hold by us  you ████████ they █████░░░  hears -20 dB";
        assert!(seen.starts_with(expected), "{seen}");
        assert_eq!(status.within(200), status.to_string());
    }

    #[test]
    fn with_a_microphone_there_are_meters_of_both_sides() {
        let line = Status { said: Some(1.0), ..status(Some(measured())) }.to_string();
        assert!(line.contains("  you ████████ they █████░░░  hears -20 dB"), "{line}");
    }

    #[test]
    fn sound_through_a_jitter_buffer_says_what_was_made_up_and_how_long_it_waits() {
        let line = |output| {
            let mut stats = measured();
            let mut playout = Playout::default();
            (playout.played, playout.concealed) = (48_000, 1_200);
            (playout.delay, playout.output) = (Duration::from_millis(42), output);
            stats.inbound[0].playout = Some(playout);
            status(Some(stats)).to_string()
        };
        let said = line(PlayoutOutput::Playing);
        assert!(said.contains("loss 1.0 %  made up 2.5 %  buffer 42 ms  round trip"), "{said}");
        assert!(line(PlayoutOutput::NoDevice).contains("  no loudspeaker  "));
        assert!(line(PlayoutOutput::Muted).contains("  muted here  "));
    }

    #[test]
    fn before_media_flow_there_is_only_the_state() {
        let early = Status {
            state: CallState::InviteSent,
            talking: None,
            marks: Vec::new(),
            ..status(None)
        };
        assert_eq!(early.to_string(), "invite_sent");
    }

    #[test]
    fn nothing_heard_is_silence() {
        assert_eq!(level(&Heard::default()), "silence");
    }
}
