//! What people change in a call: hold, mute, camera, screen, path. Each side does it in turn.

use real::{Client, Engine, Failure, Media, PATIENCE, Pair, Scene, clock, film};
use serde_json::{Value, json};

use crate::{
    basics::{AUDIBLE, both_hear, connect, hang_up},
    stage::{Cast, Scenario},
};

/// Changes of a call that goes on.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("hold", Cast::Pair(hold)),
    Scenario::new("mute", Cast::Pair(mute)),
    Scenario::new("upgrade", Cast::Pair(upgrade)),
    Scenario::new("screen", Cast::Pair(screen)),
    Scenario::new("screen_of_a_film", Cast::Pair(screen_of_a_film))
        .only(|caller, callee| caller.is_ours() || callee.is_ours()),
    Scenario::new("screen_in_a_voice_call", Cast::Pair(screen_in_a_voice_call)).long(),
    Scenario::new("ice_restart", Cast::Pair(ice_restart)),
    Scenario::new("tones", Cast::Pair(tones)).only_by(Engine::Str0m),
    Scenario::new("tones_are_refused", Cast::Pair(tones_are_refused)).only_by(Engine::Webrtc),
    Scenario::new("changes_cross", Cast::Pair(changes_cross)).long(),
];

/// Who does it, and who sees it: first the caller, then the callee.
fn in_turn(pair: &Pair) -> [(&Client, &Client); 2] {
    [(&pair.caller, &pair.callee), (&pair.callee, &pair.caller)]
}

/// A command that is switched on or off.
fn switch(client: &Client, command: &str, call: &str, on: bool) -> Result<(), Failure> {
    client.ask(command, &json!({"callId": call, "on": on})).map(drop)
}

/// Waits until these hear nothing for more than a second: the test sound comes once a second.
fn hear_nothing(clients: &[&Client], call: &str) -> Result<(), Failure> {
    listen_until("silence", clients, call, |peak| peak < AUDIBLE)
}

/// Waits until both hear each other again.
fn both_hear_again(call: &str, pair: &Pair) -> Result<(), Failure> {
    let both = [&pair.caller, &pair.callee];
    listen_until("sound", &both, call, |peak| peak > AUDIBLE)?;
    both_hear(call, pair)
}

fn listen_until(
    what: &str,
    clients: &[&Client],
    call: &str,
    is: impl Fn(f64) -> bool,
) -> Result<(), Failure> {
    let since = clock::moment();
    loop {
        let listening: Vec<_> = clients.iter().map(|client| client.listen(call)).collect();
        let mut unlike = None;
        for (client, pending) in clients.iter().zip(listening) {
            let peak = pending.loudness()?;
            unlike = unlike.or((!is(peak)).then_some((client, peak)));
        }
        let Some((client, peak)) = unlike else { return Ok(()) };
        if since.elapsed() > PATIENCE {
            let (who, stats) = (client.peer(), client.stats(call)?);
            return Err(Failure(format!("{who} waits for {what}, hears {peak}: {stats}")));
        }
    }
}

/// Waits until the call goes on at both.
fn connected_again(call: &str, pair: &Pair) -> Result<(), Failure> {
    for client in [&pair.caller, &pair.callee] {
        client.reaches(call, "connected")?;
    }
    Ok(())
}

/// Nobody hears anything on hold; afterwards both hear each other as before.
fn hold(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    for (holder, held) in in_turn(&pair) {
        switch(holder, "hold", &call, true)?;
        held.until("on hold", &call, PATIENCE, |call| call["localOnHold"] == true)?;
        assert_eq!(holder.act("state", &call)?["remoteOnHold"], true);
        assert_eq!(held.act("state", &call)?["remoteOnHold"], false);
        hear_nothing(&[holder, held], &call)?;
        explains(holder, &call, "We hold the other side")?;
        explains(held, &call, "The other side holds us")?;
        switch(holder, "hold", &call, false)?;
        held.until("no longer on hold", &call, PATIENCE, |call| call["localOnHold"] == false)?;
        both_hear_again(&call, &pair)?;
    }
    hang_up(&call, &pair.callee, &pair.caller)
}

/// Ours says in a sentence why it is silent.
fn explains(client: &Client, call: &str, sentence: &str) -> Result<(), Failure> {
    if client.kind.is_ours() {
        let told = client.act("explain", call)?;
        let told = told["explanation"].as_str().unwrap_or_default();
        assert!(told.contains(sentence), "{told}");
    }
    Ok(())
}

