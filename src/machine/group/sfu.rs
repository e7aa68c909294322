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
    time::{Deadline, Mono, Now, Wall},
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
    Here(Option<Now>),
}

/// Whether a time by both clocks is over: when one of them says so. The one stands while the machine
/// sleeps, the other can be set.
pub(super) fn is_over(at: Now, now: Now) -> bool {
    at.mono <= now.mono || at.wall <= now.wall
}

fn print_both(print: &mut Fingerprint, at: Now) {
    print.deadline(Deadline::Mono(at.mono));
    print.deadline(Deadline::Wall(at.wall));
}

/// Whether the homeserver is asked which SFUs there are, for whom who enters with this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Choosing {
    #[default]
    Not,
    Asked(OpId, CallMedia),
    Pausing(Mono, CallMedia),
}

/// Whether the application, which connects by itself, was told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Handed {
    #[default]
    Not,
    Over,
    /// It was, and reported that it lost the connection.
    Lost,
}

/// What was asked of whoever connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Ask {
    Connect,
    Renew,
    Subscribe(bool),
    Disconnect,
}

/// To take in what others publish, or not, was asked in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Subscribing {
    pub(super) tries: u32,
    /// It is asked again then.
    pub(super) again: Option<Mono>,
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
    pub(super) choosing: Choosing,
    pub(super) choosing_tries: u32,
    /// The id of our visit.
    pub(super) visit: String,
    pub(super) token: Token,
    /// When a token was asked for last.
    pub(super) asked: Mono,
    /// Until when the token is good that was fetched last.
    pub(super) expires: Option<Now>,
    /// When one was fetched last, or is, because the focus changed.
    pub(super) followed: Option<Mono>,
    pub(super) link: Link,
    pub(super) handed: Handed,
    /// Requests about our connection that are not answered.
    pub(super) asks: BTreeMap<OpId, Ask>,
    pub(super) subscribing: Subscribing,
    /// Failed tries of the token, and of the connection.
    pub(super) token_tries: u32,
    pub(super) link_tries: u32,
    people: BTreeMap<String, Person>,
    names: BTreeMap<String, BTreeSet<ParticipantId>>,
    /// The same the other way round.
    names_of: BTreeMap<ParticipantId, Vec<String>>,
    /// Whose focus counts: who was there when we entered.
    pub(super) found: BTreeSet<ParticipantId>,
    /// Whether one of them was at an SFU.
    pub(super) has_found: bool,
    /// Where none was: who entered as we did, and is older.
    pub(super) crossed: BTreeSet<ParticipantId>,
    /// Until when older ones who turn up count too; `None`: our membership is not accepted yet.
    pub(super) settled: Option<Mono>,
}

impl Sfu {
    /// A participant may be known to the SFU by these names; who else is concerned: names can be alike.
    pub(super) fn name(
        &mut self,
        member: &ParticipantId,
        names: impl IntoIterator<Item = String>,
    ) -> BTreeSet<ParticipantId> {
        let names: Vec<_> = names.into_iter().collect();
        if self.names_of.get(member) == Some(&names) {
            return BTreeSet::new();
        }
        let mut namesakes = self.unname(member);
        for name in &names {
            let bearers = self.names.entry(name.clone()).or_default();
            namesakes.extend(bearers.iter().cloned());
            bearers.insert(member.clone());
        }
        self.names_of.insert(member.clone(), names);
        namesakes
    }

    /// A member has no name any more; who else has one of his.
    pub(super) fn unname(&mut self, member: &ParticipantId) -> BTreeSet<ParticipantId> {
        let mut namesakes = BTreeSet::new();
        for name in self.names_of.remove(member).unwrap_or_default() {
            let Some(bearers) = self.names.get_mut(&name) else { continue };
            bearers.remove(member);
            namesakes.extend(bearers.iter().cloned());
            if bearers.is_empty() {
                self.names.remove(&name);
            }
        }
        namesakes
    }

    /// Who in the room that is; nobody where two could be.
    pub(super) fn member(&self, identity: &str) -> Option<&ParticipantId> {
        let bearers = self.names.get(identity).filter(|bearers| bearers.len() == 1)?;
        bearers.first()
    }

