//! What two people do with a call: talk, see each other, refuse, give up.

use std::time::Duration;

use real::{Client, End, Failure, Media, Pair, Path, Pending, Scene, Transport};
use serde_json::{Value, json};

use crate::{
    floor::Effort,
    stage::{Cast, Scenario},
};

/// Calls and their usual ends.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("nobody_answers", Cast::Pair(nobody_answers)).with(Effort::Wait),
    Scenario::new("voice", Cast::Pair(voice)),
    Scenario::new("video", Cast::Pair(video)),
    Scenario::new("reject", Cast::Pair(reject)),
    Scenario::new("cancel_while_ringing", Cast::Pair(cancel)),
    Scenario::new("relay_by_udp", Cast::Pair(udp)).by(Path::Relay(Transport::Udp)),
    Scenario::new("relay_by_tcp", Cast::Pair(tcp)).by(Path::Relay(Transport::Tcp)),
    Scenario::new("relay_by_tls", Cast::Pair(tls)).by(Path::Relay(Transport::Tls)),
];

/// The lifetime of an invite (the browser's: 60 s, ours: 90 s), and what else takes its time.
const INVITE_IS_OVER: Duration = Duration::from_secs(90 + 20);

/// Loud enough to be no noise: the protocol's bound.
pub(crate) const AUDIBLE: f64 = 0.01;

/// Payload that comes within a second, also of Opus between two beeps of the test sound.
const SOME_BYTES: u64 = 1_000;

/// What a hangup or a reject of the other side looks like.
pub(crate) fn hung_up_by_them() -> End {
    End::of("remote", "user_hangup")
}

/// Places a call, answers it, waits until both sides are connected. The call's id.
pub(crate) fn connect(pair: &Pair, media: Media) -> Result<String, Failure> {
    let call = pair.caller.call(&pair.room, media)?;
    pair.callee.rings(&call)?;
    pair.callee.act("answer", &call)?;
    for client in [&pair.caller, &pair.callee] {
        client.reaches(&call, "connected")?;
    }
    Ok(call)
}

/// Hangs up at one side; the other ends by that.
pub(crate) fn hang_up(call: &str, first: &Client, second: &Client) -> Result<(), Failure> {
    first.act("hangup", call)?;
    first.ends(call)?;
    assert_eq!(second.ends(call)?, hung_up_by_them());
    Ok(())
}

/// Hertz by which a tone may be missed.
const TONE: f64 = 10.0;

/// Both hear the other's test sound. Ours is a tone that belongs to the call: who tells tones hears
/// that one.
pub(crate) fn both_hear(call: &str, pair: &Pair) -> Result<(), Failure> {
    hear_each_other(call, &pair.caller, &pair.callee)
}

/// The same of any two.
pub(crate) fn hear_each_other(call: &str, one: &Client, other: &Client) -> Result<(), Failure> {
    let clients = [one, other];
    for client in clients {
        client.receives(call, Media::Voice, SOME_BYTES)?;
    }
    let listening = clients.map(|client| client.listen(call));
    let [by_one, by_other] = listening.map(Pending::sound);
    for (heard, speaker) in [(by_one?, other), (by_other?, one)] {
        assert!(heard.peak > AUDIBLE, "of {}: {heard:?}", speaker.peer());
        let said = tones(speaker, call)?;
        if let Some(hertz) = heard.hertz.filter(|_| !said.is_empty()) {
            let is_it = said.iter().any(|said| (hertz - said).abs() < TONE);
            assert!(is_it, "{} says {said:?} Hz: {heard:?}", speaker.peer());
        }
    }
    Ok(())
}

/// The tone of a call and of those that it has replaced: their microphone has moved to it. Nothing
/// of a peer that does not tell.
fn tones(speaker: &Client, call: &str) -> Result<Vec<f64>, Failure> {
    let state = speaker.ask("state", &json!({}))?;
    let calls = state["calls"].as_array().into_iter().flatten();
    let sounds = calls.filter(|one| one["callId"] == call || one["hangupReason"] == "replaced");
    Ok(sounds.filter_map(|one| one["tone"].as_f64()).collect())
}

fn voice(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    both_hear(&call, &pair)?;
    hang_up(&call, &pair.callee, &pair.caller)
}

fn video(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Video)?;
    for client in [&pair.caller, &pair.callee] {
        client.receives(&call, Media::Video, SOME_BYTES)?;
        let decoded = |stats: &Value| video_stream(stats)["framesDecoded"].as_u64() > Some(0);
        client.measures("pictures that are decoded", &call, decoded)?;
    }
    hang_up(&call, &pair.caller, &pair.callee)
}

/// The received picture in a client's figures.
pub(crate) fn video_stream(stats: &Value) -> &Value {
    let mut streams = stats["inbound"].as_array().into_iter().flatten();
    streams.find(|stream| stream["kind"] == "video").unwrap_or(&Value::Null)
}

fn reject(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = pair.caller.call(&pair.room, Media::Voice)?;
    pair.callee.rings(&call)?;
    pair.callee.act("reject", &call)?;
    pair.callee.ends(&call)?;
    assert_eq!(pair.caller.ends(&call)?, hung_up_by_them());
    Ok(())
}

fn cancel(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = pair.caller.call(&pair.room, Media::Voice)?;
    pair.callee.rings(&call)?;
    hang_up(&call, &pair.caller, &pair.callee)
}

fn nobody_answers(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = pair.caller.call(&pair.room, Media::Voice)?;
    pair.callee.rings(&call)?;
    let end = pair.caller.ends_within(&call, INVITE_IS_OVER)?;
    assert_eq!(end, End::of("local", "invite_timeout"));
    pair.callee.ends(&call)?;
    Ok(())
}

fn udp(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    relayed(scene, &pair, Transport::Udp)
}

fn tcp(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    relayed(scene, &pair, Transport::Tcp)
}

fn tls(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    relayed(scene, &pair, Transport::Tls)
}

/// Sound both ways with relayed candidates on both sides, and the TURN server knows of both. The
/// homeserver told of this transport alone.
fn relayed(scene: &Scene, pair: &Pair, transport: Transport) -> Result<(), Failure> {
    let call = connect(pair, Media::Voice)?;
    both_hear(&call, pair)?;
    for client in [&pair.caller, &pair.callee] {
        let stats = client.stats(&call)?;
        for end in ["local", "remote"] {
            assert_eq!(stats["pair"][end]["type"], "relay", "{stats}");
        }
        if client.kind.is_ours() {
            let name = transport.name();
            assert_eq!(stats["pair"]["local"]["relayProtocol"], name, "{stats}");
        }
        let served = scene.world.coturn.has_served(&client.user_id, transport)?;
        assert!(served, "the TURN server knows nothing of {}", client.user_id);
    }
    hang_up(&call, &pair.caller, &pair.callee)
}
