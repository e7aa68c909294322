//! The demo as JSON lines: one object per fact, `report` last.
//!
//! Every object has `event`, and all but the first and the last have `t`, the seconds since the
//! call was placed. Levels are amplitudes from 0 to 1, frequencies are in Hz.

use std::{
    io::{self, Write},
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{
    face::{Face, Outcome, Wire},
    fact::{Fact, Gauge, Moment, Path, PathEnd, Pictures, Sound, Who, WireEvent},
    story::Story,
    verdict::{Expected, View},
    wrong::ending,
};

/// Writes the lines.
#[derive(Debug)]
pub(crate) struct Json<W> {
    out: W,
    wire: Wire,
}

impl<W: Write> Json<W> {
    /// Writes them to `out`.
    pub(crate) const fn new(out: W, wire: Wire) -> Self {
        Self { out, wire }
    }

    fn line(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.out, "{value}")?;
        self.out.flush()
    }
}

impl<W: Write> Face for Json<W> {
    fn begin(&mut self, expected: &Expected) -> io::Result<()> {
        let tones: Map<String, Value> = Who::BOTH
            .into_iter()
            .map(|who| (who.name().to_owned(), rounded(expected.heard_by(who), 1)))
            .collect();
        self.line(&json!({
            "event": "begin",
            "seconds": expected.talk.as_secs(),
            "engine": expected.engine.to_string(),
            "video": expected.view != View::Nothing,
            "expected": { "hz": tones, "level": rounded(expected.level, 3) },
        }))
    }

    fn tell(&mut self, moment: &Moment, _story: &Story) -> io::Result<()> {
        let mut value = fact(&moment.fact, self.wire);
        value["t"] = seconds(moment.at);
        self.line(&value)
    }

    fn end(&mut self, outcome: &Outcome) -> io::Result<()> {
        let reasons: Vec<String> = outcome.wrong.iter().map(ToString::to_string).collect();
        let phases: Map<String, Value> = outcome
            .story
            .phases()
            .into_iter()
            .map(|phase| {
                (phase.name.replace([' ', ','], "_").replace("__", "_"), millis(phase.took))
            })
            .collect();
        let side = |who: Who| {
            let side = outcome.story.of(who);
            json!({
                "end": side.end.as_ref().map(ending),
                "path": side.path.as_ref().map(path),
                "heard": sound(&side.gauge.overall),
                "saw": side.gauge.pictures.as_ref().map(pictures),
                "packets": packets(&side.gauge),
            })
        };
        self.line(&json!({
            "event": "report",
            "ok": reasons.is_empty(),
            "reasons": reasons,
            "phases_ms": phases,
            "ada": side(Who::Ada),
            "ben": side(Who::Ben),
            "recorded": outcome.recorded,
        }))
    }
}

fn fact(fact: &Fact, wire: Wire) -> Value {
    match fact {
        Fact::State(who, state) => {
            json!({ "event": "state", "who": who.name(), "state": state.to_string() })
        }
        Fact::Ended(who, end) => json!({ "event": "ended", "who": who.name(), "why": ending(end) }),
        Fact::Sent(who, event) => sent(*who, event, wire),
        Fact::Announced(who, print) => {
            json!({ "event": "announced", "who": who.name(), "fingerprint": print })
        }
        Fact::ToldOf(who, print) => {
            json!({ "event": "told", "of": who.name(), "fingerprint": print })
        }
        Fact::Path(who, chosen) => {
            json!({ "event": "path", "who": who.name(), "path": path(chosen) })
        }
        Fact::FirstSound(who) => json!({ "event": "first_sound", "who": who.name() }),
        Fact::FirstPicture(who) => json!({ "event": "first_picture", "who": who.name() }),
        Fact::OtherMicrophone(who, how) => json!({
            "event": "other_microphone",
            "who": who.name(),
            "is": format!("{how:?}").to_lowercase(),
        }),
        Fact::Gauge(who, gauge) => json!({
            "event": "meter",
            "who": who.name(),
            "hears": sound(&gauge.now),
            "sees": gauge.pictures.as_ref().map(pictures),
            "packets": packets(gauge),
        }),
    }
}

fn sent(who: Who, event: &WireEvent, wire: Wire) -> Value {
    let mut value = json!({ "event": "sent", "who": who.name(), "type": event.event_type });
    if wire == Wire::Shown {
        value["content"] = content(event);
    }
    value
}

/// The content as JSON, or as text if it is none.
pub(super) fn content(event: &WireEvent) -> Value {
    let text = || Value::String(event.content.clone());
    serde_json::from_str(&event.content).unwrap_or_else(|_| text())
}

pub(super) fn path(path: &Path) -> Value {
    let end = |end: &PathEnd| json!({ "type": end.kind, "address": end.address });
    json!({ "protocol": path.protocol, "local": end(&path.local), "remote": end(&path.remote) })
}

pub(super) fn packets(gauge: &Gauge) -> Value {
    json!({
        "sent": gauge.sent,
        "received": gauge.received,
        "lost": gauge.lost,
        "round_trip_ms": millis(gauge.round_trip),
    })
}

pub(super) fn sound(sound: &Sound) -> Value {
    json!({
        "rms": rounded(sound.rms, 4),
        "seconds": seconds(sound.length),
        "hz": sound.tone.map(|tone| rounded(tone.hz, 1)),
        "level": sound.tone.map(|tone| rounded(tone.level, 3)),
        "share": sound.tone.map(|tone| rounded(tone.share, 3)),
    })
}

fn pictures(pictures: &Pictures) -> Value {
    json!({
        "shown": pictures.shown,
        "numbered": pictures.numbered,
        "missing": pictures.missing,
        "last_number": pictures.last_number,
        "size": pictures.size,
    })
}

pub(super) fn seconds(time: Duration) -> Value {
    json!((time.as_secs_f64() * 1e4).round() / 1e4)
}

pub(super) fn millis(time: Option<Duration>) -> Value {
    json!(time.map(|time| (time.as_secs_f64() * 1e5).round() / 1e2))
}

pub(super) fn rounded(value: f32, digits: i32) -> Value {
    let scale = 10.0_f64.powi(digits);
    json!((f64::from(value) * scale).round() / scale)
}

#[cfg(test)]
mod tests {
    use matrix_voip::machine::event::CallState;

    use super::*;

    fn told(wire: Wire, fact: Fact) -> Value {
        let mut out = Vec::new();
        let moment = Moment { at: Duration::from_micros(12_340), fact };
        Json::new(&mut out, wire).tell(&moment, &Story::default()).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_fact_is_one_line_with_its_time() {
        let value = told(Wire::Hidden, Fact::State(Who::Ada, CallState::InviteSent));
        let expected =
            json!({ "event": "state", "who": "ada", "state": "invite_sent", "t": 0.0123 });
        assert_eq!(value, expected);
    }

    #[test]
    fn contents_are_shown_only_when_asked_for() {
        let event = || WireEvent {
            event_type: "m.call.hangup".into(),
            content: r#"{"version":"1"}"#.into(),
        };
        assert_eq!(told(Wire::Hidden, Fact::Sent(Who::Ben, event()))["content"], Value::Null);
        let shown = told(Wire::Shown, Fact::Sent(Who::Ben, event()));
        assert_eq!(shown["content"]["version"], "1");
    }
}
