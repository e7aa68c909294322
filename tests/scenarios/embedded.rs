//! Real `VoIP` instances in one process, over the embedded homeserver and the embedded engines:
//! what an application's own test of its driver looks like.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use matrix_voip::{
    Announce, CallOptions, CallSession, CallState, ChangeGroupError, DeclineError, EndReason,
    EnterError, GroupCallSession, GroupEnd, GroupEvent, GroupNews, GroupOptions, GroupState,
    GroupUntilError, Identity, IncomingRing, MediaKind, MediaSource, Notify, RAISED_HAND,
    ReactError, RingStop, Stay, VoIP, VoipEvents, VoipNews,
    host::SendState,
    id::{DeviceId, RoomId, UserId},
    testing::{
        Cue, EmbeddedEngine, EmbeddedHomeserver, EmbeddedWebRtc, OpKind, Passage, Way, secs,
    },
    time::Wall,
    wire::{member::MEMBER_TYPE, power::POWER_LEVELS_TYPE},
};

use crate::common::{ADA, BEN};

pub(crate) const ROOM: &str = "!room:example";

/// One user with one device.
pub(crate) struct Phone {
    pub(crate) voip: VoIP,
    pub(crate) engine: EmbeddedEngine,
}

/// Two phones that share a homeserver and a network.
pub(crate) struct House {
    home: EmbeddedHomeserver,
    webrtc: EmbeddedWebRtc,
    pub(crate) ada: Phone,
    pub(crate) ben: Phone,
}

pub(crate) fn house() -> House {
    let (home, webrtc) = (EmbeddedHomeserver::new(), EmbeddedWebRtc::new());
    let room = RoomId::parse(ROOM).unwrap();
    home.set_room(&room, [ADA, BEN].map(|user| UserId::parse(user).unwrap()));
    let (ada, ben) = (phone(&home, &webrtc, ADA), phone(&home, &webrtc, BEN));
    House { home, webrtc, ada, ben }
}

fn phone(home: &EmbeddedHomeserver, webrtc: &EmbeddedWebRtc, user: &str) -> Phone {
    let user = UserId::parse(user).unwrap();
    let identity = Identity { user, device: DeviceId::parse("PHONE").unwrap() };
    let (account, engine) = (home.login(identity.clone()), webrtc.engine());
    let builder = VoIP::builder(identity).signaling(Arc::new(account.clone()));
    let voip = builder.webrtc(Arc::new(engine.clone())).start().unwrap();
    account.connect(voip.news());
    Phone { voip, engine }
}

impl Phone {
    /// Waits for the next call that rings.
    pub(crate) async fn ring(&self) -> CallSession {
        let mut events = self.voip.events();
        loop {
            match events.next().await.expect("it rings before everything ends") {
                VoipNews::RingStarted { call, .. } => return call,
                _ => continue,
            }
        }
    }

    pub(crate) async fn invite(&self, callee: &str) -> CallSession {
        self.voip.invite(ROOM, callee, CallOptions::voice()).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn two_real_instances_talk_through_the_embedded_homeserver() {
    let House { home, webrtc, ada, ben } = house();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sent);
    home.tap(move |passage: &Passage| {
        if passage.way == Way::Sent {
            seen.lock().unwrap().push(passage.event_type.clone());
        }
    });
    let (theirs, ours) = tokio::join!(ben.ring(), ada.invite(BEN));
    theirs.answer().await.unwrap();
    ours.until(CallState::Connected).await.unwrap();
    theirs.until(CallState::Connected).await.unwrap();
    assert_eq!(webrtc.look(|webrtc| webrtc.peers(ada.engine.seat()).count()), 1);
    ours.hangup().await.unwrap();
    assert_eq!(theirs.ended().await.reason, EndReason::Hangup);
    ada.voip.shutdown().await;
    ben.voip.shutdown().await;
    for phone in [&ada, &ben] {
        assert_eq!(webrtc.look(|webrtc| webrtc.peers(phone.engine.seat()).count()), 0);
        assert_eq!(webrtc.look(|webrtc| webrtc.tracks(phone.engine.seat()).count()), 0);
    }
    assert!(webrtc.look(|webrtc| webrtc.misuse().is_empty()));
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0], "m.call.invite");
    assert_eq!(sent.last().map(String::as_str), Some("m.call.hangup"));
}

