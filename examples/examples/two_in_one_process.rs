//! Two users in one process: each hears the tone that the other one plays.
//!
//! The homeserver is in memory; the media is real: two WebRTC connections over UDP on loopback,
//! encrypted, with Opus sound. Instead of the tone, give `Studio` your own microphone.
//!
//! Run it: `cargo run -p matrix-voip-examples --example two_in_one_process`

use std::{error::Error, sync::Arc, time::Duration};

use matrix_voip::{
    CallOptions, CallState, Identity, VoIP, VoipNews,
    id::{DeviceId, RoomId, UserId},
    testing::EmbeddedHomeserver,
};
use matrix_voip_media::{EarSink, EarView, Pcm, Studio, Tone};
use matrix_voip_str0m::{Interfaces, Str0m};

/// One of the two.
struct Person {
    name: &'static str,
    voip: VoIP,
    ear: EarView,
}

impl Person {
    /// Starts a `VoIP` for a user who plays a tone instead of speaking.
    fn start(
        home: &EmbeddedHomeserver,
        name: &'static str,
        hz: f32,
    ) -> Result<Self, Box<dyn Error>> {
        let (sink, ear) = EarSink::new();
        let sink = std::sync::Mutex::new(Some(sink));
        // The microphone is opened for each call; the one remote track goes to the ear.
        let studio = Studio::builder()
            .microphone(move || Tone::new(hz, 0.2).source())
            .sink(matrix_voip::machine::io::MediaKind::Audio, move |_| {
                let sink = sink.lock().ok()?.take()?;
                Some(Box::new(sink))
            })
            .build();
        let engine = Str0m::builder(studio).interfaces(Interfaces::Loopback).build();

        let user = UserId::parse(format!("@{name}:example.org"))?;
        let account = home.login(Identity { user, device: DeviceId::parse("PHONE")? });
        let voip = VoIP::builder(account.identity().clone())
            .signaling(Arc::new(account.clone()))
            .webrtc(Arc::new(engine))
            .start()?;
        account.connect(voip.news());
        Ok(Self { name, voip, ear })
    }

    /// Says what was heard in the last tenth of a second.
    fn tell(&self) {
        match self.ear.now().tone {
            Some(tone) => println!("{} hears {:.0} Hz", self.name, tone.hz),
            None => println!("{} hears nothing", self.name),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (home, room) = (EmbeddedHomeserver::new(), RoomId::parse("!room:example.org")?);
    home.set_room(&room, [UserId::parse("@ada:example.org")?, UserId::parse("@ben:example.org")?]);
    let ada = Person::start(&home, "ada", 440.0)?;
    let ben = Person::start(&home, "ben", 660.0)?;

    let mut arrivals = ben.voip.events();
    let call = ada.voip.invite(&room, "@ben:example.org", CallOptions::voice()).await?;
    while let Some(news) = arrivals.next().await {
        if let VoipNews::RingStarted { call, .. } = news {
            println!("ben's phone rings");
            call.answer().await?;
            break;
        }
    }
    call.until(CallState::Connected).await?;

    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.tick().await;
    for _ in 0..2 {
        seconds.tick().await;
        ada.tell();
        ben.tell();
    }
    call.hangup().await?;
    println!("ended: {:?}", call.ended().await);
    tokio::join!(ada.voip.shutdown(), ben.voip.shutdown());
    Ok(())
}
