//! Whether the group call was what it should be, and if not, why: decided from the story alone.

use std::{collections::BTreeMap, time::Duration};

use matrix_voip::id::PeerId;

use super::{
    cast::Who,
    story::{Story, WayStory},
    wrong::{LegWrong, Wrong},
};
use crate::{
    cli::Engine,
    demo::{fact::PathEnd, setup::LEVEL, verdict::Wanted},
};

/// What should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// How many meet.
    pub(crate) size: usize,
    /// How long they talk.
    pub(crate) talk: Duration,
    /// By which engine.
    pub(crate) engine: Engine,
}

/// All that is wrong with the call, the first cause first; empty when it was what it should be.
pub(crate) fn judge(story: &Story, expected: &Expected) -> Vec<Wrong> {
    let there = |who: &Who| story.entered(*who).is_some();
    let absent = Who::cast(expected.size).filter(|who| !there(who)).map(Wrong::NeverEntered);
    let pairs = || Who::pairs(expected.size).filter(|(one, other)| there(one) && there(other));
    let unmet = pairs().filter(|(one, other)| !story.met(*one, *other));
    let unmet = unmet.map(|(one, other)| Wrong::NeverMet(one, other, forged(story, one, other)));
    let strays = story.strays.iter().map(|who| Wrong::Stray(*who));
    let met = || story.ways().filter(|(hears, of, _)| story.met(*hears, *of));
    let lost = met().filter(|(.., way)| way.lost > 0).map(|(hears, of, _)| Wrong::Lost(hears, of));
    let legs = met().filter_map(|(hears, of, way)| {
        leg(story, (hears, of), way).map(|wrong| Wrong::Leg(hears, of, wrong))
    });
    let sounds = met().filter_map(|(hears, of, way)| {
        let wanted = Wanted { hz: of.hz(), level: LEVEL, least: expected.talk / 2 };
        let missed = wanted.missed_by(&way.gauge.overall, way.microphone);
        missed.map(|wrong| Wrong::Sound(hears, of, wrong))
    });
    absent.chain(unmet).chain(strays).chain(lost).chain(legs).chain(sounds).collect()
}

/// Whose certificate was announced otherwise than told.
fn forged(story: &Story, one: Who, other: Who) -> Option<Who> {
    let is_forged = |of: Who, to: Who| {
        let (announced, told) = (&story.way(of, to).announced, &story.way(to, of).told);
        announced.is_some() && told.is_some() && announced != told
    };
    [(one, other), (other, one)].into_iter().find(|(of, to)| is_forged(*of, *to)).map(|(of, _)| of)
}

/// What shows that the two do not have a leg of their own: by whose peer connection the sound came,
/// in which stream, and between which sockets.
fn leg(story: &Story, (hears, of): (Who, Who), way: &WayStory) -> Option<LegWrong> {
    let peers = || way.tracks.iter().map(|track| track.peer);
    if let Some(other) = peers().find_map(|peer| shared(story, hears, of, peer)) {
        return Some(LegWrong::SharedConnection(other));
    }
    if !peers().all(|peer| way.opened.contains(&peer)) {
        return Some(LegWrong::ForeignConnection);
    }
    let mut streams = way.tracks.iter().filter_map(|track| track.stream.as_ref());
    if !streams.all(|stream| way.streams.contains(stream)) {
        return Some(LegWrong::ForeignStream);
    }
    let Some(path) = &way.path else { return Some(LegWrong::NoPath) };
    if let Some((one, other)) = socket(story, &path.local, (hears, of)) {
        return Some(LegWrong::SharedSocket(one, other));
    }
    let back = story.way(of, hears).path.as_ref();
    let mirrored = back.is_some_and(|back| back.local.address == path.remote.address);
    (!mirrored).then_some(LegWrong::NoPath)
}

/// Whose sound comes by the same peer connection.
fn shared(story: &Story, hears: Who, of: Who, peer: PeerId) -> Option<Who> {
    let others = hears.others(story.size).filter(|other| *other != of);
    let by = |other: &Who| story.way(hears, *other).tracks.iter().any(|track| track.peer == peer);
    others.into_iter().find(by)
}

