//! Policies and timeouts, each with its default and the reason for it.

use std::{collections::BTreeSet, time::Duration};

/// How an engine behaves. Every field has a default; change what you need.
///
/// ```
/// use matrix_voip::{Busy, Config, OnAnswer};
///
/// let mut config = Config::default();
/// config.busy = Busy::Ring;
/// config.on_answer = OnAnswer::EndOther;
/// ```
///
/// Times are taken as they are: with an `invite` of zero no call is answered in time, and with a
/// `longest_invite` or a `max_ringing` of zero nothing ever rings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Config {
    /// All waiting times.
    pub timeouts: Timeouts,
    /// What becomes of an invite while a call is connected.
    pub busy: Busy,
    /// What happens when two users call each other at the same moment.
    pub glare: Glare,
    /// What becomes of the call in which the user talks when another one is answered, by him or, where
    /// he placed it, by them. A group call that meets each with each is such a call too, and entering
    /// one is like answering; but one may be in several of these.
    pub on_answer: OnAnswer,
    /// Whether the other side may ask us to call somebody else instead.
    pub transfers: Transfers,
    /// What becomes of call events from devices that are not verified (encrypted rooms).
    pub unverified: Unverified,
    /// Whether media waits for the application's permission.
    pub proceed: Proceed,
    /// Most calls that ring at once, and most group calls; beyond them an invite or announcement is
    /// `Ignored(TooManyRinging)`.
    /// Default 8: more than a person can look at, few enough for a hostile room.
    pub max_ringing: usize,
    /// Whether only relayed candidates are used, so that the other side learns no address. Without
    /// a TURN server there is then no candidate, and no call connects. Default: no.
    pub relay_only: bool,
    /// Under which state key our memberships of group calls are written.
    pub member_key: MemberKey,
    /// How reactions in group calls are sent.
    pub reactions: ReactionsSent,
    /// Whether the homeserver is asked to take our membership back when we are gone without a word.
    pub delayed_leave: DelayedLeave,
    /// Whether group calls of matrix-js-sdk can be begun and entered.
    pub msc3401: Msc3401,
    /// Under which names the to-device events of group calls are written. Default: as deployed
    /// clients do.
    pub wire_form: WireForm,
    /// How media keys of calls through an SFU are used, where a call is not opened with another
    /// profile. Default: [`KeyProfile::FAMEDLY`].
    pub key_profile: KeyProfile,
    /// Whether our media key is ratcheted for whoever joins.
    pub ratchet: Ratchet,
    /// The token service (`livekit_service_url`) of group calls that we begin. Default: `None`, the
    /// homeserver is asked for one.
    pub livekit_service_url: Option<String>,
    /// Which token services get an OpenID token of ours.
    pub sfu_services: SfuServices,
    /// Who connects to SFUs. `VoIPBuilder::sfu` sets it.
    pub sfu_client: SfuClient,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            busy: Busy::Ignore,
            glare: Glare::AutoAnswer,
            on_answer: OnAnswer::HoldOther,
            transfers: Transfers::Ask,
            unverified: Unverified::Allow,
            proceed: Proceed::Auto,
            max_ringing: 8,
            relay_only: false,
            member_key: MemberKey::Protected,
            reactions: ReactionsSent::InTheClear,
            delayed_leave: DelayedLeave::On,
            msc3401: Msc3401::Off,
            wire_form: WireForm::Deployed,
            key_profile: KeyProfile::default(),
            ratchet: Ratchet::Off,
            livekit_service_url: None,
            sfu_services: SfuServices::Any,
            sfu_client: SfuClient::Application,
        }
    }
}

impl Config {
    /// Whether the host connects to SFUs, and opens sources for them.
    pub(crate) fn host_connects(&self) -> bool {
        self.sfu_client == SfuClient::Host
    }

    /// Whether we say that we can be transferred.
    pub(crate) fn can_be_transferred(&self) -> bool {
        self.transfers == Transfers::Ask
    }

    /// The settings of Famedly's own clients: 60 s of ringing, 10 s for the answer to an offer within
    /// a call (`famedly-dart.md` §4), and glare lets the survivor ring.
    pub fn famedly() -> Self {
        Self {
            glare: Glare::Ring,
            timeouts: Timeouts {
                invite: Duration::from_secs(60),
                negotiate: Duration::from_secs(10),
                ..Timeouts::default()
            },
            ..Self::default()
        }
    }
}

/// Under which names the to-device events of a group call are written; both are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum WireForm {
    /// `com.famedly.call.member.*`: what deployed clients send and take.
    #[default]
    Deployed,
    /// `m.call.*`, as seed 001 documents them, and as matrix-js-sdk writes them.
    Readme,
}

