//! Every bound on what others can make grow, in one place.
//!
//! What is beyond a bound is left and counted (`Ignored::TooMany`); the call goes on. Bounds on
//! one event (its size, its candidates, its streams) stand in [`wire`](crate::wire); the number
//! of ringing calls is a setting, [`Config::max_ringing`](crate::config::Config).

use std::time::Duration;

/// How many event ids are remembered against duplicates; the oldest is forgotten first.
pub const MAX_SEEN: usize = 4096;
/// How many calls that are over are remembered against ringing again, and how many invites that
/// were nothing to us; the oldest is forgotten first.
pub const MAX_OVER: usize = 2048;
/// How many events of one room wait for their invite; the oldest is dropped first.
pub const MAX_PARKED_PER_ROOM: usize = 64;
/// In how many rooms events wait for their invite.
pub const MAX_PARKED_ROOMS: usize = 256;
/// How many calls of one user ring at once, so that nobody takes all the places that
/// [`Config::max_ringing`](crate::config::Config) gives.
pub const MAX_RINGING_PER_CALLER: usize = 3;
/// How many invites are being refused at once (`Busy::Reject`, glare); those beyond are left to
/// their own end, or a flood of them would make us flood the room.
pub const MAX_PARTINGS: usize = 32;
/// How many calls of ours that the other side ended as replaced wait for what replaces them; the
/// oldest is forgotten first. A user calls few people at once.
pub const MAX_VACANT: usize = 8;
/// Most candidates of one side of one call.
pub const MAX_CANDIDATES: usize = 256;
/// Of how many parties candidates are kept before one is chosen.
pub const MAX_PARTIES: usize = 8;
/// Most remote tracks of one call.
pub const MAX_TRACKS: usize = 16;
/// How often the other side of one call may ask for a transfer.
pub const MAX_TRANSFERS: usize = 4;
/// How many calls that a transfer named are expected at once, of others or of us; the oldest is
/// forgotten first.
pub const MAX_EXPECTED: usize = 8;
/// Most messages of one call that wait to be sent. Only candidates and metadata can pile up, and
/// both are merged while they wait.
pub const MAX_QUEUED: usize = 32;
/// After how many failed tries candidates are given up.
pub const MAX_CANDIDATE_TRIES: u32 = 6;
/// After how many offers within a call that nobody answered, each a lifetime long, the change is
/// given up.
pub const MAX_UNANSWERED_OFFERS: u32 = 3;
/// How many live and how many ended calls stand in the ledger; the newest are kept. More would
/// not fit into its bytes.
pub const MAX_LEDGER_ENTRIES: usize = 256;
/// How many memberships of group calls one room has; those beyond are counted and left.
pub const MAX_MEMBERSHIPS_PER_ROOM: usize = 4096;
/// How many of them one user has, on all his devices.
pub const MAX_CLAIMS_PER_USER: usize = 16;
/// How many group calls of one room are shown.
pub const MAX_GROUP_CALLS_PER_ROOM: usize = 64;
/// How many permanent reactions one participant of a group call shows.
pub const MAX_REACTIONS_PER_PARTICIPANT: usize = 16;
/// How many reactions of one participant are heard in a second.
pub const MAX_REACTIONS_PER_SECOND: u32 = 10;
/// How many reactions of one group call are heard in a second, whosever they are.
pub const MAX_REACTIONS_OF_CALL_PER_SECOND: u32 = 100;
/// Of how many events it is remembered that they show the same reaction of one participant: some
/// clients send it anew with each membership.
pub const MAX_REACTION_EVENTS: usize = 8;
/// How many permanent reactions of one room wait for the membership that they refer to, and how many
/// removals are known of what was not heard yet.
pub const MAX_EARLY_REACTIONS: usize = 64;
/// How many of them one user has.
pub const MAX_EARLY_REACTIONS_PER_USER: usize = 4;
/// How many of a visit's member events are known, so that what refers to an earlier one counts.
pub const MAX_MEMBER_EVENTS: usize = 8;
/// How many announcements wait for the membership that they refer to; the oldest is dropped first.
pub const MAX_WAITING_RINGS: usize = 32;
/// Of how many users it is told that they declined one call of ours.
pub const MAX_DECLINES: usize = 256;
/// From how many events of ours around the group calls of one room on, that wait to be accepted, no more
/// reactions are taken. What else goes out (declines, redactions) is no more than what was shown.
pub const MAX_POSTS: usize = 64;
/// How many pages of the homeserver's delayed events are looked through for what a crash left.
pub const MAX_DELAYED_PAGES: usize = 8;
/// How many delayed leaves of one room wait to be cancelled; those beyond fire.
pub const MAX_CANCELLING: usize = 32;
/// After how many failed tries a delayed leave is left to fire, and a list is not asked for again.
pub const MAX_DELAYED_TRIES: u32 = 5;
/// How many legs one group call has: with more participants nobody's machine keeps up. Those that come
/// later are in the call, and out of our reach.
pub const MAX_LEGS: usize = 64;
/// How many legs to one user, on all his devices, begin in a minute. Where he calls, those beyond are
/// left; where we do, they wait.
pub const MAX_LEGS_BEGUN_PER_USER: usize = 32;
/// Of how many devices to-device messages wait for a membership, in one group call.
pub const MAX_PARKED_MEMBERS: usize = 32;
/// Of how many devices of one user, so that nobody takes all these places.
pub const MAX_PARKED_PER_USER: usize = 4;
/// How many messages of one such device wait; the oldest is dropped first.
pub const MAX_PARKED_PER_MEMBER: usize = 64;
/// How many bytes of descriptions and candidates they have together; beyond it, too, the oldest is
/// dropped first.
pub const MAX_PARKED_BYTES_PER_MEMBER: usize = 256 * 1024;
/// How many numbers of a leg's messages are remembered against duplicates.
pub const MAX_SEEN_NUMBERS: usize = 256;
/// After how many failed tries a device gets no more of one media key of ours: but once more with each
/// membership of ours that the homeserver takes, and the next key.
pub const MAX_KEY_TRIES: u32 = 6;
/// Between two fresh media keys of ours, however often somebody comes and goes: so that those that wait
/// for their use are fewer than any ring has places.
pub const KEY_PAUSE: Duration = Duration::from_secs(1);
/// Between two answers to one device that asks for our media key: a request that comes sooner is no use
/// to an honest one.
pub const KEY_ANSWER_PAUSE: Duration = Duration::from_secs(2);
/// Between two requests for the media key of one member whom whoever decrypts cannot read: it says so
/// with every frame.
pub const KEY_MISS_PAUSE: Duration = Duration::from_secs(10);
/// By so much the media key of a member who comes again may overtake the news that he does.
pub const KEY_OVERTAKES: Duration = Duration::from_secs(10);
/// How often the provider is asked to ratchet a key that it does not have, before a fresh one is made.
pub const MAX_RATCHETS: u32 = 9;
/// How often in a row a token for an SFU is asked for, with growing pauses some four minutes long; then
/// whenever our membership is written anew, and when the network is back.
pub const MAX_TOKEN_TRIES: u32 = 20;
/// How often whoever connects is asked to take in what others publish, or not, while he fails.
pub const MAX_SUBSCRIBE_TRIES: u32 = 6;
/// How often a member is asked for his media key.
pub const MAX_KEY_REQUESTS: u32 = 5;
/// How many media keys of others are with the provider at once, each of another member.
pub const MAX_KEYS_GIVEN: usize = 4;
/// How many keys of one member wait for the provider; the oldest is dropped first.
pub const MAX_KEYS_WAITING: usize = 16;
/// How many keys of one member the provider is given without a pause between them.
pub const MAX_KEYS_AT_ONCE: u32 = 8;
/// How many media keys of a device wait for its membership.
pub const MAX_EARLY_KEYS: usize = 4;
/// Of how many participants of an SFU something is known, members or not.
pub const MAX_SFU_PARTICIPANTS: usize = 1024;
/// How many tracks one participant of an SFU has.
pub const MAX_SFU_TRACKS: usize = 16;
