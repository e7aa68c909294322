//! One user, three devices: the laptop calls the phone of the same user, and the tablet stays
//! silent. For a baby monitor, a door camera, a call that moves from one device to another.
//!
//! A device is called by naming it (`Callee::Device`, seed 001's `invitee_device_id`); which side
//! an event comes from is told by the party that wrote it, since the user is the same.
//!
//! Run it: `cargo run -p matrix-voip-examples --example device_to_device`

use std::{error::Error, sync::Arc, time::Duration};

use matrix_voip::{
    CallOptions, CallState, Callee, Identity, VoIP, VoipNews,
    id::{DeviceId, RoomId, UserId},
    machine::{event::Side, io::MediaKind},
    testing::EmbeddedHomeserver,
};
use matrix_voip_media::{EarSink, EarView, Pcm, Studio, Tone};
use matrix_voip_str0m::{Interfaces, Str0m};

/// One device of Ada's, which plays a tone instead of what its microphone hears.
struct Device {
    voip: VoIP,
    ear: EarView,
}

impl Device {
    fn start(home: &EmbeddedHomeserver, name: &str, hz: f32) -> Result<Self, Box<dyn Error>> {
        let (sink, ear) = EarSink::new();
        let sink = std::sync::Mutex::new(Some(sink));
        let studio = Studio::builder()
            .microphone(move || Tone::new(hz, 0.2).source())
            .sink(MediaKind::Audio, move |_| Some(Box::new(sink.lock().ok()?.take()?)))
            .build();
        let engine = Str0m::builder(studio).interfaces(Interfaces::Loopback).build();
        let (user, device) = (UserId::parse("@ada:example.org")?, DeviceId::parse(name)?);
        let account = home.login(Identity { user, device });
        let voip = VoIP::builder(account.identity().clone())
            .signaling(Arc::new(account.clone()))
            .webrtc(Arc::new(engine))
            .start()?;
        account.connect(voip.news());
        Ok(Self { voip, ear })
    }
}

/// Whatever a device other than the called one is told, printed.
async fn must_stay_silent(voip: VoIP) {
    let mut events = voip.events();
    while let Some(news) = events.next().await {
        println!("the tablet is told: {news:?}");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (home, room) = (EmbeddedHomeserver::new(), RoomId::parse("!room:example.org")?);
    let ada = UserId::parse("@ada:example.org")?;
    home.set_room(&room, [ada.clone()]);
    let laptop = Device::start(&home, "LAPTOP", 440.0)?;
    let phone = Device::start(&home, "PHONE", 660.0)?;
    let tablet = Device::start(&home, "TABLET", 550.0)?;
    let silent = tokio::spawn(must_stay_silent(tablet.voip.clone()));

    let mut arrivals = phone.voip.events();
    let callee = Callee::Device(ada, DeviceId::parse("PHONE")?);
    let call = laptop.voip.invite(&room, callee, CallOptions::voice()).await?;
    while let Some(news) = arrivals.next().await {
        if let VoipNews::RingStarted { call, .. } = news {
            println!("the phone rings");
            call.answer().await?;
            break;
        }
    }
    call.until(CallState::Connected).await?;
    tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(1)).await;
    for (name, device) in [("laptop", &laptop), ("phone", &phone)] {
        if let Some(tone) = device.ear.now().tone {
            println!("the {name} hears {:.0} Hz", tone.hz);
        }
    }
    let theirs = call.streams().iter().filter(|stream| stream.side == Side::Remote).count();
    println!("the laptop has {theirs} remote stream");

    call.hangup().await?;
    println!("ended: {}", call.ended().await);
    tokio::join!(laptop.voip.shutdown(), phone.voip.shutdown(), tablet.voip.shutdown());
    silent.await?;
    Ok(())
}
