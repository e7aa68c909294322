//! What a call waits for and why, in facts and in sentences.
//!
//! For the person who looks at a call that does not come about, and for the developer whom he
//! asks. [`Explanation`] holds what the machine knows; its `Display` says it:
//!
//! ```text
//! The answer was sent 3.1 s ago, no candidate pair yet: 4 local, 0 remote candidates. In 26.9 s
//! the call is given up.
//! ```
//!
//! No sentence names a user, an address or anything else that is private.

use std::{fmt, time::Duration};

use super::{
    Engine,
    event::{CallState, End, Hold, MessageKind},
    fault::Fault,
    hearing::{Hearing, Microphone},
    io::{MediaSource, PeerState},
    stats::PeerStats,
};
use crate::{
    id::{SessionId, TrackId},
    time::Now,
};

/// What a call waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The call's state.
    pub state: CallState,
    /// What it waits for.
    pub wait: Wait,
    /// For how long it has waited for that.
    pub since: Duration,
    /// When it is given up; `None`: never, or the host's own deadline counts.
    pub left: Option<Duration>,
    /// Who holds it: then silence is what was asked for.
    pub hold: Hold,
    /// How far a change of the call's media is, while there is one.
    pub negotiating: Option<Negotiating>,
    /// Whether our offer, while one is under way, looks for a new path (an ICE restart).
    pub restarting: bool,
    /// When ICE is restarted, while the connection is lost.
    pub restart: Option<Duration>,
    /// The message that is on its way or failed, if there is one.
    pub sending: Option<Sending>,
    /// What the other side can hear of us.
    pub microphone: Microphone,
    /// Whether the other side is heard, or why not. `None`: not connected, held, or nothing could be
    /// measured. The machine itself knows only what their streams say; the rest is measured
    /// ([`CallSession::explain`](crate::CallSession::explain)).
    pub hearing: Option<Hearing>,
    /// The open microphone's track, by which figures name it.
    pub(crate) microphone_track: Option<TrackId>,
}

/// What a call can wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Before the peer connection: all of this, never empty.
    Needs(Vec<Need>),
    /// One thing that the WebRTC engine does.
    Engine(Work),
    /// The homeserver, which has not accepted our invite.
    InviteAccepted,
    /// Somebody at the other side.
    TheirAnswer,
    /// Our user.
    OurAnswer,
    /// The connection, for the first time.
    Path(Path),
    /// The connection, which was lost.
    PathBack(Path),
    /// Nothing: media flows.
    Nothing,
    /// Nothing: it is over.
    Ended(End),
}

/// What must be there before the peer connection is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Need {
    /// The room's members: we were told to call the other one.
    Members,
    /// `proceed()` of the application.
    Permission,
    /// A source is being opened; a person may be asked.
    Source(MediaSource),
    /// TURN credentials of the homeserver.
    Turn,
}

/// What the WebRTC engine does on the way to a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Work {
    /// It opens the peer connection.
    Opening,
    /// It takes their offer.
    TakingTheirs,
    /// It makes our description.
    Describing,
    /// It puts our description into force.
    PuttingIntoForce,
    /// It gathers the first candidates.
    Gathering,
    /// It reads our description back.
    ReadingBack,
}

/// How far a change of the call's media is, once it was connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Negotiating {
    /// Our offer is being made.
    MakingOffer,
    /// Our offer waits for their answer.
    AwaitingAnswer,
    /// Their answer is being put into force.
    TakingAnswer,
    /// Our offer gives way to theirs.
    Yielding,
    /// Their offer is being answered.
    MakingAnswer,
}

/// What is known of a connection that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Path {
    /// The step before it.
    pub before: Before,
    /// How many candidates of ours were found.
    pub local: usize,
    /// How many of theirs we have, in their description and after it.
    pub remote: usize,
    /// What the engine said last.
    pub engine: Option<PeerState>,
}

/// How far the exchange of descriptions is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Before {
    /// Our answer is not yet with the homeserver.
    AnswerLeaving,
    /// The homeserver took our answer so long ago.
    AnswerSent(Duration),
    /// Their answer came; the engine has not yet taken it.
    AnswerTaking,
    /// Their answer is in force.
    AnswerTaken,
}

