//! SFUs, their token service and key providers without media, as a value.
//!
//! One [`FakeSfu`] serves all engines of a test, each by its [`Seat`]. A token names a focus and an
//! identity; whoever connects with one meets who connected to the same focus. What is published, muted
//! and said is told to the others there, and keys are kept as a provider keeps them:
//! [`reads`](FakeSfu::reads) says whether somebody could decrypt what another sends now.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    watch::{KEY_MARK, TOKEN_SECRET},
    webrtc::{FakeTrack, Seat},
};
use crate::{
    config::KeyProfile,
    id::{SessionId, TrackId},
    machine::io::{
        Fault, KeyOp, KeyOwner, MediaSource, ParticipantId, Reply, SfuLoss, SfuNews, SfuOp,
        SfuState, SfuToken, SfuTrack, Slot, Speaking, TokenFault, TokenRequest, TrackOp,
    },
    redact::{Secret, SecretBytes},
    wire::keys::MediaKey,
};

/// How long a connection takes.
const CONNECT: Duration = Duration::from_millis(30);
/// How often a receiver ratchets a key to see whether it fits.
const WINDOW: usize = 16;

/// Whose connection and keys: an engine's, in one group call.
type End = (Seat, SessionId);

/// The focus of a call: service and alias.
type Focus = (String, String);

/// Something that an SFU tells later by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SfuFollowUp {
    /// Whom.
    pub seat: Seat,
    /// Of which group call.
    pub call: SessionId,
    /// When, from now.
    pub after: Duration,
    /// What.
    pub news: SfuNews,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Connection {
    focus: Focus,
    identity: String,
    subscribed: bool,
}

/// The keys of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Provider {
    begun: Option<KeyProfile>,
    keys: BTreeMap<(ParticipantId, u8), SecretBytes>,
    own: Option<(ParticipantId, u8)>,
}

/// All SFUs of a test, with what is around them.
#[derive(Debug, Clone, Default)]
pub struct FakeSfu {
    tokens: BTreeMap<String, (Focus, String)>,
    minted: u64,
    asked: u64,
    lifetime: Option<Duration>,
    refuses: Option<TokenFault>,
    down: bool,
    connections: BTreeMap<End, Connection>,
    /// Who died without a word, where nobody has noticed it.
    ghosts: BTreeSet<(Focus, String)>,
    tracks: BTreeMap<End, BTreeMap<TrackId, FakeTrack>>,
    released: BTreeSet<(End, TrackId)>,
    providers: BTreeMap<End, Provider>,
    /// Every key that was ever in use, with who used it: for looking back.
    used: Vec<(End, MediaKey)>,
    /// Whose keys were given, by whom.
    owners: Vec<(End, KeyOwner)>,
    ratchets: u64,
}

impl FakeSfu {
    /// Tokens live so long; default: they do not say.
    pub fn set_lifetime(&mut self, lifetime: Option<Duration>) {
        self.lifetime = lifetime;
    }

    /// The token service answers so from now on; `None`: it gives tokens.
    pub fn refuse_tokens(&mut self, fault: Option<TokenFault>) {
        self.refuses = fault;
    }

    /// How many tokens were given.
    pub fn tokens(&self) -> u64 {
        self.minted
    }

    /// How often a token was asked for.
    pub fn asked_for_tokens(&self) -> u64 {
        self.asked
    }

    /// The SFU cannot be reached any more, or again: who is connected loses it.
    pub fn set_down(&mut self, down: bool) -> Vec<SfuFollowUp> {
        self.down = down;
        let lost = if down { std::mem::take(&mut self.connections) } else { BTreeMap::new() };
        let lost = lost.into_keys();
        lost.map(|end| told(end, SfuNews::State(SfuState::Lost(SfuLoss::Unreachable)))).collect()
    }