/// What becomes of an invite while a call is *connected*, or while one with the same user in the
/// same room was answered and connects. Not busy is who only rings, and who holds his call himself:
/// he has put it aside and can take the next, as with telephones. Who is held waits in his call,
/// and is busy. Busy is also who is in a group call that meets each with each, unless he holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Busy {
    /// Nothing is sent, `Missed` is reported: our other devices can still ring. The default of
    /// seed 001 and of the specification.
    #[default]
    Ignore,
    /// The invite is rejected with `user_busy`, `Missed` is reported.
    Reject,
    /// The call rings beside the connected one (call waiting).
    Ring,
}

/// What happens to the surviving call when two users call each other at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Glare {
    /// It is answered at once, with nothing that the user had not granted for his own call: the
    /// specification's rule.
    #[default]
    AutoAnswer,
    /// It rings: seed 001's rule.
    Ring,
}

/// What becomes of the call in which the user talks when another one is answered, by him or, where
/// he placed it, by them.
///
/// An incoming call rings beside a connected one under [`Busy::Ring`] only; with the default it is
/// missed, and this is about calls that rang before, and calls of ours.
///
/// Two users have one call with each other: of two with one user in one room the newer takes the
/// place of the older (`EndReason::Replaced`), whatever the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum OnAnswer {
    /// It is put on hold, as telephones do. One that cannot be held (version 0) stands in the way.
    #[default]
    HoldOther,
    /// It is hung up.
    EndOther,
    /// It goes on: to answer or to place another is refused, and one that was placed before ends as
    /// busy (`user_busy`) when it is answered.
    Refuse,
}

/// Whether the other side may ask us to call somebody else instead (`m.call.replaces`, MSC2747).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Transfers {
    /// The application is told and decides. We say that we can be transferred.
    #[default]
    Ask,
    /// No; we say that we cannot be transferred.
    Refuse,
}

/// What becomes of call events that were encrypted by a device which is not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Unverified {
    /// They count like others: most users have verified nobody.
    #[default]
    Allow,
    /// They count, and `UnverifiedDevice` tells of each invite and answer.
    Warn,
    /// They are ignored.
    Refuse,
}

/// Under which state key our memberships of group calls are written. Memberships of others are read
/// under any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum MemberKey {
    /// Under one that nobody else can write: of our device where the room's version has such keys
    /// (MSC3757), else of our user, which all our devices share.
    #[default]
    Protected,
    /// Under one of our device in any room (`DEVICE_@user:server`): devices do not get in each
    /// other's way, and whoever may write memberships can overwrite it. What Famedly's clients do
    /// with `useUnprotectedPerDeviceStateKeys`.
    Device,
}

/// How our reactions in group calls are sent. Those of others, and their removals, are read either
/// way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum ReactionsSent {
    /// In the clear, in encrypted rooms too, as deployed clients do: an emoji says little, it need
    /// not wait for keys, and what takes it back is in the clear anyway. The homeserver sees who
    /// raises a hand.
    #[default]
    InTheClear,
    /// Encrypted where the room is. What takes one back stays in the clear.
    AsTheRoomIs,
}

/// Whether the homeserver writes our leave of a group call when it does not hear from us
/// ([`Timeouts::delayed_leave`], MSC4140): of a process that crashed, of a machine that sleeps or lost
/// its network.
///
/// With it a device that crashed is gone for others within 45 s: the 30 s of the setting, and what
/// homeservers take. Without it, or where the homeserver has no delayed events, within 5 min
/// ([`Timeouts::membership`]). Deployed Famedly clients look at memberships that expired 6 min longer:
/// those without a delayed leave they show up to 11 min; one that was taken back is gone for them too,
/// at the latest with the next event that they look at in the room.
///
/// Devices of a user that share a state key ([`MemberKey::Protected`] in rooms without keys of a
/// device) each leave what the others wrote as they saw it last. Two of them that are gone within the
/// same half minute can bring one of them back, until its membership expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum DelayedLeave {
    /// It does not: nothing is scheduled.
    Off,
    /// It does, where it can; to be in a call never depends on it.
    #[default]
    On,
}

/// Whether group calls in the words of matrix-js-sdk (MSC3401 as it was first, `Backend::Msc3401Mesh`)
/// can be begun and entered. Those of others are shown in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Msc3401 {
    /// They cannot: nothing is written in these words.
    #[default]
    Off,
    /// They can.
    On,
}

/// How a call through an SFU uses its media keys. The clients of a call must agree on it: it is
/// nowhere on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyProfile {
    /// How many keys of a participant are kept at once, 1 to 256; a key's index is below it.
    pub ring_size: u16,
    /// How the key of the cipher is made from what is sent.
    pub derivation: KeyDerivation,
}