#[tokio::test(start_paused = true)]
async fn a_call_explains_itself_while_it_lives_and_after() {
    let House { ada, ben, .. } = house();
    let (theirs, ours) = tokio::join!(ben.ring(), ada.invite(BEN));
    tokio::time::advance(secs(3)).await;
    let said = theirs.explain().await.to_string();
    assert!(said.starts_with("It has rung for 3.0 s: our user has not answered. In 8"), "{said}");
    theirs.answer().await.unwrap();
    ours.until(CallState::Connected).await.unwrap();
    assert!(ours.explain().await.to_string().starts_with("Media flows"));
    ours.hangup().await.unwrap();
    theirs.ended().await;
    ada.voip.shutdown().await;
    ben.voip.shutdown().await;
    assert_eq!(ours.explain().await.to_string(), "The call is over: hung up, by us.");
    assert_eq!(theirs.explain().await.to_string(), "The call is over: hung up, by them.");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_panics_ends_one_call_with_a_reason() {
    let House { ada, ben, .. } = house();
    ada.engine.next(OpKind::Offer, Cue::panics());
    let call = ada.invite(BEN).await;
    assert_eq!(call.ended().await.reason, EndReason::LocalDescriptionFailed);
    let (theirs, ours) = tokio::join!(ben.ring(), ada.invite(BEN));
    theirs.answer().await.unwrap();
    ours.until(CallState::Connected).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_ends_one_call_with_a_reason() {
    let House { ada, .. } = house();
    ada.engine.next(OpKind::Open, Cue::hangs());
    let call = ada.invite(BEN).await;
    let ended = tokio::time::timeout(Duration::from_secs(60), call.ended()).await;
    assert_eq!(ended.expect("in time").reason, EndReason::EngineFailed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_homeserver_delays_a_call_and_nothing_else() {
    let home = EmbeddedHomeserver::new().with_latency(secs(2));
    let webrtc = EmbeddedWebRtc::new();
    let room = RoomId::parse(ROOM).unwrap();
    home.set_room(&room, [ADA, BEN].map(|user| UserId::parse(user).unwrap()));
    let (ada, ben) = (phone(&home, &webrtc, ADA), phone(&home, &webrtc, BEN));
    let (theirs, ours) = tokio::join!(ben.ring(), ada.invite(BEN));
    theirs.answer().await.unwrap();
    ours.until(CallState::Connected).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_applications_meet_in_the_call_of_a_room() {
    let house = house();
    let mut news = house.ben.voip.events();
    let ours = house.ada.voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    ours.enter().await.unwrap();
    assert_eq!(ours.state(), GroupState::Entered);

    let Some(VoipNews::GroupCallAdded { call: theirs, mut snapshot, mut events }) =
        news.next().await
    else {
        panic!("a group call is seen first")
    };
    while snapshot.participants.is_empty() {
        events.next().await.expect("it goes on").apply(&mut snapshot);
    }
    assert_eq!(snapshot.participants[0].id.user.as_str(), ADA);
    assert_eq!(*snapshot, theirs.snapshot());
    let same = house.ben.voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    assert_eq!(same, theirs, "there is one call of the room");

    theirs.enter().await.unwrap();
    ours.leave().await.unwrap();
    theirs.leave().await.unwrap();
    assert_eq!(ours.ended().await, GroupEnd::Empty);
    assert_eq!(theirs.ended().await, GroupEnd::Empty);
    assert!(house.ben.voip.group_calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_shuts_down_is_out_of_the_call_before_he_is_gone() {
    let house = house();
    let ours = house.ada.voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    ours.enter().await.unwrap();
    house.ada.voip.shutdown().await;
    assert_eq!(ours.ended().await, GroupEnd::ShutDown);
    let room = RoomId::parse(ROOM).unwrap();
    let stands = house.home.change(|server| server.state_of(&room, MEMBER_TYPE, ADA)).unwrap();
    assert_eq!(stands, r#"{"memberships":[]}"#);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_while_he_waits_to_enter_is_told_so() {
    let house = house();
    let _slow = house.home.clone().with_latency(secs(2));
    let ours = house.ada.voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    let (_, mut events) = ours.subscribe();
    let entering = ours.clone();
    let entering = tokio::spawn(async move { entering.enter().await });
    events.next().await.expect("it is entering");
    assert_eq!(ours.state(), GroupState::Entering);
    ours.leave().await.unwrap();
    assert_eq!(entering.await.unwrap(), Err(EnterError::Left));
}

#[tokio::test(start_paused = true)]
async fn a_host_for_calls_of_two_says_so_when_it_is_asked_for_more() {
    let house = house();
    let room = "!elsewhere:example";
    let ours = house.ada.voip.fetch_or_create_group_call(room, GroupOptions::mesh()).await.unwrap();
    assert_eq!(ours.enter().await, Err(EnterError::MayNotJoin), "there is no such room");
    assert_eq!(ours.ended().await, GroupEnd::Empty);
}

/// The next ring of a group call, and the call.
async fn next_ring(news: &mut VoipEvents) -> (GroupCallSession, IncomingRing) {
    loop {
        if let VoipNews::GroupRingStarted { call, ring } = news.next().await.expect("it rings") {
            return (call, *ring);
        }
    }
}

async fn next_stop(news: &mut VoipEvents) -> RingStop {
    loop {
        if let VoipNews::GroupRingStopped { why, .. } = news.next().await.expect("it stops") {
            return why;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_is_called_into_a_group_call_and_answers_or_declines() {
    let house = house();
    let mut news = house.ben.voip.events();
    let ours = house.ada.voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    ours.announce_as(Announce::new(Notify::Ring)).await.unwrap();
    ours.enter().await.unwrap();
    let (theirs, ring) = next_ring(&mut news).await;
    assert_eq!((ring.caller.as_str(), ring.session), (ADA, theirs.id()));
    assert_eq!(house.ben.voip.rings(), std::slice::from_ref(&ring));
    theirs.enter().await.unwrap();
    assert_eq!(next_stop(&mut news).await, RingStop::Answered);
    assert!(house.ben.voip.rings().is_empty());
    assert_eq!(house.ben.voip.decline_ring(&ring).await, Err(DeclineError::NoSuchRing));
    theirs.leave().await.unwrap();
    ours.leave().await.unwrap();
    ours.ended().await;
    // Whoever was in a call is called again later than that.
    tokio::time::advance(secs(1)).await;

    let ours = house.ada.voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    let (_, mut events) = ours.subscribe();
    ours.announce_as(Announce::new(Notify::Ring)).await.unwrap();
    ours.enter().await.unwrap();
    let (_, ring) = next_ring(&mut news).await;
    house.ben.voip.decline_ring(&ring).await.unwrap();
    assert_eq!(next_stop(&mut news).await, RingStop::Rejected);
    let declined = GroupNews::Event(GroupEvent::Declined(UserId::parse(BEN).unwrap()));
    while events.next().await.expect("it goes on") != declined {}
}

#[tokio::test(start_paused = true)]
async fn an_application_raises_its_hand_and_the_other_sees_it() {
    let house = house();
    let ours = house.ada.voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    assert_eq!(ours.raise_hand().await, Err(ReactError::NotEntered));
    ours.enter().await.unwrap();
    let theirs =
        house.ben.voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    let (mut present, mut events) = theirs.subscribe();
    ours.raise_hand().await.unwrap();
    assert_eq!(ours.reactions().len(), 1, "it is shown to us at once");
    while present.reactions.is_empty() {
        events.next().await.expect("it goes on").apply(&mut present);
    }
    let shown: Vec<_> = present.reactions.values().flatten().collect();
    assert_eq!(shown, [RAISED_HAND]);
    ours.lower_hand().await.unwrap();
    while !present.reactions.is_empty() {
        events.next().await.expect("it goes on").apply(&mut present);
    }
    for _ in 0..11 {
        ours.react("👏", Stay::Ephemeral).await.unwrap();
    }
    assert_eq!(ours.react("👏", Stay::Ephemeral).await, Err(ReactError::TooMany));
}

#[tokio::test(start_paused = true)]
async fn an_application_starts_a_source_of_a_group_call_and_hears_what_stands_against_it() {
    let house = house();
    let ours = house.ada.voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    let camera = MediaSource::Camera;
    assert_eq!(ours.start(camera).await, Err(ChangeGroupError::NotEntered));
    ours.enter().await.unwrap();
    assert_eq!(ours.until(GroupState::Entered).await, Ok(()));
    ours.start(camera).await.unwrap();
    let me = ours.participants()[0].id.clone();
    assert_eq!(ours.streams(&me)[0].kinds, [MediaKind::Audio, MediaKind::Video]);
    ours.start(camera).await.expect("it is open");
    ours.stop(camera).await.unwrap();
    assert_eq!(ours.streams(&me)[0].kinds, [MediaKind::Audio]);
    assert_eq!(ours.switch(camera, None).await, Err(ChangeGroupError::NoSuchTrack));

    house.ada.engine.next(OpKind::Capture, Cue::denied());
    let screen = MediaSource::Screen;
    assert_eq!(ours.start(screen).await, Err(ChangeGroupError::MediaMissing));
    // Whoever leaves while a person is asked is told so.
    house.ada.engine.next(OpKind::Capture, Cue::hangs());
    let asking = ours.clone();
    let asking = tokio::spawn(async move { asking.start(screen).await });
    tokio::task::yield_now().await;
    ours.leave().await.unwrap();
    assert_eq!(asking.await.unwrap(), Err(ChangeGroupError::NotEntered));
    assert_eq!(ours.ended().await, GroupEnd::Empty);
    assert_eq!(ours.mute(camera).await, Err(ChangeGroupError::Ended));
    let over = Err(GroupUntilError::Ended(GroupEnd::Empty));
    assert_eq!(ours.until(GroupState::Entered).await, over);
}

#[tokio::test(start_paused = true)]
async fn who_opens_a_call_of_a_room_that_nothing_was_heard_of_knows_who_is_in_it() {
    let house = house();
    let ours = house.ada.voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    ours.enter().await.unwrap();
    let home = house.home.clone().with_latency(secs(1));
    // Her phone has heard of no room yet.
    let user = UserId::parse("@cleo:example").unwrap();
    home.set_room(
        &RoomId::parse(ROOM).unwrap(),
        [ADA, BEN, "@cleo:example"].map(|user| UserId::parse(user).unwrap()),
    );
    let identity = Identity { user, device: DeviceId::parse("PHONE").unwrap() };
    let account = home.login(identity.clone());
    let builder = VoIP::builder(identity).signaling(Arc::new(account));
    let cleo = builder.webrtc(Arc::new(house.webrtc.engine())).start().unwrap();
    let theirs = cleo.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    assert_eq!(theirs.participants().len(), 1, "{:?}", theirs.snapshot());
    assert!(!theirs.snapshot().reading);
}

#[tokio::test(start_paused = true)]
async fn an_application_lets_everybody_join_and_waits_until_the_room_says_so() {
    let house = house();
    let ours = house.ada.voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap();
    assert_eq!(ours.allow_everyone().await, Err(ChangeGroupError::UnknownPowerLevels));
    let levels = SendState {
        room: RoomId::parse(ROOM).unwrap(),
        event_type: POWER_LEVELS_TYPE.to_owned(),
        state_key: String::new(),
        content: r#"{"users":{"@ada:example":100}}"#.to_owned(),
    };
    let ada = UserId::parse(ADA).unwrap();
    house.home.change(|server| server.put_state(Wall(1), &ada, levels));
    let (mut present, mut events) = ours.subscribe();
    while present.rights.can_everyone_join {
        events.next().await.expect("it goes on").apply(&mut present);
    }
    ours.allow_everyone().await.unwrap();
    assert!(ours.can_everyone_join());
    ours.allow_everyone().await.expect("it is so");
}
