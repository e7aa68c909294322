//! The status line of a call: state, path, level, loss, what was made up, delay, round trip. Pure.

use std::{fmt, time::Duration};

use matrix_voip::{
    CallState, PeerStats,
    host::{Output, Playout},
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

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state)?;
        if let Some(talking) = self.talking {
            let seconds = talking.as_secs();
            write!(f, " {:02}:{:02}", seconds / 60, seconds % 60)?;
        }
        if let Some(stats) = &self.stats {
            write!(f, "  {}", path(stats))?;
            if let Some(said) = self.said {
                write!(f, "  you {} they {}", bar(said), bar(self.heard.level.rms))?;
            }
            write!(f, "  hears {}", level(&self.heard))?;
            if self.pictures > 0 {
                write!(f, "  {} pictures", self.pictures)?;
            }
            if let Some(loss) = loss(stats) {
                write!(f, "  loss {loss:.1} %")?;
            }
            if let Some(playout) = playout(stats) {
                write!(f, "{}", Played(&playout))?;
            }
            if let Some(time) = stats.round_trip {
                write!(f, "  round trip {:.0} ms", time.as_secs_f64() * 1000.0)?;
            }
        }
        self.marks.iter().try_for_each(|mark| write!(f, "  {mark}"))
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
            Output::NoDevice => return f.write_str("  no loudspeaker"),
            Output::Muted => return f.write_str("  muted here"),
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
    fn the_line_has_state_path_level_loss_and_round_trip_and_no_address() {
        let line = status(Some(measured())).to_string();
        let expected = "connected 01:03  relay to host (udp)  hears -20 dB (440 Hz)  loss 1.0 %  \
                        round trip 12 ms  muted";
        assert_eq!(line, expected);
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
        let said = line(Output::Playing);
        assert!(said.contains("loss 1.0 %  made up 2.5 %  buffer 42 ms  round trip"), "{said}");
        assert!(line(Output::NoDevice).contains("  no loudspeaker  "));
        assert!(line(Output::Muted).contains("  muted here  "));
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
