//! The SFU of one group call: which one, the token for it, our connection, and who is there.
//!
//! ```text
//!            focus known        token                connected
//!  Choosing ────────────▶ Token ──────▶ Connecting ───────────▶ Connected ──▶ lost: again, with a fresh
//!                           │  again after a pause; fresh before it expires       token; the membership
//!                           └─ the application connects by itself: handed over    stands meanwhile
//! ```
//!
//! Membership, token and keys are made beside each other; none waits for the other two. Which SFU it is
//! the oldest members say ("focus"): those who were there before us, or entered as we did and are older.
//! Who comes later moves nobody; one who is elsewhere is in the call and out of reach.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    id::OpId,
    machine::{
        bounds::{MAX_SFU_PARTICIPANTS, MAX_SFU_TRACKS},
        event::{Side, Stream},
        fingerprint::Fingerprint,
        io::{CallMedia, MediaKind, ParticipantId, SfuLoss, SfuTrack, Slot},
    },
    time::{Deadline, Mono},
    wire::metadata::Purpose,
};

/// Whoever entered as we did may say so for so long: memberships cross.
pub(super) const SETTLING: Duration = Duration::from_secs(10);
/// How long a connection may take before it is given up for another.
pub(super) const CONNECT: Duration = Duration::from_secs(30);
/// A token is fetched no sooner than that after the last, however short they live.
pub(super) const SOONEST_REFRESH: Duration = Duration::from_secs(10);

/// How far the token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Token {
    /// None is wanted, or none can be had.
    #[default]
    None,
    OpenId(OpId),
    Asked(OpId),
    Pausing(Mono),
    /// It is there; a fresh one is fetched then.
    Here(Option<Mono>),
}

/// How far our connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Link {
    #[default]
    Off,
    /// On its way until then.
    Connecting(Mono),
    Connected,
    Reconnecting(Mono),
    /// It was lost; the next try is then.
    Pausing(Mono),
    /// It is lost, and nothing is tried.
    Lost(SfuLoss),
}

impl Link {
    /// Whether it was asked for, and neither lost nor taken back since.
    pub(super) const fn is_taken_up(&self) -> bool {
        match self {
            Self::Connecting(_) | Self::Connected | Self::Reconnecting(_) => true,
            Self::Off | Self::Pausing(_) | Self::Lost(_) => false,
        }
    }
}

/// Somebody at the SFU.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Person {
    tracks: Vec<SfuTrack>,
}

/// The SFU of one group call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sfu {
    /// The homeserver is asked which there are.
    pub(super) choosing: Option<(OpId, CallMedia)>,
    pub(super) token: Token,
    /// When a token was asked for last.
    pub(super) asked: Mono,
    /// Until when the token is good that was fetched last.
    pub(super) expires: Option<Mono>,
    pub(super) link: Link,
    /// Requests about our connection that are not answered.
    pub(super) asks: BTreeSet<OpId>,
    /// Failed tries of the token, and of the connection.
    pub(super) token_tries: u32,
    pub(super) link_tries: u32,
    people: BTreeMap<String, Person>,
    names: BTreeMap<String, ParticipantId>,
    /// The same the other way round.
    names_of: BTreeMap<ParticipantId, Vec<String>>,
    /// Whose focus counts.
    pub(super) elders: BTreeSet<ParticipantId>,
    /// Until when older ones who turn up count too; `None`: our membership is not accepted yet.
    pub(super) settled: Option<Mono>,
}

impl Sfu {
    /// A participant may be known to the SFU by these names.
    pub(super) fn name(&mut self, member: &ParticipantId, names: impl IntoIterator<Item = String>) {
        self.unname(member);
        let names: Vec<_> = names.into_iter().collect();
        for name in &names {
            self.names.insert(name.clone(), member.clone());
        }
        self.names_of.insert(member.clone(), names);
    }

    pub(super) fn unname(&mut self, member: &ParticipantId) {
        for name in self.names_of.remove(member).unwrap_or_default() {
            self.names.remove(&name);
        }
    }

    /// Who in the room that is.
    pub(super) fn member(&self, identity: &str) -> Option<&ParticipantId> {
        self.names.get(identity)
    }

    /// Whether a member is at the SFU.
    pub(super) fn is_there(&self, member: &ParticipantId) -> bool {
        self.persons(member).next().is_some()
    }

    fn persons(&self, member: &ParticipantId) -> impl Iterator<Item = &Person> {
        let names = self.names_of.get(member).into_iter().flatten();
        names.filter_map(|name| self.people.get(name))
    }

    /// Somebody is there; `false`: too many are.
    pub(super) fn on_joined(&mut self, identity: &str) -> bool {
        let room = self.people.len() < MAX_SFU_PARTICIPANTS;
        if room || self.people.contains_key(identity) {
            self.people.entry(identity.to_owned()).or_default();
        }
        self.people.contains_key(identity)
    }

    pub(super) fn on_left(&mut self, identity: &str) -> bool {
        self.people.remove(identity).is_some()
    }

    /// Somebody publishes this; `false`: too many do, or he too much.
    pub(super) fn on_published(&mut self, identity: &str, track: SfuTrack) -> bool {
        if !self.on_joined(identity) {
            return false;
        }
        let Some(person) = self.people.get_mut(identity) else { return false };
        let room = person.tracks.len() < MAX_SFU_TRACKS;
        match person.tracks.iter_mut().find(|known| known.id == track.id) {
            Some(known) => *known = track,
            None if room => person.tracks.push(track),
            None => return false,
        }
        true
    }