impl KeyProfile {
    /// What Famedly's apps have: LiveKit's Flutter SDK with its defaults.
    pub const FAMEDLY: Self = Self { ring_size: 16, derivation: KeyDerivation::Pbkdf2 };
    /// What Element Call has.
    pub const ELEMENT_CALL: Self = Self { ring_size: 256, derivation: KeyDerivation::Hkdf };
}

impl Default for KeyProfile {
    fn default() -> Self {
        Self::FAMEDLY
    }
}

/// Whether our media key is ratcheted for whoever joins a call: a key is computed from the one before,
/// which he does not learn, and goes to him alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Ratchet {
    /// It is not: a fresh one is made, and goes to everybody.
    #[default]
    Off,
    /// It is. On a leave a fresh one is made nevertheless.
    OnJoin,
}

/// Which token services get an OpenID token of ours. It proves to whoever has it who we are, until it
/// expires, and other services take it as well; and which service it goes to the oldest member of a call
/// says (`livekit_service_url` of his membership).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum SfuServices {
    /// Each that a call names, as deployed clients do.
    #[default]
    Any,
    /// These addresses alone, whoever names them, ourselves too. A call at another one is entered, with
    /// [`TokenFault::NotAllowed`](crate::TokenFault) for a token.
    Only(BTreeSet<String>),
}

impl SfuServices {
    /// Only these addresses.
    pub fn only<T: Into<String>>(addresses: impl IntoIterator<Item = T>) -> Self {
        Self::Only(addresses.into_iter().map(Into::into).collect())
    }

    /// Whether the service of this address gets one. Slashes at its end, the case of its host and the
    /// port that it has anyway make no difference.
    pub fn allows(&self, address: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(these) => {
                let address = normalised(address);
                these.iter().any(|one| normalised(one) == address)
            }
        }
    }
}

/// An address of a service, as it is compared.
fn normalised(address: &str) -> String {
    let address = address.trim().trim_end_matches('/');
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    let port = if scheme == "https" { ":443" } else { ":80" };
    format!("{scheme}://{}{path}", host.strip_suffix(port).unwrap_or(&host))
}

/// Who connects to the SFU of a group call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum SfuClient {
    /// The application, by itself: it is told of tokens and keys, and media is its own.
    #[default]
    Application,
    /// The host, when it is asked to (`host::Sfu`): sources are opened, muted and closed through it as
    /// those of a mesh are.
    Host,
}

/// How the key of the cipher is made from what is sent (`livekit.md` §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyDerivation {
    /// PBKDF2 with HMAC-SHA-256, 100 000 rounds.
    Pbkdf2,
    /// HKDF with SHA-256.
    Hkdf,
}

/// Whether a call waits for the application between "it exists" and "media starts". A group call never
/// does: to enter it is the application's permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Proceed {
    /// It does not wait.
    #[default]
    Auto,
    /// It waits for `proceed()`: permissions, CallKit or Telecom, the audio session.
    Manual,
}

