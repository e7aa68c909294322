//! One call, from its first state to its end: what is shown meanwhile, and which keys are obeyed.

use std::time::Duration;

use futures::future::BoxFuture;
use matrix_voip::{
    CallEvent, CallEvents, CallNews, CallSession, CallSnapshot, CallState, ChangeError, End,
    EndReason, MediaSource, MuteError, PeerStats, Side,
    id::UserId,
    machine::io::MediaKind,
    wire::{call::Reason, metadata::Purpose},
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    controls::Controls,
    gear::Gear,
    keys::{HELP, Keyboard, Keys, Wish},
    line::StatusLine,
    loudest::Loudest,
    mirror::Mirror,
    status::Status,
    still::Still,
    transfers::Transfers,
};

/// Between two looks at the ear: it tells of the last 85 ms.
pub(super) const LISTEN: Duration = Duration::from_millis(80);

/// How often it listens before the line is shown anew, with the loudest of what was heard: short
/// sounds between two looks would be missed.
pub(super) const LISTENS_A_LOOK: u32 = 6;

/// A call that a person is in.
pub(crate) struct Conversation<'a> {
    call: CallSession,
    present: CallSnapshot,
    events: CallEvents,
    gear: &'a Gear,
    controls: Controls,
    line: StatusLine,
    mirror: Mirror,
    still: Still,
    /// Statistics that the engine was asked for, to be shown when they come. Keys do not wait.
    asked: Option<BoxFuture<'static, Option<PeerStats>>>,
    /// A camera or a screen that is being switched on or off.
    change: Option<BoxFuture<'static, Result<(), ChangeError>>>,
    connected: Option<Instant>,
    /// The loudest since the line was shown, and how often it was listened.
    loudest: Loudest,
    listened: u32,
    /// A user id that is being typed.
    typing: Option<String>,
    transfers: &'a mut Transfers,
    /// How long to talk; `None`: until somebody hangs up.
    length: Option<Duration>,
}

/// How a conversation went.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) end: Option<End>,
    pub(crate) talked: Option<Duration>,
}

impl Outcome {
    /// Whether the other side has called at the same moment, and its call goes on instead.
    pub(crate) fn is_replaced(&self) -> bool {
        let reason = self.end.as_ref().map(|end| &end.reason);
        matches!(reason, Some(EndReason::Replaced | EndReason::Remote(Reason::Replaced)))
    }

    /// Whether the other side went away so that somebody else can talk to us.
    pub(crate) fn is_transferred(&self) -> bool {
        let reason = self.end.as_ref().map(|end| &end.reason);
        matches!(reason, Some(EndReason::Remote(Reason::Transferred)))
    }

    /// Whether people talked, and nothing but a hangup or a transfer ended it.
    pub(crate) fn is_good(&self) -> bool {
        use EndReason::{Hangup, Remote, Transferred};
        let reason = self.end.as_ref().map(|end| &end.reason);
        let meant = matches!(reason, Some(Hangup | Remote(_) | Transferred));
        self.talked.is_some() && meant
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.end {
            Some(end) => write!(f, "ended: {end}")?,
            None => f.write_str("ended")?,
        }
        if self.end.as_ref().is_some_and(|end| end.reason == EndReason::LoggedOut) {
            // Of other ends the library does not tell whether the goodbye has left.
            f.write_str(", with no goodbye sent")?;
        }
        match self.talked {
            Some(talked) => write!(f, ", after {:.0} s", talked.as_secs_f64()),
            None => f.write_str(", never connected"),
        }
    }
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(
        call: CallSession,
        gear: &'a Gear,
        transfers: &'a mut Transfers,
        length: Option<Duration>,
    ) -> Self {
        let (present, events) = call.subscribe();
        let line = StatusLine::new();
        let (mirror, still) = (Mirror::new(gear.eye.clone(), &line), gear.still());
        let (loudest, listened) = (Loudest::default(), 0);
        Self {
            call,
            present,
            events,
            gear,
            controls: Controls::of(gear.kit.as_ref()),
            line,
            mirror,
            still,
            asked: None,
            change: None,
            connected: None,
            loudest,
            listened,
            typing: None,
            transfers,
            length,
        }
    }