/// The first message of the call's outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sending {
    /// What it is.
    pub what: MessageKind,
    /// How often it was tried.
    pub tries: u32,
    /// Where it is.
    pub standing: Standing,
}

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// On its way to the homeserver, for so long.
    InFlight(Duration),
    /// It failed for this reason, and is tried again in this time.
    Pausing(Option<Fault>, Duration),
}

impl Explanation {
    /// Of a call that is over, with nothing left to send.
    pub fn ended(end: End) -> Self {
        let wait = Wait::Ended(end);
        Self {
            state: CallState::Ended,
            wait,
            since: Duration::ZERO,
            left: None,
            hold: Hold::default(),
            negotiating: None,
            restarting: false,
            restart: None,
            sending: None,
            microphone: Microphone::Off,
            hearing: None,
            microphone_track: None,
        }
    }

    /// Whether only a measurement tells if one side hears the other.
    pub(crate) fn wants_figures(&self) -> bool {
        self.talks() && (self.hearing.is_none() || self.microphone == Microphone::Open)
    }

    /// What one measurement tells of our microphone.
    pub(crate) fn on_figures(&mut self, stats: &PeerStats) {
        let is_gone = self.microphone_track.is_some_and(|one| stats.without_device.contains(&one));
        if is_gone && self.microphone == Microphone::Open {
            self.microphone = Microphone::Missing;
        }
    }

    /// Whether sound should go both ways.
    fn talks(&self) -> bool {
        self.wait == Wait::Nothing && self.hold == Hold::default()
    }
}

impl Engine {
    /// What a call waits for at `now`, and why; `None` when there is no such call, or none any
    /// more.
    pub fn explain(&self, now: Now, session: SessionId) -> Option<Explanation> {
        self.calls.get(&session)?.explain(now, self.world.turn.is_awaited_by(session))
    }
}

// ------------------------------------------------------------------------------------- sentences

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = Seconds(self.since);
        match &self.wait {
            Wait::Needs(needs) => {
                write!(f, "The call is prepared: for {since} it has waited for {}.", List(needs))?;
            }
            Wait::Engine(work) => {
                write!(f, "The call is prepared: for {since} the WebRTC engine {work}.")?;
            }
            Wait::InviteAccepted => {
                write!(f, "The invite was made {since} ago, the homeserver does not have it yet.")?;
            }
            Wait::TheirAnswer => {
                write!(f, "The invite was sent {since} ago, nobody answered yet.")?
            }
            Wait::OurAnswer => write!(f, "It has rung for {since}: our user has not answered.")?,
            Wait::Path(path) => write!(f, "{path}.")?,
            Wait::PathBack(path) => {
                write!(f, "The connection was lost {since} ago: {}.", Pairs(path))?;
            }
            Wait::Nothing if self.hold == Hold::default() => {
                write!(f, "Media flows, for {since}: nothing is waited for.")?;
            }
            Wait::Nothing => write!(f, "Connected, for {since}: nothing is waited for.")?,
            Wait::Ended(end) => write!(f, "The call is over: {end}.")?,
        }
        if let Some(left) = self.left {
            write!(f, " In {} {}.", Seconds(left), self.fate())?;
        }
        if let Some(restart) = self.restart {
            write!(f, " ICE is restarted in {}.", Seconds(restart))?;
        }
        if let Some(negotiating) = self.negotiating {
            write!(f, " {}.", Offer { negotiating, restarting: self.restarting })?;
        }
        f.write_str(held(self.hold))?;
        self.write_sound(f)?;
        self.sending.as_ref().map_or(Ok(()), |sending| write!(f, " {sending}"))
    }
}

impl Explanation {
    /// Why one side does not hear the other; nothing where both are heard.
    fn write_sound(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.talks() {
            return Ok(());
        }
        match self.hearing {
            None | Some(Hearing::Heard | Hearing::Arriving) => {}
            Some(hearing) => write!(f, " The other side is {hearing}.")?,
        }
        if self.microphone == Microphone::Open {
            return Ok(());
        }
        write!(f, " They do not hear us: our microphone is {}.", self.microphone)
    }