    /// Whether a member is at the SFU.
    pub(super) fn is_there(&self, member: &ParticipantId) -> bool {
        self.persons(member).next().is_some()
    }

    fn persons(&self, member: &ParticipantId) -> impl Iterator<Item = &Person> {
        let names = self.names_of.get(member).into_iter().flatten();
        let names = names.filter(|name| self.member(name) == Some(member));
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
        let choosing = match self.choosing {
            Choosing::Pausing(at, _) => Some(at),
            Choosing::Not | Choosing::Asked(..) => None,
        };
        let token = match self.token {
            Token::Pausing(at) => Some(at),
            Token::Here(refresh) => refresh.map(|at| at.mono),
            Token::None | Token::OpenId(_) | Token::Asked(_) => None,
        };
        let link = match self.link {
            Link::Connecting(at) | Link::Reconnecting(at) | Link::Pausing(at) => Some(at),
            Link::Off | Link::Connected | Link::Lost(_) => None,
        };
        [choosing, token, link, self.subscribing.again].into_iter().flatten().min()
    }

    /// When a fresh token is to be fetched by the clock that goes on while the machine sleeps.
    pub(super) fn next_refresh(&self) -> Option<Wall> {
        match self.token {
            Token::Here(refresh) => refresh.map(|at| at.wall),
            Token::None | Token::OpenId(_) | Token::Asked(_) | Token::Pausing(_) => None,
        }
    }

    /// Our wall clock was set back: what counts until some time of it would count for longer.
    pub(super) fn on_clock_set_back(&mut self, by: Duration) {
        if let Token::Here(Some(refresh)) = &mut self.token {
            refresh.wall = refresh.wall.minus(by);
        }
        if let Some(expires) = &mut self.expires {
            expires.wall = expires.wall.minus(by);
        }
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        match self.choosing {
            Choosing::Not => {}
            Choosing::Asked(op, _) => print.op(op),
            Choosing::Pausing(at, _) => print.deadline(Deadline::Mono(at)),
        }
        print.value((self.choosing_tries, self.token_tries, self.link_tries));
        print.value((&self.visit, self.handed, self.has_found, self.subscribing.tries));
        match self.token {
            Token::None => print.value("none"),
            Token::OpenId(op) | Token::Asked(op) => print.op(op),
            Token::Pausing(at) => print.deadline(Deadline::Mono(at)),
            Token::Here(refresh) => {
                print.value("here");
                refresh.into_iter().for_each(|at| print_both(print, at));
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
        self.expires.into_iter().for_each(|at| print_both(print, at));
        print.value((&self.people, &self.names, &self.found, &self.crossed));
        for (op, ask) in &self.asks {
            print.op(*op);
            print.value(ask);
        }
        let times = [self.settled, self.followed, self.subscribing.again];
        times.into_iter().flatten().for_each(|at| print.deadline(Deadline::Mono(at)));
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
    fn a_name_that_two_members_have_is_nobodys_until_one_has_gone() {
        let mut sfu = Sfu::default();
        let twin = ParticipantId { device: DeviceId::parse("E").unwrap(), ..ben() };
        let own = |name: &str| ["same".to_owned(), name.to_owned()];
        assert!(sfu.name(&ben(), own("ben")).is_empty());
        sfu.on_published("same", track("TR", Slot::Audio, false));
        assert!(sfu.is_there(&ben()) && sfu.member("same") == Some(&ben()));
        assert_eq!(sfu.name(&twin, own("twin")), [ben()].into());
        assert_eq!((sfu.member("same"), sfu.member("twin")), (None, Some(&twin)));
        assert!(!sfu.is_there(&ben()) && !sfu.is_there(&twin));
        assert_eq!(sfu.unname(&twin), [ben()].into());
        assert!(sfu.is_there(&ben()) && sfu.member("same") == Some(&ben()));
        assert_eq!((sfu.unname(&ben()).len(), sfu.names.len()), (0, 0));
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