/// The other side's microphone and camera, as its call object tells.
fn remote_feeds(call: &Value) -> impl Iterator<Item = &Value> {
    let feeds = call["feeds"].as_array().into_iter().flatten();
    feeds.filter(|feed| feed["local"] == false)
}

/// Waits until a client shows the other side's microphone or camera (`field`) like that.
fn until_muted(client: &Client, call: &str, field: &str, muted: bool) -> Result<(), Failure> {
    let is = |call: &Value| {
        remote_feeds(call).any(|feed| feed["purpose"] == "m.usermedia" && feed[field] == muted)
    };
    client.until(&format!("{field}: {muted}"), call, PATIENCE, is)
}

/// Silence while it lasts, and the other side shows it.
fn mute(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    for (muter, other) in in_turn(&pair) {
        switch(muter, "muteAudio", &call, true)?;
        until_muted(other, &call, "audioMuted", true)?;
        assert_eq!(muter.act("state", &call)?["micMuted"], true);
        hear_nothing(&[other], &call)?;
        switch(muter, "muteAudio", &call, false)?;
        until_muted(other, &call, "audioMuted", false)?;
        both_hear_again(&call, &pair)?;
    }
    hang_up(&call, &pair.caller, &pair.callee)
}

/// How many streams of pictures are decoded.
fn pictures(stats: &Value) -> usize {
    let streams = stats["inbound"].as_array().into_iter().flatten();
    let decoded =
        |stream: &&Value| stream["kind"] == "video" && stream["framesDecoded"].as_u64() > Some(0);
    streams.filter(decoded).count()
}

/// A voice call becomes a video call, by one side and then by the other; then the cameras go dark.
fn upgrade(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    for client in [&pair.caller, &pair.callee] {
        assert_eq!(client.act("state", &call)?["type"], "voice");
    }
    for (shower, other) in in_turn(&pair) {
        switch(shower, "muteVideo", &call, false)?;
        other.measures("pictures", &call, |stats| pictures(stats) == 1)?;
        until_muted(other, &call, "videoMuted", false)?;
        assert_eq!(shower.act("state", &call)?["videoMuted"], false);
    }
    connected_again(&call, &pair)?;
    both_hear(&call, &pair)?;
    for (shower, other) in in_turn(&pair) {
        assert_eq!(shower.act("state", &call)?["type"], "video");
        switch(shower, "muteVideo", &call, true)?;
        until_muted(other, &call, "videoMuted", true)?;
    }
    hang_up(&call, &pair.caller, &pair.callee)
}

/// Beside the cameras, and gone afterwards.
fn screen(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Video)?;
    for (sharer, other) in in_turn(&pair) {
        other.measures("the camera", &call, |stats| pictures(stats) == 1)?;
        shares(sharer, other, &call, 2)?;
    }
    both_hear(&call, &pair)?;
    hang_up(&call, &pair.caller, &pair.callee)
}

/// A size that nothing else here has.
pub(crate) const FILM: (u32, u32) = (480, 272);

/// Waits until pictures of the film are decoded.
pub(crate) fn sees_film(client: &Client, call: &str) -> Result<(), Failure> {
    let is_film = |stream: &Value| {
        let size = ["width", "height"].map(|side| stream[side].as_u64());
        size == [Some(FILM.0.into()), Some(FILM.1.into())]
            && stream["framesDecoded"].as_u64() > Some(5)
    };
    let shown = |stats: &Value| stats["inbound"].as_array().into_iter().flatten().any(is_film);
    client.measures("pictures of the film", call, shown).map(drop)
}

/// Ours shows a film as its screen, beside the camera; a file that is none changes nothing.
fn screen_of_a_film(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let path = scene.world.house.folder().join(format!("{}.ivf", pair.caller.peer()));
    film::write_film(&path, FILM)?;
    let call = connect(&pair, Media::Video)?;
    for (sharer, other) in in_turn(&pair).into_iter().filter(|(sharer, _)| sharer.kind.is_ours()) {
        let none = json!({"callId": call, "file": "/nowhere/film.ivf"});
        let refused = sharer.ask("screenshare", &none);
        assert!(matches!(&refused, Err(why) if why.0.contains("/nowhere/film.ivf")), "{refused:?}");
        sharer.ask("screenshare", &json!({"callId": call, "file": path}))?;
        sees_film(other, &call)?;
        switch(sharer, "screenshare", &call, false)?;
        other.ask("waitFor", &json!({"callId": call, "remoteFeeds": 1}))?;
    }
    both_hear(&call, &pair)?;
    hang_up(&call, &pair.callee, &pair.caller)
}