    /// Gives a token.
    pub(super) fn token(&mut self, request: &TokenRequest) -> Result<Reply, Fault> {
        self.asked += 1;
        if let Some(fault) = self.refuses.clone() {
            return Err(Fault::Token(fault));
        }
        if request.open_id.is_none() {
            return Err(Fault::Token(TokenFault::NeedsOpenId));
        }
        self.minted += 1;
        let focus = (request.service_url.clone(), request.alias.clone());
        let identity = format!("{}:{}", request.user, request.device);
        let jwt = format!("{TOKEN_SECRET}.{}", self.minted);
        self.tokens.insert(jwt.clone(), (focus, identity.clone()));
        Ok(Reply::SfuToken(SfuToken {
            url: "wss://sfu.example".into(),
            jwt: Secret::new(jwt),
            lifetime: self.lifetime,
            identity: Some(identity),
        }))
    }

    /// Does something at an SFU.
    pub(super) fn perform(
        &mut self,
        end: End,
        op: &SfuOp,
    ) -> (Result<Reply, Fault>, Vec<SfuFollowUp>) {
        let mut told = Vec::new();
        let result = match op {
            SfuOp::Connect(token) => self.connect(end, token, &mut told),
            SfuOp::Renew(_) => Ok(Reply::Done),
            SfuOp::Subscribe(on) => {
                if let Some(connection) = self.connections.get_mut(&end) {
                    connection.subscribed = *on;
                }
                Ok(Reply::Done)
            }
            SfuOp::Disconnect => {
                self.leave(end, &mut told);
                Ok(Reply::Done)
            }
            SfuOp::Track(track, op) => self.track(end, *track, op, &mut told),
        };
        (result, told)
    }

    fn connect(
        &mut self,
        end: End,
        token: &SfuToken,
        told_later: &mut Vec<SfuFollowUp>,
    ) -> Result<Reply, Fault> {
        if self.down {
            return Err(Fault::Unreachable);
        }
        let known = self.tokens.get(token.jwt.expose()).cloned();
        let (focus, identity) = known.ok_or(Fault::Denied)?;
        self.leave(end, told_later);
        let twin =
            self.connections.iter().find(|(_, it)| it.focus == focus && it.identity == identity);
        if let Some(twin) = twin.map(|(twin, _)| *twin) {
            self.leave(twin, told_later);
            told_later.push(told(twin, SfuNews::State(SfuState::Lost(SfuLoss::Replaced))));
        }
        let was_ghost = self.ghosts.remove(&(focus.clone(), identity.clone()));
        let connection = Connection { focus, identity: identity.clone(), subscribed: true };
        self.connections.insert(end, connection);
        if was_ghost {
            self.tell_others(end, SfuNews::Left, told_later);
        }
        told_later.push(told(end, SfuNews::State(SfuState::Connected)));
        for other in self.others(end) {
            let theirs = self.connections[&other].identity.clone();
            told_later.push(told(end, SfuNews::Joined(theirs.clone())));
            let published = self.published(other);
            told_later.extend(
                published
                    .into_iter()
                    .map(|track| told(end, SfuNews::Published(theirs.clone(), track))),
            );
            told_later.push(told(other, SfuNews::Joined(identity.clone())));
            let published = self.published(end);
            told_later.extend(
                published
                    .into_iter()
                    .map(|track| told(other, SfuNews::Published(identity.clone(), track))),
            );
        }
        Ok(Reply::Done)
    }

    /// Who is at the same focus.
    fn others(&self, end: End) -> Vec<End> {
        let Some(ours) = self.connections.get(&end) else { return Vec::new() };
        let others =
            self.connections.iter().filter(|(of, it)| **of != end && it.focus == ours.focus);
        others.map(|(of, _)| *of).collect()
    }

    fn published(&self, end: End) -> Vec<SfuTrack> {
        let tracks = self.tracks.get(&end).into_iter().flatten();
        tracks.map(|(id, track)| shown(*id, track)).collect()
    }

    fn tell_others(
        &self,
        end: End,
        news: impl Fn(String) -> SfuNews,
        told_later: &mut Vec<SfuFollowUp>,
    ) {
        let Some(ours) = self.connections.get(&end) else { return };
        for other in self.others(end) {
            told_later.push(told(other, news(ours.identity.clone())));
        }
    }

    fn leave(&mut self, end: End, told_later: &mut Vec<SfuFollowUp>) {
        self.tell_others(end, SfuNews::Left, told_later);
        self.connections.remove(&end);
    }