    pub(super) fn on_unpublished(&mut self, identity: &str, track: &str) -> bool {
        let Some(person) = self.people.get_mut(identity) else { return false };
        let before = person.tracks.len();
        person.tracks.retain(|known| known.id != track);
        person.tracks.len() != before
    }

    /// Nobody is known to be there any more.
    pub(super) fn forget_people(&mut self) {
        self.people.clear();
    }

    /// What a member shows, as its streams, sorted for display.
    pub(super) fn streams(&self, member: &ParticipantId) -> Vec<Stream> {
        let tracks: Vec<_> = self.persons(member).flat_map(|person| &person.tracks).collect();
        let of = |purpose: Purpose, audio: Slot, video: Slot| {
            let sound = tracks.iter().find(|track| track.slot == audio);
            let picture = tracks.iter().find(|track| track.slot == video);
            let first = picture.or(sound)?;
            let kinds = [(sound, MediaKind::Audio), (picture, MediaKind::Video)];
            Some(Stream {
                side: Side::Remote,
                purpose,
                id: crate::id::StreamId::parse(&first.id).ok(),
                kinds: kinds.iter().filter_map(|(track, kind)| track.map(|_| *kind)).collect(),
                audio_muted: sound.is_none_or(|track| track.muted),
                video_muted: picture.is_none_or(|track| track.muted),
            })
        };
        let screen = of(Purpose::Screenshare, Slot::ScreenAudio, Slot::Screen);
        let user = of(Purpose::UserMedia, Slot::Audio, Slot::Video);
        [screen, user].into_iter().flatten().collect()
    }

    /// When something is to be done next.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let token = match self.token {
            Token::Pausing(at) => Some(at),
            Token::Here(refresh) => refresh,
            Token::None | Token::OpenId(_) | Token::Asked(_) => None,
        };
        let link = match self.link {
            Link::Connecting(at) | Link::Reconnecting(at) | Link::Pausing(at) => Some(at),
            Link::Off | Link::Connected | Link::Lost(_) => None,
        };
        [token, link].into_iter().flatten().min()
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((self.choosing.is_some(), self.token_tries, self.link_tries));
        match self.token {
            Token::None => print.value("none"),
            Token::OpenId(op) | Token::Asked(op) => print.op(op),
            Token::Pausing(at) => print.deadline(Deadline::Mono(at)),
            Token::Here(refresh) => {
                print.value("here");
                refresh.into_iter().for_each(|at| print.deadline(Deadline::Mono(at)));
            }
        }
        match self.link {
            Link::Off => print.value("off"),
            Link::Connected => print.value("connected"),
            Link::Lost(why) => print.value(why),
            Link::Connecting(at) | Link::Reconnecting(at) | Link::Pausing(at) => {
                print.deadline(Deadline::Mono(at));
            }
        }
        print.deadline(Deadline::Mono(self.asked));
        self.expires.into_iter().for_each(|at| print.deadline(Deadline::Mono(at)));
        print.value((&self.people, &self.names, &self.elders));
        self.asks.iter().for_each(|op| print.op(*op));
        self.settled.into_iter().for_each(|at| print.deadline(Deadline::Mono(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DeviceId, UserId};

    fn ben() -> ParticipantId {
        let (user, device) = (UserId::parse("@ben:x"), DeviceId::parse("D"));
        ParticipantId { user: user.unwrap(), device: device.unwrap() }
    }

    fn track(id: &str, slot: Slot, muted: bool) -> SfuTrack {
        SfuTrack { id: id.into(), slot, muted, encrypted: true }
    }

    #[test]
    fn tracks_of_a_member_are_streams_in_the_order_of_display() {
        let mut sfu = Sfu::default();
        sfu.name(&ben(), ["one".to_owned(), "other".to_owned()]);
        assert!(!sfu.is_there(&ben()));
        assert!(sfu.on_published("other", track("TR_1", Slot::Audio, false)));
        assert!(sfu.on_published("other", track("TR_2", Slot::Video, true)));
        assert!(sfu.on_published("other", track("TR_3", Slot::Screen, false)));
        let streams = sfu.streams(&ben());
        let shown: Vec<_> = streams
            .iter()
            .map(|it| (&it.purpose, it.kinds.len(), it.audio_muted, it.video_muted))
            .collect();
        assert_eq!(
            shown,
            [(&Purpose::Screenshare, 1, true, false), (&Purpose::UserMedia, 2, false, true)]
        );
        assert!(sfu.on_unpublished("other", "TR_3") && !sfu.on_unpublished("other", "TR_3"));
        assert_eq!(sfu.streams(&ben()).len(), 1);
        assert!(sfu.on_left("other") && !sfu.is_there(&ben()));
    }

    #[test]
    fn what_an_sfu_can_tell_is_bounded() {
        let mut sfu = Sfu::default();
        for n in 0..MAX_SFU_PARTICIPANTS {
            assert!(sfu.on_joined(&n.to_string()));
        }
        assert!(!sfu.on_joined("more"));
        for n in 0..MAX_SFU_TRACKS {
            assert!(sfu.on_published("7", track(&n.to_string(), Slot::Audio, false)));
        }
        assert!(!sfu.on_published("7", track("more", Slot::Audio, false)));
        assert!(sfu.on_published("7", track("0", Slot::Audio, true)), "known already");
        assert!(!sfu.on_published("more", track("0", Slot::Audio, true)));
    }
}
