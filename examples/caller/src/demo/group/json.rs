//! The demo of a group call as JSON lines: one object per fact, `report` last. As in the call of two
//! (`demo/json.rs`): all but the first and the last have `t`, the seconds since all began to enter.

use std::io::{self, Write};

use matrix_voip::{Connection, id::StreamId};
use serde_json::{Map, Value, json};

use super::{
    Moment,
    cast::Who,
    face::{Face, Outcome},
    fact::{Fact, Mark},
    story::{Story, WayStory},
    verdict::Expected,
};
use crate::demo::{
    face::Wire,
    fact::WireEvent,
    json::{content, millis, packets, path, rounded, seconds, sound},
    setup::LEVEL,
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
        let plays = by_name(Who::cast(expected.size), |who| rounded(who.hz(), 1));
        self.line(&json!({
            "event": "begin",
            "group": expected.size,
            "seconds": expected.talk.as_secs(),
            "engine": expected.engine.to_string(),
            "plays": { "hz": plays, "level": rounded(LEVEL, 3) },
        }))
    }

    fn tell(&mut self, moment: &Moment, _story: &Story) -> io::Result<()> {
        let mut value = fact(&moment.fact, self.wire);
        value["t"] = seconds(moment.at);
        self.line(&value)
    }

    fn end(&mut self, outcome: &Outcome) -> io::Result<()> {
        let story = &outcome.story;
        let reasons: Vec<String> = outcome.wrong.iter().map(ToString::to_string).collect();
        let phases = story.phases().into_iter();
        let phases: Map<_, _> =
            phases.map(|phase| (phase.name.replace(' ', "_"), millis(phase.took))).collect();
        let hears = by_name(Who::cast(story.size), |hears| {
            Value::Object(by_name(hears.others(story.size), |of| way(story.way(hears, of))))
        });
        self.line(&json!({
            "event": "report",
            "ok": reasons.is_empty(),
            "reasons": reasons,
            "phases_ms": phases,
            "sent": story.sent,
            "used": used(story),
            "hears": hears,
        }))
    }
}

fn fact(fact: &Fact, wire: Wire) -> Value {
    match fact {
        Fact::State(who, state) => {
            json!({ "event": "state", "who": who.name(), "state": state.to_string() })
        }
        Fact::Connection(who, other, how) => pair("connection", *who, *other, "is", words(*how)),
        Fact::Sent(who, to, event) => sent(*who, to, event, wire),
        Fact::Opened(who, other, peer) => pair("opened", *who, *other, "peer", json!(peer.0)),
        Fact::Announced(who, other, print) => {
            pair("announced", *who, *other, "fingerprint", json!(print))
        }
        Fact::Told(who, other, print) => pair("told", *who, *other, "fingerprint", json!(print)),
        Fact::Track(who, other, track) => pair("track", *who, *other, "peer", json!(track.peer.0)),
        Fact::Stray(who) => json!({ "event": "stray", "who": who.name() }),
        Fact::Streams(who, other, streams) => {
            let names: Vec<_> = streams.iter().map(StreamId::as_str).collect();
            pair("streams", *who, *other, "streams", json!(names))
        }
        Fact::OtherMicrophone(who, other, how) => {
            let how = format!("{how:?}").to_lowercase();
            pair("other_microphone", *who, *other, "is", json!(how))
        }
        Fact::FirstSound(who, of) => {
            json!({ "event": "first_sound", "who": who.name(), "of": of.name() })
        }
        Fact::Path(who, other, chosen) => pair("path", *who, *other, "path", path(chosen)),
        Fact::Meters(who, gauges) => {
            let hears = gauges.iter().map(|(of, gauge)| (of.name().to_owned(), sound(&gauge.now)));
            let hears: Map<String, Value> = hears.collect();
            json!({ "event": "meter", "who": who.name(), "hears": hears })
        }
        Fact::Cost(mark, cost) => json!({
            "event": "used",
            "until": format!("{mark:?}").to_lowercase(),
            "processor_s": seconds(cost.cpu),
            "memory_bytes": cost.memory,
        }),
        Fact::Leaving => json!({ "event": "leaving" }),
    }
}

/// Something between two, and one thing about it.
fn pair(event: &str, who: Who, other: Who, name: &str, value: Value) -> Value {
    let mut pair = json!({ "event": event, "who": who.name(), "other": other.name() });
    pair[name] = value;
    pair
}

fn words(how: Connection) -> Value {
    json!(format!("{how:?}").to_lowercase())
}

fn sent(who: Who, to: &[Who], event: &WireEvent, wire: Wire) -> Value {
    let to: Vec<_> = to.iter().map(|to| to.name()).collect();
    let mut value =
        json!({ "event": "sent", "who": who.name(), "to": to, "type": event.event_type });
    if wire == Wire::Shown {
        value["content"] = content(event);
    }
    value
}

fn way(way: &WayStory) -> Value {
    json!({
        "heard": sound(&way.gauge.overall),
        "path": way.path.as_ref().map(path),
        "packets": packets(&way.gauge),
        "first_sound_ms": millis(way.first_sound),
    })
}

fn used(story: &Story) -> Value {
    let cost = |mark| story.cost(mark);
    let (begin, talking) = (cost(Mark::Begin), cost(Mark::Talking));
    let talked = cost(Mark::Talked);
    let set_up = begin.zip(talking).filter(|_| story.all_hear_all());
    let setting_up = set_up.map(|(from, to)| to.cpu.saturating_sub(from.cpu));
    let load = talking.zip(talked).map(|(from, to)| to.load_since(from));
    json!({
        "processor_ms_until_all_hear_all": millis(setting_up),
        "one_processor_while_talking": load.map(|load| (load * 1e3).round() / 1e3),
        "memory_bytes": talked.map(|cost| cost.memory),
    })
}

fn by_name(who: impl Iterator<Item = Who>, of: impl Fn(Who) -> Value) -> Map<String, Value> {
    who.map(|who| (who.name().to_owned(), of(who))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(wire: Wire, fact: Fact) -> Value {
        let mut out = Vec::new();
        let moment = Moment { at: Duration::from_micros(12_340), fact };
        Json::new(&mut out, wire).tell(&moment, &Story::new(3)).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_fact_about_two_names_both() {
        let fact = Fact::Connection(Who::ADA, Who::BEN, Connection::Connected);
        let expected = json!({
            "event": "connection", "who": "ada", "other": "ben", "is": "connected", "t": 0.0123
        });
        assert_eq!(told(Wire::Hidden, fact), expected);
    }

    #[test]
    fn contents_are_shown_only_when_asked_for() {
        let event = || WireEvent {
            event_type: "com.famedly.call.member.hangup".into(),
            content: r#"{"version":"1"}"#.into(),
        };
        let sent = || Fact::Sent(Who::ADA, vec![Who::BEN], event());
        assert_eq!(told(Wire::Hidden, sent())["content"], Value::Null);
        let shown = told(Wire::Shown, sent());
        assert_eq!((&shown["content"]["version"], &shown["to"]), (&json!("1"), &json!(["ben"])));
    }
}
