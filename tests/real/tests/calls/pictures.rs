//! What becomes of pictures over a network that loses most of what is sent: both sides' pictures freeze,
//! both ask for a key frame, and both are answered once the network is whole again.

use real::{Client, Failure, Kind, Media, Pair, Scene};
use serde_json::{Value, json};

use crate::{
    basics::{connect, hang_up, video_stream},
    measure::say,
    stage::{Cast, OURS, Scenario},
};

/// Between a browser and ours, whose engine can lose packets on purpose.
pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::new("pictures_come_back", Cast::Pair(pictures_come_back))
        .only(|caller, callee| (caller, callee) == (Kind::Browser, OURS))
        .only_by(real::Engine::Str0m)];

/// Pictures that have to come one after the other to say that they do: a second's worth.
const SOME: u64 = 15;

fn pictures_come_back(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Video)?;
    let Pair { caller: browser, callee: ours, .. } = &pair;
    for client in [browser, ours] {
        client.measures("pictures", &call, |stats| shown(stats) >= SOME)?;
    }
    let before = browser.stats(&call)?;
    ours.ask("impair", &json!({"lossPercent": 80}))?;
    let asks = |stats: &Value| count(stats, "pliCount") > count(&before, "pliCount");
    browser.measures("that it asks for a key frame", &call, asks)?;
    ours.measures("that we ask for a key frame", &call, |stats| asked(stats) > 0)?;
    ours.ask("impair", &json!({}))?;

    let key_frames = count(&before, "keyFramesDecoded");
    let answered = |stats: &Value| count(stats, "keyFramesDecoded") > key_frames;
    browser.measures("the key frame that it asked for", &call, answered)?;
    let answered = |stats: &Value| key_frames_of(stats)["answered"].as_u64() > Some(0);
    ours.measures("the key frame that we asked for", &call, answered)?;
    for client in [browser, ours] {
        goes_on(client, &call)?;
    }
    let [theirs, mine] = [browser.stats(&call)?, ours.stats(&call)?];
    say(scene, &format!("pictures: the browser {} | we {}", row(&theirs), row(&mine)))?;
    assert!(count(&mine, "freezeCount") > 0, "the network was gone, and nothing froze: {mine}");
    let sent = mine["outbound"].as_array().into_iter().flatten();
    let told = sent.filter_map(|stream| stream["pliCount"].as_u64()).sum::<u64>();
    assert!(told > 0, "the browser asked, and we heard nothing of it: {mine}");
    hang_up(&call, browser, ours)
}

/// From now on pictures come.
fn goes_on(client: &Client, call: &str) -> Result<(), Failure> {
    let now = shown(&client.stats(call)?);
    client.measures("more pictures", call, |stats| shown(stats) >= now + SOME)?;
    Ok(())
}

fn count(stats: &Value, name: &str) -> u64 {
    video_stream(stats)[name].as_u64().unwrap_or_default()
}

fn shown(stats: &Value) -> u64 {
    count(stats, "framesDecoded")
}

/// Of ours: what was asked for, and what became of it.
fn key_frames_of(stats: &Value) -> &Value {
    &video_stream(stats)["keyFrames"]
}

fn asked(stats: &Value) -> u64 {
    key_frames_of(stats)["asked"].as_u64().unwrap_or_default()
}

fn row(stats: &Value) -> String {
    let stream = video_stream(stats);
    let frozen = stream["totalFreezesDuration"].as_f64().unwrap_or_default();
    let (freezes, shown) = (count(stats, "freezeCount"), shown(stats));
    let key_frames = match key_frames_of(stats) {
        Value::Null => format!(
            "{} asked, {} decoded",
            count(stats, "pliCount"),
            count(stats, "keyFramesDecoded")
        ),
        answers => answers.to_string(),
    };
    format!("{shown} shown, {freezes} freezes of {frozen:.1} s together, key frames: {key_frames}")
}