/// Which other way begins at the same socket.
fn socket(story: &Story, end: &PathEnd, way: (Who, Who)) -> Option<(Who, Who)> {
    let others = story.ways().filter(|(hears, of, _)| (*hears, *of) != way);
    let ends = others.filter_map(|(hears, of, way)| Some(((hears, of), way.path.as_ref()?)));
    let ends: BTreeMap<_, _> = ends.map(|(way, path)| (path.local.address.clone(), way)).collect();
    ends.get(&end.address).copied()
}

#[cfg(test)]
mod tests {
    use matrix_voip::{Connection, GroupState, id::StreamId};

    use super::*;
    use crate::demo::{
        fact::{Gauge, OtherMicrophone, Path, Sound, Tone},
        group::{
            Moment,
            fact::{Fact, Track},
        },
        wrong::SoundWrong,
    };

    const SIZE: usize = 3;
    const EXPECTED: Expected =
        Expected { size: SIZE, talk: Duration::from_secs(4), engine: Engine::Str0m };

    fn number(hears: Who, of: Who) -> u64 {
        Who::ways(SIZE).position(|way| way == (hears, of)).unwrap() as u64
    }

    fn stream(of: Who) -> StreamId {
        StreamId::parse(of.name()).unwrap()
    }

    fn track(hears: Who, of: Who) -> Fact {
        let track = Track { peer: PeerId(number(hears, of)), stream: Some(stream(of)) };
        Fact::Track(hears, of, track)
    }

    fn end(hears: Who, of: Who) -> PathEnd {
        PathEnd { kind: "host", address: format!("127.0.0.1:{}", number(hears, of)) }
    }

    fn path(hears: Who, of: Who) -> Path {
        Path { protocol: "udp", local: end(hears, of), remote: end(of, hears) }
    }

    fn sound(hears: Who, of: Who, hz: f32) -> Fact {
        let tone = Some(Tone { hz, level: LEVEL, share: 0.99 });
        let overall = Sound { rms: 0.14, tone, length: Duration::from_secs(4) };
        Fact::Meters(hears, vec![(of, Gauge { overall, ..Gauge::default() })])
    }

    fn good(hears: Who, of: Who) -> Vec<Fact> {
        vec![
            Fact::State(hears, GroupState::Entered),
            Fact::Opened(hears, of, PeerId(number(hears, of))),
            Fact::Connection(hears, of, Connection::Connected),
            track(hears, of),
            Fact::Streams(hears, of, vec![stream(of)]),
            Fact::Path(hears, of, path(hears, of)),
            sound(hears, of, of.hz() + 1.0),
        ]
    }

    /// What is wrong where all is good but what these facts change.
    fn wrong(more: impl IntoIterator<Item = Fact>) -> Vec<String> {
        let mut story = Story::new(SIZE);
        let good = Who::ways(SIZE).flat_map(|(hears, of)| good(hears, of));
        for fact in good.chain(more) {
            story.apply(&Moment { at: Duration::ZERO, fact });
        }
        judge(&story, &EXPECTED).iter().map(ToString::to_string).collect()
    }

    fn cast() -> [Who; SIZE] {
        let mut cast = Who::cast(SIZE);
        std::array::from_fn(|_| cast.next().unwrap())
    }

