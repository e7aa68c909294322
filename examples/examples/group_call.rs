//! A group call of three in one process: who comes and goes, who is connected to whom, who is heard.
//!
//! The homeserver is in memory; the media is real: each pair has a WebRTC connection of its own over
//! UDP on loopback. Each plays a tone instead of speaking. A sound says whose it is
//! (`RemoteTrack::member`): that is how several remote streams are told apart.
//!
//! Run it: `cargo run -p matrix-voip-examples --example group_call`

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use matrix_voip::{
    Connection, GroupCallSession, GroupEvent, GroupEvents, GroupNews, GroupOptions, Identity, VoIP,
    host::RemoteTrack,
    id::{DeviceId, RoomId, UserId},
    testing::EmbeddedHomeserver,
};
use matrix_voip_media::{EarSink, EarView, Pcm, Studio, Tone};
use matrix_voip_str0m::{Interfaces, Str0m};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

const ROOM: &str = "!room:example.org";
const PEOPLE: [(&str, f32); 3] = [("ada", 440.0), ("ben", 660.0), ("cleo", 550.0)];

/// One of the three.
struct Person {
    name: &'static str,
    call: GroupCallSession,
    voip: VoIP,
    /// One ear for each of the others, by his user id.
    ears: Arc<Mutex<BTreeMap<UserId, EarView>>>,
    printing: JoinHandle<()>,
}

impl Person {
    /// Starts a `VoIP` for a user, with the call of the room at hand.
    async fn start(
        home: &EmbeddedHomeserver,
        name: &'static str,
        hz: f32,
    ) -> Result<Self, Box<dyn Error>> {
        let ears = Arc::<Mutex<BTreeMap<UserId, EarView>>>::default();
        let hearing = Arc::clone(&ears);
        let speaker = move |track: &RemoteTrack| {
            let (sink, ear) = EarSink::new();
            if let Some(member) = &track.member {
                let mut ears = hearing.lock().unwrap_or_else(PoisonError::into_inner);
                ears.insert(member.user.clone(), ear);
            }
            sink
        };
        // One microphone serves all connections; each remote track has a speaker of its own.
        let microphone = move || Tone::new(hz, 0.2).source();
        let studio = Studio::builder().microphone(microphone).speaker(speaker).build();
        let engine = Str0m::builder(studio).interfaces(Interfaces::Loopback).build();

        let user = UserId::parse(format!("@{name}:example.org"))?;
        let account = home.login(Identity { user, device: DeviceId::parse("PHONE")? });
        let voip = VoIP::builder(account.identity().clone())
            .signaling(Arc::new(account.clone()))
            .webrtc(Arc::new(engine))
            .start()?;
        account.connect(voip.news());
        let call = voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await?;
        let (_, events) = call.subscribe();
        let printing = tokio::spawn(print(name, events));
        Ok(Self { name, call, voip, ears, printing })
    }

    /// Waits until he is connected to so many others.
    async fn meets(&self, others: usize) {
        let (mut present, mut events) = self.call.subscribe();
        let connected = |it: &&Connection| **it == Connection::Connected;
        while present.connections.values().filter(connected).count() < others {
            let Some(news) = events.next().await else { return };
            news.apply(&mut present);
        }
    }

    /// Says what is heard of each of the others.
    fn tell(&self) {
        for (user, ear) in &*self.ears.lock().unwrap_or_else(PoisonError::into_inner) {
            match ear.now().tone {
                Some(tone) => println!("{} hears {:.0} Hz of {user}", self.name, tone.hz),
                None => println!("{} hears nothing of {user}", self.name),
            }
        }
    }
}

/// Prints what happens in the call, to its end.
async fn print(name: &'static str, mut events: GroupEvents) {
    while let Some(news) = events.next().await {
        // Whoever reads too slowly is told how many events he has lost, and how the call stands.
        let GroupNews::Event(event) = news else { continue };
        match event {
            GroupEvent::StateChanged(state) => println!("{name}: {state}"),
            GroupEvent::ParticipantJoined(who) => println!("{name}: {} came", who.id.user),
            GroupEvent::ParticipantLeft(who) => println!("{name}: {} left", who.user),
            GroupEvent::ConnectionChanged { participant, connection: Connection::Connected } => {
                println!("{name}: connected to {}", participant.user);
            }
            GroupEvent::Ended(end) => println!("{name}: over, {end}"),
            _ => {}
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (home, room) = (EmbeddedHomeserver::new(), RoomId::parse(ROOM)?);
    let users = PEOPLE.map(|(name, _)| format!("@{name}:example.org"));
    let users: Result<Vec<_>, _> = users.iter().map(UserId::parse).collect();
    home.set_room(&room, users?);
    let mut people = Vec::new();
    for (name, hz) in PEOPLE {
        people.push(Person::start(&home, name, hz).await?);
    }

    for person in &people {
        person.call.enter().await?;
    }
    for person in &people {
        person.meets(PEOPLE.len() - 1).await;
    }
    sleep_until(Instant::now() + Duration::from_secs(1)).await;
    people.iter().for_each(Person::tell);
    for person in &people {
        person.call.leave().await?;
    }
    for person in people {
        person.printing.await?;
        person.voip.shutdown().await;
    }
    Ok(())
}