    /// Goes on until the call has ended. A terminal stays as the keys want it.
    pub(crate) async fn run(mut self, keys: &mut Keys) -> Outcome {
        if keys.read_keyboard(Keyboard::of_call()) {
            self.line.print(HELP);
            if let Some(help) = self.controls.help() {
                self.line.print(&help);
            }
        }
        let mut ticks = interval(LISTEN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.ask();
        loop {
            tokio::select! {
                news = self.events.next() => {
                    let Some(news) = news else { break };
                    let before = self.present.state;
                    self.tell(&news);
                    news.apply(&mut self.present);
                    if self.present.state != before {
                        self.on_state(before);
                    }
                }
                stats = answered(&mut self.asked) => self.show(self.present.state, stats),
                done = answered(&mut self.change) => {
                    if let Err(why) = done {
                        self.line.print(&why.to_string());
                    }
                }
                wish = keys.next() => self.obey(wish).await,
                told = self.transfers.next() => self.line.print(&told),
                told = self.controls.next() => self.line.print(&told),
                told = self.still.next() => self.line.print(&told),
                _ = ticks.tick() => self.on_tick().await,
            }
        }
        self.still.finish().await;
        self.line.end();
        let talked = self.connected.map(|since| since.elapsed());
        Outcome { end: self.present.end, talked }
    }

    fn on_state(&mut self, before: CallState) {
        if self.asked.take().is_some() {
            // It went by before the engine has answered.
            self.show(before, None);
        }
        if self.present.state == CallState::Connected && self.connected.is_none() {
            self.connected = Some(Instant::now());
        }
        if self.present.state != CallState::Ended {
            self.ask();
        }
    }

    async fn on_tick(&mut self) {
        let over = self.connected.zip(self.length).is_some_and(|(at, long)| at.elapsed() >= long);
        if over {
            return self.hang_up().await;
        }
        let is_other = self.controls.on_tick();
        self.listen();
        self.mirror.look(&self.line);
        self.listened += 1;
        if self.line.is_live() && (is_other || self.listened >= LISTENS_A_LOOK) {
            self.ask();
        }
    }

    fn listen(&mut self) {
        self.loudest.look(self.gear.ear.now(), self.controls.said());
    }

    /// What went wrong beside the call.
    fn tell(&self, news: &CallNews) {
        match news {
            CallNews::Event(CallEvent::NegotiationFailed) => {
                self.line.print("the other side does not take that");
            }
            CallNews::Event(CallEvent::TransferFailed) => {
                self.line.print("the transfer could not be asked for");
            }
            CallNews::Event(_) | CallNews::Skipped { .. } => {}
        }
    }

    async fn obey(&mut self, wish: Wish) {
        if let Some(is_another) = self.controls.obey(&wish) {
            if is_another && self.line.is_live() {
                self.ask();
            }
            return;
        }
        let call = self.call.clone();
        let done = match wish {
            Wish::HangUp => {
                self.line.print("hanging up");
                self.hang_up().await;
                Ok(())
            }
            Wish::ToggleMute => {
                // Before there is a microphone nothing can be muted, and nothing is heard either.
                drop(self.toggle_mute().await);
                Ok(())
            }
            Wish::ToggleHold if self.present.hold.by_us => call.unhold().await,
            Wish::ToggleHold => call.hold().await,
            Wish::ToggleCamera => self.toggle(MediaSource::Camera),
            Wish::ToggleScreen => self.toggle(MediaSource::Screen),
            Wish::Tone(tone) => call.dtmf(tone.encode_utf8(&mut [0; 4])).await,
            Wish::RestartIce => call.restart_ice().await,
            Wish::Typing(so_far) => {
                self.typing = so_far;
                self.show(self.present.state, None);
                Ok(())
            }
            Wish::Transfer(user) => return self.transfer(&user).await,
            Wish::Follow => return self.follow().await,
            Wish::Snapshot => return self.still.take().unwrap_or_else(|why| self.line.print(why)),
            Wish::TogglePicture => {
                let toggled = self.mirror.toggle(&self.line);
                return toggled.unwrap_or_else(|why| self.line.print(why));
            }
            Wish::Explain => {
                self.line.print(&call.explain().await.to_string());
                if let Some(told) = self.controls.explain() {
                    self.line.print(&told);
                }
                Ok(())
            }
            // No key of a call between two means these, or they were obeyed.
            Wish::Push(_)
            | Wish::NextDevice(_)
            | Wish::Who
            | Wish::AskForKeys
            | Wish::ToggleHand
            | Wish::React(_) => Ok(()),
        };
        if let Err(why) = done {
            self.line.print(&why.to_string());
        }
    }

    async fn toggle_mute(&self) -> Result<(), MuteError> {
        let source = MediaSource::Microphone;
        match self.is_muted() {
            true => self.call.unmute(source).await,
            false => self.call.mute(source).await,
        }
    }

    /// A person may be asked for his consent: the call goes on meanwhile, and can be hung up.
    fn toggle(&mut self, source: MediaSource) -> Result<(), ChangeError> {
        let (call, shows) = (self.call.clone(), self.shows(source));
        self.change.get_or_insert_with(|| {
            Box::pin(async move {
                if shows { call.stop(source).await } else { call.start(source).await }
            })
        });
        Ok(())
    }

    async fn transfer(&mut self, user: &str) {
        self.typing = None;
        let asked = match UserId::parse(user) {
            Ok(user) => self.call.transfer_to(user, None).await.map_err(|why| why.to_string()),
            Err(why) => Err(why.to_string()),
        };
        if let Err(why) = asked {
            self.line.print(&format!("transfer: {why}"));
        }
    }

    /// Our call ends with it, and that one is the next.
    async fn follow(&mut self) {
        if let Err(why) = self.transfers.follow(self.gear.media).await {
            self.line.print(&why.to_string());
        }
    }

    async fn hang_up(&self) {
        // The call's own end follows, whatever comes of this.
        drop(self.call.hangup().await);
    }

    fn is_muted(&self) -> bool {
        self.present.muted.get(&MediaSource::Microphone).copied().unwrap_or_default()
    }

    /// Whether we send pictures of that source.
    fn shows(&self, source: MediaSource) -> bool {
        let purpose = match source {
            MediaSource::Screen => Purpose::Screenshare,
            _ => Purpose::UserMedia,
        };
        let stream = self.present.stream(Side::Local, &purpose);
        stream.is_some_and(|stream| stream.kinds.contains(&MediaKind::Video))
    }

    fn marks(&self) -> Vec<&'static str> {
        let hold = self.present.hold;
        let marks = [
            (self.is_muted(), "muted"),
            (hold.by_us, "on hold by us"),
            (hold.by_them, "on hold by them"),
            (self.shows(MediaSource::Camera), "camera"),
            (self.shows(MediaSource::Screen), "screen"),
        ];
        let marks = marks.into_iter().filter_map(|(is, mark)| is.then_some(mark));
        // Who is muted is not heard, whatever he holds.
        self.controls.mark().filter(|_| !self.is_muted()).into_iter().chain(marks).collect()
    }