    fn track(
        &mut self,
        end: End,
        id: TrackId,
        op: &TrackOp,
        told_later: &mut Vec<SfuFollowUp>,
    ) -> Result<Reply, Fault> {
        if let TrackOp::Capture(_, capture) = op {
            if self.released.contains(&(end, id)) {
                return Err(Fault::Cancelled);
            }
            let track =
                FakeTrack { capture: capture.clone(), enabled: true, dialled: String::new() };
            self.tracks.entry(end).or_default().insert(id, track);
        }
        if *op == TrackOp::Release {
            self.released.insert((end, id));
            self.tracks.entry(end).or_default().remove(&id);
            self.tell_others(end, |who| SfuNews::Unpublished(who, name(id)), told_later);
            return Ok(Reply::Done);
        }
        let tracks = self.tracks.entry(end).or_default();
        let track = tracks.get_mut(&id).ok_or(Fault::NotFound)?;
        match op {
            TrackOp::Enable(on) => track.enabled = *on,
            TrackOp::Replace(_, capture) => track.capture = capture.clone(),
            TrackOp::Capture(..) | TrackOp::Release | TrackOp::Dtmf(_) => {}
        }
        let track = shown(id, track);
        self.tell_others(end, |who| SfuNews::Published(who, track.clone()), told_later);
        Ok(Reply::Done)
    }

    /// Somebody speaks so loud, in dBov: the others hear it, if he is not muted.
    pub(super) fn speak(&self, seat: Seat, level: i8) -> Vec<SfuFollowUp> {
        let mut told_later = Vec::new();
        for end in self.connections.keys().filter(|(of, _)| *of == seat) {
            let sends =
                self.tracks.get(end).into_iter().flatten().any(|(_, track)| {
                    track.enabled && track.capture.source == MediaSource::Microphone
                });
            let say = |identity| SfuNews::Speakers(vec![Speaking { identity, level }]);
            if sends {
                self.tell_others(*end, say, &mut told_later);
            }
        }
        told_later
    }

    /// The process of an engine died: the others notice after a while.
    pub(super) fn crash(&mut self, seat: Seat) -> Vec<SfuFollowUp> {
        let ends: Vec<_> = self.connections.keys().filter(|(of, _)| *of == seat).copied().collect();
        let mut told_later = Vec::new();
        for end in ends {
            let ghost =
                self.connections.get(&end).map(|it| (it.focus.clone(), it.identity.clone()));
            self.ghosts.extend(ghost);
            self.leave(end, &mut told_later);
        }
        self.tracks.retain(|(of, _), _| *of != seat);
        self.providers.retain(|(of, _), _| *of != seat);
        told_later
            .into_iter()
            .map(|it| SfuFollowUp { after: Duration::from_secs(20), ..it })
            .collect()
    }

    /// Whether this is not so any more: whoever died is there again.
    pub(super) fn is_outdated(&self, told: &SfuFollowUp) -> bool {
        let SfuNews::Left(who) = &told.news else { return false };
        let Some(ours) = self.connections.get(&(told.seat, told.call)) else { return false };
        self.connections.values().any(|it| it.focus == ours.focus && it.identity == *who)
    }

    // ------------------------------------------------------------------------------------ keys

    /// Does something with the keys of a provider.
    pub(super) fn keys(
        &mut self,
        end: End,
        us: &ParticipantId,
        op: &KeyOp,
    ) -> Result<Reply, Fault> {
        let provider = self.providers.entry(end).or_default();
        match op {
            KeyOp::Begin(profile) => {
                provider.begun = Some(*profile);
                Ok(Reply::Done)
            }
            KeyOp::Set { owner, key, .. } => {
                self.owners.push((end, owner.clone()));
                let participant = &owner.participant;
                provider.keys.insert((participant.clone(), key.index), key.key.clone());
                if participant == us {
                    provider.own = Some((participant.clone(), key.index));
                    self.used.push((end, key.clone()));
                }
                Ok(Reply::Done)
            }
            KeyOp::Ratchet { participant, index } => {
                self.ratchets += 1;
                let place = (participant.clone(), *index);
                let next = provider.keys.get(&place).map(ratcheted);
                if let Some(next) = &next {
                    provider.keys.insert(place, next.clone());
                    self.used.push((end, MediaKey { index: *index, key: next.clone() }));
                }
                Ok(Reply::Key(next))
            }
            KeyOp::Forget(Some(participant)) => {
                provider.keys.retain(|(of, _), _| of != participant);
                Ok(Reply::Done)
            }
            KeyOp::Forget(None) => {
                self.providers.remove(&end);
                Ok(Reply::Done)
            }
        }
    }