/// All waiting times.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Timeouts {
    /// Lifetime of our invites: how long we let it ring. 90 s, the specification's minimum.
    pub invite: Duration,
    /// Longest lifetime that a remote invite is believed. 5 min: nobody rings longer.
    pub longest_invite: Duration,
    /// From the answer until media flows. 30 s: ICE with TURN over a bad link takes 10.
    pub connect: Duration,
    /// How long a lost connection may stay lost before the call ends with `ice_failed`. 30 s, as
    /// deployed clients.
    pub lost: Duration,
    /// How long a lost connection is still shown as connected. 1 s: a change of cell or of the
    /// wireless network's access point takes less.
    pub waver: Duration,
    /// From the loss of a connection until the caller restarts ICE; the callee waits twice as
    /// long, and every further restart twice as long as the one before. 2 s, as deployed clients.
    pub restart_first: Duration,
    /// Lifetime of our offers within a call; unanswered they are made anew. 60 s, as deployed
    /// clients.
    pub negotiate: Duration,
    /// How long gathering may go on before the description is sent without its rest. 200 ms, the
    /// specification's figure.
    pub gather: Duration,
    /// From a candidate until its batch is sent, caller. 2 s, the specification's figure.
    pub candidates_outgoing: Duration,
    /// From a candidate until its batch is sent, callee. 500 ms, the specification's figure.
    pub candidates_incoming: Duration,
    /// First pause after a failed send; doubles up to [`retry_longest`](Self::retry_longest). 1 s:
    /// a hiccup of the network is over by then, and nobody who waits for a ring notices it.
    pub retry_first: Duration,
    /// Longest pause between two tries of a send. 16 s: several tries still fit into the lifetime
    /// of an invite.
    pub retry_longest: Duration,
    /// How long a hangup is tried. 60 s: afterwards it no longer matters, the other side has
    /// noticed.
    pub farewell: Duration,
    /// How long an event that came before its invite is kept. 5 min, as long as an invite can
    /// live: a hangup must outlast an invite that is decrypted late.
    pub parked: Duration,
    /// How long after the other side ended our call as replaced its own call is taken for the one
    /// that replaces it. 5 s: the two leave it at the same moment and may come in either order;
    /// nobody wants to be answered for later, when he has put the phone away.
    pub replacement: Duration,
    /// TURN credentials are fetched again this long before they expire. 60 s: they must last until
    /// ICE is done, which `connect` bounds, and somewhat longer.
    pub turn_margin: Duration,
    /// How long our membership of a group call is believed after it was written. 5 min: what a crash
    /// leaves behind is gone then; deployed Famedly clients show it for 6 min more.
    pub membership: Duration,
    /// From writing our membership until it is written anew. 2 min, as deployed clients: two writes
    /// may fail before it is believed no more.
    pub membership_refresh: Duration,
    /// How long the homeserver waits for a sign of life before it writes our leave of a group call
    /// ([`DelayedLeave`]). 30 s: who crashed is gone for others within 45 s, and a change of network
    /// takes less; deployed Famedly clients have 18 s. Zero: nothing is scheduled.
    pub delayed_leave: Duration,
    /// From one such sign of life until the next. 8 s: three may be lost.
    pub delayed_restart: Duration,
    /// From the failure of a leg of a group call until it is placed anew; doubles up to
    /// [`leg_retry_longest`](Self::leg_retry_longest). 1 s: who left is gone from the room's state by
    /// then.
    pub leg_retry_first: Duration,
    /// Longest pause between two tries of a leg. 30 s.
    pub leg_retry_longest: Duration,
    /// How often it is looked who speaks in a group call; zero: never. 500 ms.
    pub speaker: Duration,
    /// From the leave of a member of a call through an SFU until our media key is made anew; further
    /// leaves prolong it. 4 s, as deployed clients: who leaves and comes back costs nothing.
    pub key_on_leave: Duration,
    /// But no longer than that after the first of them. 8 s.
    pub key_on_leave_longest: Duration,
    /// For how long after it was made our media key is given to who joins; later he gets a fresh one. 8 s,
    /// as deployed clients: a call in which all join at once has one key.
    pub key_reuse: Duration,
    /// From sharing our media key until it is used: so long it may take to the others. 4 s, as deployed
    /// clients.
    pub key_use: Duration,
    /// From the arrival of a member until he is asked for his media key, if it does not come by itself;
    /// doubles with each of 5 requests. 3 s.
    pub key_request: Duration,
    /// A token of an SFU is fetched again this long before it expires, or after half of its time. 60 s.
    pub token_margin: Duration,
    /// From a change of the ledger until it is saved. 50 ms: coalesces bursts, and little is lost
    /// in a crash.
    pub ledger: Duration,
}

impl Timeouts {
    /// The pause after so many failed tries of a send.
    pub(crate) fn retry_pause(&self, tries: u32) -> Duration {
        doubled(self.retry_first, tries).min(self.retry_longest)
    }

    /// The pause after so many failed tries of a leg.
    pub(crate) fn leg_retry_pause(&self, tries: u32) -> Duration {
        doubled(self.leg_retry_first, tries).min(self.leg_retry_longest)
    }
}

/// Twice as long after each try as before.
fn doubled(first: Duration, tries: u32) -> Duration {
    first.saturating_mul(1 << tries.saturating_sub(1).min(16))
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            invite: Duration::from_secs(90),
            longest_invite: Duration::from_secs(300),
            connect: Duration::from_secs(30),
            lost: Duration::from_secs(30),
            waver: Duration::from_secs(1),
            restart_first: Duration::from_secs(2),
            negotiate: Duration::from_secs(60),
            gather: Duration::from_millis(200),
            candidates_outgoing: Duration::from_secs(2),
            candidates_incoming: Duration::from_millis(500),
            retry_first: Duration::from_secs(1),
            retry_longest: Duration::from_secs(16),
            farewell: Duration::from_secs(60),
            parked: Duration::from_secs(300),
            replacement: Duration::from_secs(5),
            turn_margin: Duration::from_secs(60),
            membership: Duration::from_secs(300),
            membership_refresh: Duration::from_secs(120),
            delayed_leave: Duration::from_secs(30),
            delayed_restart: Duration::from_secs(8),
            leg_retry_first: Duration::from_secs(1),
            leg_retry_longest: Duration::from_secs(30),
            speaker: Duration::from_millis(500),
            key_on_leave: Duration::from_secs(4),
            key_on_leave_longest: Duration::from_secs(8),
            key_reuse: Duration::from_secs(8),
            key_use: Duration::from_secs(4),
            key_request: Duration::from_secs(3),
            token_margin: Duration::from_secs(60),
            ledger: Duration::from_millis(50),
        }
    }
}