    /// Asks for what the line shows, unless that is under way.
    fn ask(&mut self) {
        if self.present.state < CallState::Connecting {
            self.asked = None;
            return self.show(self.present.state, None);
        }
        let call = self.call.clone();
        self.asked.get_or_insert_with(|| Box::pin(async move { call.stats().await.ok() }));
    }

    fn show(&mut self, state: CallState, stats: Option<PeerStats>) {
        self.listen();
        self.listened = 0;
        let (heard, said) = self.loudest.take();
        let status = Status {
            state,
            talking: self.connected.map(|since| since.elapsed()),
            stats,
            said: said.map(|level| level.rms),
            heard,
            pictures: self.gear.eye.report().shown,
            marks: self.marks(),
        };
        match &self.typing {
            Some(user) => self.line.show(&format!("transfer to (user id, Return): {user}")),
            None => self.line.show(&status.within(self.line.columns())),
        }
    }
}

/// What was asked for, once: it is over then. Cancel safe.
pub(super) async fn answered<T>(asked: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(answer) = asked else { return std::future::pending().await };
    let answer = answer.await;
    *asked = None;
    answer
}

#[cfg(test)]
mod tests {
    use matrix_voip::EndParty;

    use super::*;

    #[test]
    fn an_end_that_the_other_side_does_not_hear_of_is_told() {
        let outcome = |reason| {
            let end = Some(End { party: EndParty::Local, reason });
            let talked = Some(Duration::from_secs(3));
            Outcome { end, talked }.to_string()
        };
        let lost = "ended: logged out, by us, with no goodbye sent, after 3 s";
        assert_eq!(outcome(EndReason::LoggedOut), lost);
        assert_eq!(outcome(EndReason::Hangup), "ended: hung up, by us, after 3 s");
    }
}
