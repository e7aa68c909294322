//! `explain()` of a call that talks: whether one side hears the other, and why not.

use std::time::Duration;

use matrix_voip::{
    CallSession, CallState, GroupCallSession, GroupOptions, MediaSource, Side,
    id::{PeerId, TrackId},
    machine::{
        group::event::Connection,
        hearing::{Hearing, Microphone},
        io::{CallCommand, Input, ParticipantId, PeerNews},
        playout::{Playout, PlayoutOutput},
    },
    testing::{Habits, secs},
};
use tokio::time::{Instant, sleep_until};

use crate::{
    common::{BEN, Half},
    embedded::{House, ROOM, house},
};

/// Virtual time passes, and everybody does meanwhile what is due.
async fn pass(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

/// Of 500 ms so much is played, and so much of that made up.
fn playing(played: u64, concealed: u64) -> Playout {
    let mut playout = Playout::default();
    (playout.played, playout.concealed) = (played, concealed);
    playout.decoded = played - concealed;
    playout
}

fn to(output: PlayoutOutput) -> Playout {
    let mut playout = playing(24_000, 0);
    playout.output = output;
    playout
}

/// A call that talks: ours, of Ada, and theirs.
async fn talking(house: &House) -> (CallSession, CallSession) {
    let (theirs, ours) = tokio::join!(house.ben.ring(), house.ada.invite(BEN));
    theirs.answer().await.unwrap();
    for call in [&ours, &theirs] {
        call.until(CallState::Connected).await.unwrap();
    }
    pass(secs(1)).await;
    (ours, theirs)
}

/// What Ada learns while her engine measures this.
async fn learns(house: &House, call: &CallSession, silence: Duration, playout: Playout) -> Hearing {
    let playout = Some(playout);
    house.ada.engine.set_habits(Habits { silence, playout, ..Habits::default() });
    let explanation = call.explain().await;
    let hearing = explanation.hearing.expect("it is measured");
    let text = explanation.to_string();
    let said = format!("nothing is waited for. The other side is {hearing}.");
    assert_eq!(text.ends_with(&said), hearing != Hearing::Heard, "{text}");
    assert_eq!(explanation.microphone, Microphone::Open);
    hearing
}

#[tokio::test(start_paused = true)]
async fn a_call_in_which_somebody_is_not_heard_says_why() {
    let house = house();
    let (ours, _theirs) = talking(&house).await;
    let now = Duration::from_millis(20);
    let learns = |silence, playout| learns(&house, &ours, silence, playout);
    assert_eq!(learns(now, playing(24_000, 300)).await, Hearing::Heard);
    assert_eq!(learns(now, playing(24_000, 24_000)).await, Hearing::AllConcealed);
    assert_eq!(learns(now, playing(0, 0)).await, Hearing::Unplayed);
    assert_eq!(learns(now, to(PlayoutOutput::NoDevice)).await, Hearing::NoLoudspeaker);
    assert_eq!(learns(now, to(PlayoutOutput::Muted)).await, Hearing::MutedHere);
    let long = Duration::from_millis(4_200);
    assert_eq!(learns(long, playing(24_000, 0)).await, Hearing::NoPackets(Some(long)));
}

#[tokio::test(start_paused = true)]
async fn who_is_muted_is_not_heard_and_is_told_so_himself() {
    let house = house();
    let (ours, theirs) = talking(&house).await;
    theirs.mute(MediaSource::Microphone).await.unwrap();
    pass(secs(1)).await;
    let began = Instant::now();
    let explanation = ours.explain().await;
    assert_eq!(explanation.hearing, Some(Hearing::MutedThere));
    assert_eq!(began.elapsed(), Duration::ZERO, "what their streams say needs no measurement");
    let text = explanation.to_string();
    assert!(text.ends_with(" The other side is not heard: muted there."), "{text}");
    let text = theirs.explain().await.to_string();
    assert!(text.ends_with(" They do not hear us: our microphone is muted."), "{text}");
    theirs.unmute(MediaSource::Microphone).await.unwrap();
    pass(secs(1)).await;
    assert_eq!(ours.explain().await.hearing, Some(Hearing::Arriving), "the sink tells nothing");
}

#[tokio::test(start_paused = true)]
async fn whose_microphone_is_unplugged_learns_that_nobody_hears_him() {
    let house = house();
    let (ours, theirs) = talking(&house).await;
    let explains = async |without_device: &[TrackId]| {
        let without_device = without_device.to_vec();
        house.ada.engine.set_habits(Habits { without_device, ..Habits::default() });
        ours.explain().await
    };
    let tracks: Vec<TrackId> = (1..100).map(TrackId).collect();
    let explanation = explains(&tracks).await;
    assert_eq!(explanation.microphone, Microphone::Missing);
    let text = explanation.to_string();
    assert!(text.ends_with(" They do not hear us: our microphone is missing."), "{text}");
    assert_eq!(explains(&[TrackId(0), TrackId(100)]).await.microphone, Microphone::Open);
    // Also where theirs needs no measurement; and whose is muted is told that.
    theirs.mute(MediaSource::Microphone).await.unwrap();
    pass(secs(1)).await;
    let text = explains(&tracks).await.to_string();
    assert!(text.contains("muted there") && text.contains("microphone is missing"), "{text}");
    ours.mute(MediaSource::Microphone).await.unwrap();
    pass(secs(1)).await;
    assert_eq!(explains(&tracks).await.microphone, Microphone::Muted);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_measured_of_a_call_that_is_held_or_does_not_talk_yet() {
    let house = house();
    let (theirs, ours) = tokio::join!(house.ben.ring(), house.ada.invite(BEN));
    assert_eq!(ours.explain().await.hearing, None);
    theirs.answer().await.unwrap();
    ours.until(CallState::Connected).await.unwrap();
    pass(secs(1)).await;
    assert!(ours.explain().await.hearing.is_some());
    ours.hold().await.unwrap();
    pass(secs(1)).await;
    for call in [ours, theirs] {
        let explanation = call.explain().await;
        assert_eq!(explanation.hearing, None);
        assert!(!explanation.to_string().contains("heard"), "{explanation}");
    }
}

#[test]
fn a_microphone_that_is_gone_is_told() {
    let (half, _) = Half::talking();
    let explained = || {
        let (now, session) = (half.sim.now(), half.ada.call().unwrap());
        half.ada.engine(|engine| engine.explain(now, session)).unwrap()
    };
    assert_eq!(explained().microphone, Microphone::Open);
    half.ada.act(CallCommand::Mute(MediaSource::Microphone));
    assert_eq!(explained().microphone, Microphone::Muted);
    half.ada.act(CallCommand::Unmute(MediaSource::Microphone));
    let news = PeerNews::TrackEnded(TrackId(1));
    half.ada.input(Input::Peer(PeerId(1), news));
    assert_eq!(explained().microphone, Microphone::Missing);
    let text = explained().to_string();
    assert!(text.contains(" They do not hear us: our microphone is missing."), "{text}");
}

/// Two in a mesh, and whom Ada meets there.
async fn meeting(house: &House) -> (GroupCallSession, GroupCallSession, ParticipantId) {
    let of = |voip: &matrix_voip::VoIP| {
        let voip = voip.clone();
        async move { voip.fetch_or_create_group_call(ROOM, GroupOptions::mesh()).await.unwrap() }
    };
    let (ours, theirs) = (of(&house.ada.voip).await, of(&house.ben.voip).await);
    ours.enter().await.unwrap();
    theirs.enter().await.unwrap();
    pass(secs(5)).await;
    let found = ours.snapshot().participants.into_iter().find(|one| one.id.user.as_str() == BEN);
    let ben = found.expect("he is in it").id;
    assert_eq!(ours.connection(&ben), Connection::Connected);
    assert!(ours.streams(&ben).iter().any(|stream| stream.side == Side::Remote));
    (ours, theirs, ben)
}

#[tokio::test(start_paused = true)]
async fn each_member_of_a_mesh_is_listened_to() {
    let house = house();
    let (ours, theirs, ben) = meeting(&house).await;
    let hears = |silence, playout| {
        let playout = Some(playout);
        house.ada.engine.set_habits(Habits { silence, playout, ..Habits::default() });
        async { ours.explain().await }
    };
    let now = Duration::from_millis(20);
    let heard = hears(now, playing(24_000, 0)).await;
    assert_eq!(heard.others[0].hearing, Some(Hearing::Heard));
    assert!(heard.to_string().ends_with(" Of 1 others: 1 connected."), "{heard}");
    let made_up = hears(now, playing(24_000, 24_000)).await;
    assert_eq!(made_up.others[0].hearing, Some(Hearing::AllConcealed));
    let silent = hears(secs(3), playing(24_000, 0)).await.to_string();
    assert!(
        silent.contains("1 connected, not heard: no packet of their sound has come for 3.0 s."),
        "{silent}"
    );
    let stats = ours.stats(&ben).await.unwrap();
    assert_eq!(stats.inbound[0].silence, Some(secs(3)));
    theirs.mute(MediaSource::Microphone).await.unwrap();
    pass(secs(1)).await;
    let muted = ours.explain().await.to_string();
    assert!(muted.contains("1 connected, not heard: muted there."), "{muted}");
    let nobody = ParticipantId { device: "NOBODY".parse().unwrap(), ..ben };
    assert!(ours.stats(&nobody).await.is_err());
}