/// Without a camera the screen is all that is seen; and it can be shown again.
fn screen_in_a_voice_call(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    for (sharer, other) in in_turn(&pair) {
        for _ in 0..2 {
            shares(sharer, other, &call, 1)?;
        }
    }
    both_hear(&call, &pair)?;
    hang_up(&call, &pair.caller, &pair.callee)
}

/// One side's screen is seen, as one of so many streams of pictures, and then no longer.
fn shares(sharer: &Client, other: &Client, call: &str, streams: usize) -> Result<(), Failure> {
    switch(sharer, "screenshare", call, true)?;
    other.ask("waitFor", &json!({"callId": call, "remoteFeeds": 2}))?;
    let seen = other.act("state", call)?;
    assert!(remote_feeds(&seen).any(|feed| feed["purpose"] == "m.screenshare"), "{seen}");
    assert_eq!(sharer.act("state", call)?["screensharing"], true);
    other.measures("the screen", call, |stats| pictures(stats) >= streams)?;
    switch(sharer, "screenshare", call, false)?;
    other.ask("waitFor", &json!({"callId": call, "remoteFeeds": 1}))?;
    assert_eq!(sharer.act("state", call)?["screensharing"], false);
    Ok(())
}

/// The ICE user of one of the two descriptions in force.
fn ice_user<'a>(described: &'a Value, side: &str) -> Option<&'a str> {
    let sdp = described[side]["sdp"].as_str()?;
    sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).map(str::trim)
}

/// New credentials of both sides are in force at both, and the sound goes on.
fn ice_restart(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    both_hear(&call, &pair)?;
    for (restarter, other) in in_turn(&pair) {
        let before = [restarter, other].map(|client| client.act("sdp", &call));
        restarter.act("iceRestart", &call)?;
        for (client, before) in [restarter, other].into_iter().zip(before) {
            let before = before?;
            let is_new = |now: &Value| {
                ["local", "remote"]
                    .iter()
                    .all(|side| ice_user(now, side) != ice_user(&before, side))
            };
            client.describes("new credentials", &call, is_new)?;
        }
        connected_again(&call, &pair)?;
        both_hear_again(&call, &pair)?;
    }
    hang_up(&call, &pair.callee, &pair.caller)
}

/// The packets of a tone of 100 ms, of which some may be lost: one each 20 ms, and three for the end.
const PACKETS_OF_A_TONE: usize = 5;

/// Each dials. Applications are not told what comes in, neither ours nor a browser's; but our engine
/// takes it for what it is, and the talk goes on.
fn tones(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    both_hear(&call, &pair)?;
    for (dialler, other) in in_turn(&pair) {
        for (nth, digit) in (1..).zip(["5", "#"]) {
            dialler.ask("dtmf", &json!({"callId": call, "digit": digit}))?;
            if !dialler.kind.is_ours() {
                let sounds = |event: &Value| event["ev"] == "tone" && event["tone"] == digit;
                dialler.event("the tone", PATIENCE, sounds)?;
            }
            if other.kind.is_ours() {
                other.notices("a tone came in", nth * PACKETS_OF_A_TONE)?;
            }
        }
    }
    both_hear_again(&call, &pair)?;
    hang_up(&call, &pair.caller, &pair.callee)
}

/// An engine without tones says so, and promises none to others; the talk goes on.
fn tones_are_refused(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    both_hear(&call, &pair)?;
    for (dialler, other) in in_turn(&pair) {
        let dialled = dialler.ask("dtmf", &json!({"callId": call, "digit": "5"}));
        assert!(dialled.is_err(), "{}: {dialled:?}", dialler.peer());
        if dialler.kind.is_ours() {
            let described = dialler.act("sdp", &call)?;
            assert!(!described["local"].to_string().contains("telephone-event"), "{described}");
            assert_eq!(other.act("state", &call)?["opponentSupportsDTMF"], false);
        }
    }
    both_hear_again(&call, &pair)?;
    hang_up(&call, &pair.caller, &pair.callee)
}

/// Both change the call at once, again and again: whatever crosses, both agree in the end.
fn changes_cross(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    let clients = [&pair.caller, &pair.callee];
    for _ in 0..3 {
        for on in [true, false] {
            let share = json!({"callId": call, "on": on});
            let asked = clients.map(|client| client.send("screenshare", &share));
            for pending in asked {
                pending.answer()?;
            }
            let feeds = json!({"callId": call, "remoteFeeds": if on { 2 } else { 1 }});
            for client in clients {
                client.ask("waitFor", &feeds)?;
            }
        }
    }
    both_hear(&call, &pair)?;
    hang_up(&call, &pair.caller, &pair.callee)
}