    /// What happens when the time is over.
    fn fate(&self) -> &'static str {
        match self.wait {
            Wait::OurAnswer => "it stops ringing",
            Wait::Ended(_) => "nobody tries to send any more",
            Wait::Needs(_) | Wait::Engine(_) | Wait::InviteAccepted | Wait::TheirAnswer => {
                "the call is given up"
            }
            Wait::Path(_) | Wait::PathBack(_) | Wait::Nothing => "the call is given up",
        }
    }
}

/// Why nothing is heard although media flows.
const fn held(hold: Hold) -> &'static str {
    match (hold.by_us, hold.by_them) {
        (false, false) => "",
        (true, false) => " We hold the other side: neither hears the other.",
        (false, true) => " The other side holds us: neither hears the other.",
        (true, true) => " Both sides hold each other.",
    }
}

/// Tenths of a second.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}

struct List<'a>(&'a [Need]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, need) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { " and " };
            write!(f, "{separator}{need}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Members => "the members of the room",
            Self::Permission => "the application's proceed()",
            Self::Source(MediaSource::Microphone) => "the microphone",
            Self::Source(MediaSource::Camera) => "the camera",
            Self::Source(MediaSource::Screen) => "the screen",
            Self::Turn => "TURN credentials",
        })
    }
}

/// What is being offered, and how far it is.
struct Offer {
    negotiating: Negotiating,
    restarting: bool,
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.restarting { "a new path" } else { "other media" };
        match self.negotiating {
            Negotiating::MakingOffer => write!(f, "Our offer of {what} is being made"),
            Negotiating::AwaitingAnswer => write!(f, "Our offer of {what} waits for their answer"),
            Negotiating::TakingAnswer => {
                write!(f, "Their answer to our offer of {what} is being taken")
            }
            Negotiating::Yielding => write!(f, "Our offer gives way to theirs"),
            Negotiating::MakingAnswer => write!(f, "Their offer is being answered"),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening => "has been opening the peer connection",
            Self::TakingTheirs => "has been taking their offer",
            Self::Describing => "has been making our description",
            Self::PuttingIntoForce => "has been putting our description into force",
            Self::Gathering => "has been gathering candidates",
            Self::ReadingBack => "has been reading our description back",
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.before {
            Before::AnswerLeaving => {
                f.write_str("The answer is made, the homeserver does not have it yet")?
            }
            Before::AnswerSent(ago) => write!(f, "The answer was sent {} ago", Seconds(ago))?,
            Before::AnswerTaking => f.write_str("They answered, and the engine takes it")?,
            Before::AnswerTaken => f.write_str("They answered")?,
        }
        write!(f, ", {}", Pairs(self))
    }
}

/// Why no pair of candidates carries media.
struct Pairs<'a>(&'a Path);

impl fmt::Display for Pairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Path { local, remote, engine, .. } = self.0;
        let verb = match engine {
            Some(PeerState::Connected) => "the engine has a pair",
            _ if *local == 0 || *remote == 0 => "no candidate pair yet",
            Some(PeerState::Connecting) => "the engine tries the pairs",
            Some(PeerState::Disconnected) => "no pair answers at present",
            Some(PeerState::Failed) => "no pair works",
            None => "the engine has not said that it tries",
        };
        write!(f, "{verb}: {local} local, {remote} remote candidates")
    }
}

impl fmt::Display for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, tries, standing } = self;
        match standing {
            Standing::InFlight(span) => {
                write!(f, "Try {tries} to send {what} is {} old.", Seconds(*span))
            }
            Standing::Pausing(fault, left) => {
                write!(f, "Try {tries} to send {what} failed")?;
                if let Some(fault) = fault {
                    write!(f, " ({fault})")?;
                }
                write!(f, "; the next is in {}.", Seconds(*left))
            }
        }
    }
}
