//! How sound is heard over a bad network, in real time: what the browser reports of our packets beside
//! what our jitter buffer makes of the browser's, for the same loss and jitter each way. Printed, and kept
//! in `measured.txt` of the run; what is bounded is measured in virtual time (`adapters/media/tests`).

use std::time::Duration;

use real::{Client, Failure, Media, Pair, Scene, SoundEquipment};
use serde_json::{Value, json};

use crate::{
    basics::{connect, hang_up},
    floor::Effort,
    headset::{OURS_SAYS, THEIRS_SAYS},
    measure::say,
    person::CALLER,
    stage::{Cast, OURS, Scenario},
};

/// What is measured with `--long`.
pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::new("quality_of_sound", Cast::Scene(quality_of_sound))
        .with(Effort::Alone)
        .using(CALLER)
        .only_by(real::Engine::Str0m)
        .with_sound()
        .long()];

/// Percent of datagrams.
const LOSSES: [u64; 4] = [0, 5, 10, 20];

/// Most ms by which a datagram is late.
const JITTERS: [u64; 2] = [0, 60];

/// How long the buffers may adapt, and how often and long it is looked then.
const SETTLE_MS: u64 = 4_000;
const LOOKS: usize = 4;
const LOOK_MS: u64 = 3_000;

/// Packets of a second, and of those how many have to come at least where none is lost.
const PACKETS: f64 = 50.0;
const ENOUGH: f64 = 0.8;

/// The share of packets by which the count may be off: some are on their way. It may be below zero, too
/// (RFC 3550 §6.4.1).
const ON_THE_WAY: f64 = 0.02;

/// How one side hears the other: sums over a time.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    packets: f64,
    lost: f64,
    /// Samples.
    played: f64,
    concealed: f64,
    /// Sums over `emitted` samples, in ms.
    emitted: f64,
    delay: f64,
    target: f64,
}

fn quality_of_sound(scene: &Scene) -> Result<(), Failure> {
    let equipment = SoundEquipment::find().map_err(|missing| Failure(missing.to_string()))?;
    let spoken = |line: real::Line, name: &str| {
        line.spoken(&equipment, scene.world.house.scratch().join(name))
    };
    let (ours, theirs) = (spoken(OURS_SAYS, "ours.wav")?, spoken(THEIRS_SAYS, "theirs.wav")?);
    let caller = scene.browser_that_says("ada", &theirs.file)?;
    let callee = scene.client_with("ben", OURS, json!({"headset": true, "says": ours.file}))?;
    let room = scene.room(&caller, &callee)?;
    let pair = Pair { caller, callee, room };
    let call = connect(&pair, Media::Voice)?;
    say(
        scene,
        "loss, jitter | lost  concealed  delay  target: the browser of us | we of the browser",
    )?;
    for jitter in JITTERS {
        for loss in LOSSES {
            pair.callee.ask("impair", &json!({"lossPercent": loss, "jitterMs": jitter}))?;
            let [browser, ours] = measured(&pair, &call)?;
            let row = format!("{loss:>3} %, {jitter:>3} ms | {} | {}", row(browser), row(ours));
            say(scene, &row)?;
            for heard in [browser, ours] {
                assert_sane(loss, jitter, heard);
            }
        }
    }
    pair.callee.ask("impair", &json!({}))?;
    hang_up(&call, &pair.callee, &pair.caller)
}

fn row(heard: Heard) -> String {
    let Heard { packets, lost, played, concealed, emitted, delay, target } = heard;
    let lost = 100.0 * lost / (packets + lost);
    let concealed = 100.0 * concealed / played;
    let (delay, target) = (delay / emitted, target / emitted);
    format!("{lost:>4.1} % {concealed:>6.1} % {delay:>4.0} ms {target:>4.0} ms")
}

/// What was measured is what was meant: packets came, and about as many were lost as were to be.
fn assert_sane(percent: u64, jitter: u64, heard: Heard) {
    let time = Duration::from_millis(LOOKS as u64 * LOOK_MS).as_secs_f64();
    let asked = percent as f64 / 100.0;
    assert!(heard.packets > PACKETS * time * (1.0 - asked) * ENOUGH, "too few packets: {heard:?}");
    let seen = heard.lost / (heard.packets + heard.lost);
    let (least, most) = (asked / 2.5 - ON_THE_WAY, asked * 2.5 + ON_THE_WAY);
    assert!((least..=most).contains(&seen), "{percent} %, {jitter} ms: {heard:?}");
    assert!(heard.played > 0.0 && heard.emitted > 0.0, "nothing was played: {heard:?}");
}

/// The browser of us, and we of the browser.
fn measured(pair: &Pair, call: &str) -> Result<[Heard; 2], Failure> {
    let look = || Ok::<_, Failure>([counted(&pair.caller, call)?, counted(&pair.callee, call)?]);
    passes(&pair.callee, call, SETTLE_MS)?;
    let before = look()?;
    let (mut now, mut delay, mut target) = (before, 0.0, 0.0);
    for _ in 0..LOOKS {
        passes(&pair.callee, call, LOOK_MS)?;
        now = look()?;
        delay += now[1].delay;
        target += now[1].target;
    }
    let [browser, ours] = [0, 1].map(|side| since(now[side], before[side]));
    // Ours tells how it is at a moment: the mean of all looks.
    Ok([browser, Heard { delay, target, emitted: LOOKS as f64, ..ours }])
}

/// Time passes while somebody listens.
fn passes(client: &Client, call: &str, ms: u64) -> Result<(), Failure> {
    client.ask("audioLevel", &json!({"callId": call, "ms": ms})).map(drop)
}

fn since(now: Heard, before: Heard) -> Heard {
    Heard {
        packets: now.packets - before.packets,
        lost: now.lost - before.lost,
        played: now.played - before.played,
        concealed: now.concealed - before.concealed,
        emitted: now.emitted - before.emitted,
        delay: now.delay - before.delay,
        target: now.target - before.target,
    }
}

/// What a client has counted so far of the sound that comes.
fn counted(client: &Client, call: &str) -> Result<Heard, Failure> {
    let stats = client.stats(call)?;
    let mut streams = stats["inbound"].as_array().into_iter().flatten();
    let stream = streams.find(|stream| stream["kind"] == "audio").cloned();
    let stream = stream.ok_or_else(|| Failure(format!("no sound in {stats}")))?;
    let number = |of: &Value, name: &str| of[name].as_f64().unwrap_or_default();
    let (packets, lost) = (number(&stream, "packets"), number(&stream, "lost"));
    let playout = &stream["playout"];
    Ok(if playout.is_object() {
        Heard {
            packets,
            lost,
            played: number(playout, "samples"),
            concealed: number(playout, "concealedSamples"),
            emitted: 1.0,
            delay: number(playout, "delayMs"),
            target: number(playout, "targetMs"),
        }
    } else {
        Heard {
            packets,
            lost,
            played: number(&stream, "totalSamplesReceived"),
            concealed: number(&stream, "concealedSamples"),
            emitted: number(&stream, "jitterBufferEmittedCount"),
            delay: number(&stream, "jitterBufferDelay") * 1000.0,
            target: number(&stream, "jitterBufferTargetDelay") * 1000.0,
        }
    })
}