    #[test]
    fn the_right_tones_over_legs_of_their_own_are_right() {
        assert_eq!(wrong([]), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_tone_and_silence_name_who_hears_and_of_whom() {
        let [ada, ben, cleo] = cast();
        assert_eq!(
            wrong([sound(cleo, ben, ada.hz())]),
            ["cleo heard the wrong tone: 440 Hz instead of 660 Hz (from ben)"]
        );
        let silent = Fact::Meters(ben, vec![(ada, Gauge::default())]);
        let muted = Fact::OtherMicrophone(ben, ada, OtherMicrophone::Muted);
        assert_eq!(
            wrong([silent, muted]),
            ["ben heard silence instead of 440 Hz: ada's microphone is muted (from ada)"]
        );
    }

    #[test]
    fn two_who_come_by_one_peer_connection_share_a_leg() {
        let [ada, ben, cleo] = cast();
        let peer = PeerId(number(ada, ben));
        let said = wrong([Fact::Track(ada, cleo, Track { peer, stream: Some(stream(cleo)) })]);
        assert_eq!(
            said,
            [
                "ada has ben's and cleo's sound by one peer connection",
                "ada has cleo's and ben's sound by one peer connection",
            ]
        );
    }

    #[test]
    fn two_legs_at_one_socket_are_shared() {
        let [ada, ben, cleo] = cast();
        let path = Path { local: end(ada, ben), ..path(ada, cleo) };
        let said = wrong([Fact::Path(ada, cleo, path)]);
        assert!(said.iter().any(|said| said.contains("one socket")), "{said:?}");
    }

    #[test]
    fn sound_must_come_by_the_connection_and_in_the_stream_of_who_makes_it() {
        let [ada, ben, _] = cast();
        let foreign = Track { peer: PeerId(99), stream: Some(stream(ben)) };
        assert_eq!(
            wrong([Fact::Track(ada, ben, foreign)]),
            ["ada has ben's sound by a peer connection that is not theirs"]
        );
        let peer = PeerId(number(ada, ben));
        let foreign = Track { peer, stream: Some(StreamId::parse("other").unwrap()) };
        assert_eq!(
            wrong([Fact::Track(ada, ben, foreign)]),
            ["ada has ben's sound in a stream that ben does not show"]
        );
        assert_eq!(wrong([Fact::Stray(ben)]), ["ben has sound of somebody who does not take part"]);
    }

    #[test]
    fn who_never_came_is_told_once_and_not_for_each_pair() {
        let story = Story::new(SIZE);
        let said = judge(&story, &EXPECTED);
        assert_eq!(said, Who::cast(SIZE).map(Wrong::NeverEntered).collect::<Vec<_>>());
    }

    #[test]
    fn two_who_never_met_are_told_with_whose_certificate_was_forged() {
        let [ada, ben, _] = cast();
        let mut story = Story::new(2);
        for who in [ada, ben] {
            story
                .apply(&Moment { at: Duration::ZERO, fact: Fact::State(who, GroupState::Entered) });
        }
        let expected = Expected { size: 2, ..EXPECTED };
        assert_eq!(judge(&story, &expected), [Wrong::NeverMet(ada, ben, None)]);
        for fact in [
            Fact::Announced(ada, ben, "sha-256 AB".into()),
            Fact::Told(ben, ada, "sha-256 00".into()),
        ] {
            story.apply(&Moment { at: Duration::ZERO, fact });
        }
        assert_eq!(judge(&story, &expected), [Wrong::NeverMet(ada, ben, Some(ada))]);
    }

    #[test]
    fn a_connection_that_was_lost_is_wrong_although_the_tones_were_right() {
        let [ada, ben, _] = cast();
        assert_eq!(
            wrong([Fact::Connection(ada, ben, Connection::Connecting)]),
            ["ada lost the connection to ben"]
        );
    }

    #[test]
    fn a_tone_that_was_heard_for_a_moment_is_too_short() {
        let [ada, ben, _] = cast();
        let tone = Some(Tone { hz: ben.hz(), level: LEVEL, share: 0.99 });
        let overall = Sound { rms: 0.14, tone, length: Duration::from_secs(1) };
        let mut story = Story::new(SIZE);
        let good = Who::ways(SIZE).flat_map(|(hears, of)| good(hears, of));
        let short = Fact::Meters(ada, vec![(ben, Gauge { overall, ..Gauge::default() })]);
        for fact in good.chain([short]) {
            story.apply(&Moment { at: Duration::ZERO, fact });
        }
        let short = SoundWrong::TooShort(Duration::from_secs(1));
        assert_eq!(judge(&story, &EXPECTED), [Wrong::Sound(ada, ben, short)]);
    }
}