    /// Whether the provider was told that there are keys, before it was given one.
    pub(super) fn has_begun(&self, end: End) -> Option<KeyProfile> {
        self.providers.get(&end)?.begun
    }

    /// Whether one could decrypt what the other sends now. Nobody can read who has no key in use.
    pub fn reads(&self, reader: End, sender: End) -> bool {
        let sent = self.providers.get(&sender).and_then(|it| {
            let own = it.own.as_ref()?;
            Some((own, it.keys.get(own)?))
        });
        let Some((place, key)) = sent else { return false };
        let Some(known) = self.providers.get(&reader).and_then(|it| it.keys.get(place)) else {
            return false;
        };
        let mut next = known.clone();
        (0..=WINDOW).any(|_| {
            let fits = next == *key;
            next = ratcheted(&next);
            fits
        })
    }

    /// The key with which one sends now.
    pub fn in_use(&self, sender: End) -> Option<MediaKey> {
        let provider = self.providers.get(&sender)?;
        let (of, index) = provider.own.as_ref()?;
        let key = provider.keys.get(&(of.clone(), *index))?.clone();
        Some(MediaKey { index: *index, key })
    }

    /// Every key with which an engine ever sent, oldest first.
    pub fn used(&self, seat: Seat) -> impl Iterator<Item = &MediaKey> {
        self.used.iter().filter(move |((of, _), _)| *of == seat).map(|(_, key)| key)
    }

    /// Whose keys an engine gave to its provider, oldest first.
    pub fn owners(&self, seat: Seat) -> impl Iterator<Item = &KeyOwner> {
        self.owners.iter().filter(move |((of, _), _)| *of == seat).map(|(_, owner)| owner)
    }

    /// How often a provider was asked to ratchet a key.
    pub fn ratchets(&self) -> u64 {
        self.ratchets
    }

    /// All providers have lost what they were given.
    pub fn lose_keys(&mut self) {
        self.providers.clear();
    }

    /// Whose connections there are.
    pub fn connected(&self) -> impl Iterator<Item = End> {
        self.connections.keys().copied()
    }

    /// Whether an engine takes in what others publish.
    pub fn takes_in(&self, seat: Seat) -> bool {
        self.connections.iter().any(|((of, _), it)| *of == seat && it.subscribed)
    }

    /// Whether anything of an engine is left open.
    pub fn is_open(&self, seat: Seat) -> bool {
        let connected = self.connections.keys().any(|(of, _)| *of == seat);
        let tracks = self.tracks.iter().any(|((of, _), tracks)| *of == seat && !tracks.is_empty());
        connected || tracks
    }

    /// The open sources of an engine.
    pub fn tracks(&self, seat: Seat) -> impl Iterator<Item = &FakeTrack> {
        let of_seat = self.tracks.iter().filter(move |((of, _), _)| *of == seat);
        of_seat.flat_map(|(_, tracks)| tracks.values())
    }
}

fn told((seat, call): End, news: SfuNews) -> SfuFollowUp {
    SfuFollowUp { seat, call, after: CONNECT, news }
}

fn name(track: TrackId) -> String {
    format!("TR_{}", track.0)
}

fn shown(id: TrackId, track: &FakeTrack) -> SfuTrack {
    let slot = match track.capture.source {
        MediaSource::Microphone => Slot::Audio,
        MediaSource::Camera => Slot::Video,
        MediaSource::Screen => Slot::Screen,
    };
    SfuTrack { id: name(id), slot, muted: !track.enabled, encrypted: true }
}

/// A one-way street would be a real one; here it is enough that nobody computes it by accident.
fn ratcheted(key: &SecretBytes) -> SecretBytes {
    let mark = KEY_MARK.len();
    let next = key.expose().iter().skip(mark).map(|byte| byte.wrapping_mul(37).wrapping_add(11));
    SecretBytes::new(KEY_MARK.into_iter().chain(next).collect::<Vec<_>>())
}
