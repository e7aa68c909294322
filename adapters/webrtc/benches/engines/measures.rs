//! What is measured of one engine, in a process of its own on one thread. Each figure is a line of
//! its name and its value.

use std::{str::FromStr, time::Duration};

use matrix_voip::machine::io::MediaSource::{self, Camera, Microphone};
use tokio::time::Instant;

use crate::{
    calls::{Make, Stage},
    studio::Pace,
};

/// Calls that are connected one after the other, and those before them that do not count.
const CONNECTED: usize = 10;
const WARM_UP: usize = 2;

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(3);

/// Calls that are held at once, and for how long.
const HELD: u64 = 10;
const LIVE: Duration = Duration::from_secs(8);

/// Calls after which memory is looked at, twice.
const FEW: u64 = 20;
const MANY: u64 = 60;

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    Connect,
    FloodSound,
    FloodPicture,
    Sound,
    Picture,
    Nothing,
    Memory,
}

impl Measure {
    pub const ALL: [(&'static str, Self); 7] = [
        ("connect", Self::Connect),
        ("flood-sound", Self::FloodSound),
        ("flood-picture", Self::FloodPicture),
        ("sound", Self::Sound),
        ("picture", Self::Picture),
        ("nothing", Self::Nothing),
        ("memory", Self::Memory),
    ];

    /// How it is called on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, measure)| *measure == self).map_or("", |(name, _)| name)
    }

    /// Measures, and prints the figures.
    pub async fn take(self, make: Make) {
        match self {
            Self::Connect => connect(make).await,
            Self::FloodSound => flood(make, Microphone, "flood-sound").await,
            Self::FloodPicture => flood(make, Camera, "flood-picture").await,
            Self::Sound => live(Stage::new(make, Pace::Live), Microphone, "sound").await,
            Self::Picture => live(Stage::new(make, Pace::Live), Camera, "picture").await,
            Self::Nothing => live(Stage::new(make, Pace::Brief(25)), Microphone, "nothing").await,
            Self::Memory => memory(make).await,
        }
    }
}

impl FromStr for Measure {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.iter().find(|(is, _)| *is == name).map(|(_, measure)| *measure).ok_or(())
    }
}

async fn connect(make: Make) {
    let mut stage = Stage::new(make, Pace::Live);
    for call in 0..WARM_UP + CONNECTED {
        let before = spent();
        let times = stage.call(&[Microphone]).await;
        let cost = spent() - before;
        stage.close(&[Microphone]).await;
        if call >= WARM_UP {
            tell("connect-cost", millis(cost));
            tell("opening", millis(times.opening));
            tell("describing", millis(times.describing));
            tell("connecting", millis(times.connecting));
            tell("offer-to-connected", millis(times.describing + times.connecting));
        }
    }
}

/// Frames go one way and the other as fast as the engine takes them.
async fn flood(make: Make, source: MediaSource, name: &str) {
    let mut stage = Stage::new(make, Pace::Flood);
    stage.call(&[source]).await;
    stage.heard(500).await;
    let (packets, frames) = stage.arrived();
    let lost = stage.lost();
    let spent = measured(FLOOD).await.as_secs_f64();
    let packets = (stage.arrived().0 - packets) as f64;
    tell(name, packets / spent);
    tell(&format!("{name}-cost"), 1e6 * spent / packets);
    say_lost(name, stage.lost() - lost, stage.arrived().1 - frames);
}

/// Calls go on as calls do.
async fn live(mut stage: Stage, source: MediaSource, name: &str) {
    for _ in 0..HELD {
        stage.call(&[source]).await;
    }
    stage.heard(HELD).await;
    pass(Duration::from_secs(1)).await;
    let before = stage.arrived().1;
    let (begin, spent) = (Instant::now(), measured(LIVE).await);
    let ends = 2 * HELD;
    tell(name, 100.0 * spent.as_secs_f64() / begin.elapsed().as_secs_f64() / ends as f64);
    let rate = match name {
        "sound" => 50,
        "picture" => 30,
        _ => 0,
    };
    let due = LIVE.as_secs() * rate * ends;
    say_lost(name, due.saturating_sub(stage.arrived().1 - before), due);
}

/// Calls that speak for a moment, and stay.
async fn memory(make: Make) {
    let mut stage = Stage::new(make, Pace::Brief(60));
    let mut sizes = [0.0; 2];
    for call in 1..=MANY {
        stage.call(&[Microphone, Camera]).await;
        if call == FEW || call == MANY {
            pass(Duration::from_secs(3)).await;
            sizes[usize::from(call == MANY)] = resident();
        }
    }
    tell("memory", (sizes[1] - sizes[0]) / (MANY - FEW) as f64);
    tell("memory-all", sizes[1] / 1024.0);
}

fn tell(name: &str, value: f64) {
    println!("{name} {value}");
}

/// What was lost makes a figure smaller than it is.
fn say_lost(name: &str, lost: u64, of: u64) {
    if lost * 100 > of {
        eprintln!("{name}: {lost} frames of {of} did not arrive in time");
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

async fn pass(time: Duration) {
    tokio::time::interval_at(Instant::now() + time, time).tick().await;
}

/// The time that this process computes, and the system for it, while this time passes.
async fn measured(time: Duration) -> Duration {
    let before = spent();
    pass(time).await;
    spent() - before
}

/// The time that this process has computed, and the system for it.
#[cfg(target_os = "linux")]
fn spent() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

#[cfg(not(target_os = "linux"))]
fn spent() -> Duration {
    unimplemented!("Linux says how long a process computed")
}

/// The resident size of this process in KiB; 0 where the system does not tell.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0)
}
