//! A group call of a person, from entering to leaving: what is shown meanwhile, and which keys are
//! obeyed.

use std::{collections::BTreeMap, fmt, time::Duration};

use futures::future::BoxFuture;
use matrix_voip::{
    CallMedia, ChangeGroupError, EnterError, GroupCallSession, GroupEnd, GroupEvent, GroupEvents,
    GroupNews, GroupSnapshot, GroupState, MediaSource, ParticipantId, RAISED_HAND, ReactError,
    Stay,
};
use matrix_voip_media::Heard;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    hall::Hall,
    key_words,
    told::Told,
    words::{View, company, marks},
};
use crate::matrix::talk::{
    controls::Controls,
    conversation::{LISTEN, LISTENS_A_LOOK, answered},
    gear,
    keys::{GROUP_HELP, KEYS_ONLY_HELP, Keyboard, Keys, Wish},
    line::StatusLine,
    loudest::Loudest,
};

/// How long the homeserver may take to take our membership back; after that it is told later.
const LEAVING: Duration = Duration::from_secs(5);

/// A group call that a person is in.
pub(super) struct Meeting<'a> {
    call: GroupCallSession,
    me: ParticipantId,
    told: Told,
    present: GroupSnapshot,
    events: GroupEvents,
    hall: &'a Hall,
    controls: Controls,
    line: StatusLine,
    entering: Option<BoxFuture<'static, Result<(), EnterError>>>,
    /// Pictures that are being kept.
    saving: Option<BoxFuture<'static, Vec<gear::Kept>>>,
    entered: Option<Instant>,
    /// When it is left, whatever the homeserver says.
    leaving: Option<Instant>,
    /// The loudest of each since the line was shown, and how often it was listened.
    loudest: BTreeMap<ParticipantId, Loudest>,
    listened: u32,
    /// How long to stay; `None`: until the person leaves.
    length: Option<Duration>,
}

/// How it went.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// Why we could not enter.
    pub(super) refused: Option<EnterError>,
    end: Option<GroupEnd>,
    /// How long we were in it.
    stayed: Option<Duration>,
}

impl Outcome {
    /// Whether we were in it, and left because we wanted to.
    pub(super) fn is_good(&self) -> bool {
        self.stayed.is_some() && matches!(self.end, None | Some(GroupEnd::Empty))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            None => f.write_str("left")?,
            Some(end) => write!(f, "left: {end}")?,
        }
        match self.stayed {
            Some(stayed) => write!(f, ", after {:.0} s", stayed.as_secs_f64()),
            None => f.write_str(", never in the call"),
        }
    }
}

impl<'a> Meeting<'a> {
    pub(super) fn new(call: GroupCallSession, me: ParticipantId, hall: &'a Hall) -> Self {
        let (present, events) = call.subscribe();
        Self {
            call,
            told: Told::new(me.clone()),
            me,
            present,
            events,
            hall,
            controls: Controls::of(hall.kit()),
            line: StatusLine::new(),
            entering: None,
            saving: None,
            entered: None,
            leaving: None,
            loudest: BTreeMap::new(),
            listened: 0,
            length: None,
        }
    }

    /// Enters when it runs, with this. Keys do not wait for the homeserver.
    pub(super) fn enter(mut self, media: CallMedia) -> Self {
        let call = self.call.clone();
        self.entering = Some(Box::pin(async move { call.enter_with(media).await }));
        self
    }

    /// Leaves by itself after a time.
    pub(super) fn staying(mut self, length: Option<Duration>) -> Self {
        self.length = length;
        self
    }

    /// Goes on until we have left. A terminal stays as the keys want it.
    pub(super) async fn run(mut self, keys: &mut Keys) -> Outcome {
        let (keyboard, help) = match self.present.backend.is_sfu() {
            true => (Keyboard::of_keys_only(), KEYS_ONLY_HELP),
            false => (Keyboard::of_group(), GROUP_HELP),
        };
        if keys.read_keyboard(keyboard) {
            self.line.print(help);
            if let Some(help) = self.controls.help() {
                self.line.print(&help);
            }
        }
        let mut ticks = interval(LISTEN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refused = None;
        while refused.is_none() && !self.has_left() {
            tokio::select! {
                news = self.events.next() => match news {
                    Some(news) => self.on_news(&news),
                    None => {
                        refused = self.refusal().await;
                        break;
                    }
                },
                entered = answered(&mut self.entering) => match entered {
                    // The state says so too, in its place among the other news.
                    Ok(()) => {}
                    Err(why) => refused = self.refused(why),
                },
                kept = answered(&mut self.saving) => self.tell_pictures(&kept),
                wish = keys.next() => self.obey(wish).await,
                told = self.controls.next() => self.line.print(&told),
                _ = ticks.tick() => self.on_tick().await,
            }
        }
        if self.saving.is_some() {
            // Nobody else writes these files when they are written for the last time.
            let kept = answered(&mut self.saving).await;
            self.tell_pictures(&kept);
        }
        self.line.end();
        let stayed = self.entered.map(|since| since.elapsed());
        Outcome { refused, end: self.present.end, stayed }
    }

    fn has_left(&self) -> bool {
        let is_out = matches!(self.present.state, GroupState::Idle | GroupState::Ended);
        self.leaving.is_some_and(|until| is_out || Instant::now() >= until)
    }

    /// Why we are not in a call that is over.
    async fn refusal(&mut self) -> Option<EnterError> {
        let answer = self.entering.take()?.await;
        answer.err().and_then(|why| self.refused(why))
    }

    /// Who leaves before he was in it has wanted so.
    fn refused(&self, why: EnterError) -> Option<EnterError> {
        self.leaving.is_none().then_some(why)
    }

    fn on_news(&mut self, news: &GroupNews) {
        if let GroupNews::Event(event) = news
            && let Some(told) = self.words(event)
        {
            self.line.print(&told);
        }
        let before = self.present.state;
        news.apply(&mut self.present);
        if self.present.state != before {
            self.on_state();
        }
    }

    fn words(&mut self, event: &GroupEvent) -> Option<String> {
        let told = self.told.on_event(event, &self.present, Instant::now());
        told.or_else(|| key_words::on_event(event))
    }

    fn on_state(&mut self) {
        if self.present.state == GroupState::Entered && self.entered.is_none() {
            self.entered = Some(Instant::now());
            let company = company(&self.present, &self.me);
            self.line.print(&format!("you are in the call, {company}"));
        }
        self.show();
    }

    async fn on_tick(&mut self) {
        let over = self.entered.zip(self.length).is_some_and(|(at, long)| at.elapsed() >= long);
        if over && self.leaving.is_none() {
            self.leave().await;
        }
        for told in self.told.overdue(&self.present, Instant::now()) {
            self.line.print(&told);
        }
        let is_other = self.controls.on_tick();
        self.listen();
        self.listened += 1;
        if self.line.is_live() && (is_other || self.listened >= LISTENS_A_LOOK) {
            self.show();
        }
    }

    fn listen(&mut self) {
        let ours = self.loudest.entry(self.me.clone()).or_default();
        ours.look(Heard::default(), self.controls.said());
        for one in &self.present.participants {
            let now = self.hall.now(&one.id);
            self.loudest.entry(one.id.clone()).or_default().look(now, None);
        }
    }

    async fn obey(&mut self, wish: Wish) {
        if let Some(is_another) = self.controls.obey(&wish) {
            if is_another && self.line.is_live() {
                self.show();
            }
            return;
        }
        let call = self.call.clone();
        let microphone = MediaSource::Microphone;
        let done = match wish {
            Wish::HangUp => return self.leave().await,
            Wish::ToggleMute if self.is_muted() => call.unmute(microphone).await,
            Wish::ToggleMute => call.mute(microphone).await,
            Wish::ToggleHold if self.present.held => call.unhold().await,
            Wish::ToggleHold => call.hold().await,
            Wish::ToggleCamera => self.toggle(MediaSource::Camera, "camera").await,
            Wish::ToggleScreen => self.toggle(MediaSource::Screen, "screen").await,
            Wish::Snapshot => {
                let hall = self.hall.clone();
                self.saving.get_or_insert_with(|| Box::pin(hall.snapshots()));
                return;
            }
            Wish::Who => {
                self.print_who();
                Ok(())
            }
            Wish::Explain => {
                self.line.print(&call.explain().await.to_string());
                if let Some(told) = self.controls.explain() {
                    self.line.print(&told);
                }
                Ok(())
            }
            Wish::AskForKeys => self.ask_for_keys().await,
            Wish::ToggleHand => return self.reacted(self.toggle_hand().await),
            Wish::React(shown) => {
                return self.reacted(call.react(shown, Stay::Ephemeral).await);
            }
            // No key of a group call means these, or they were obeyed.
            Wish::Push(_)
            | Wish::NextDevice(_)
            | Wish::Tone(_)
            | Wish::RestartIce
            | Wish::Follow
            | Wish::TogglePicture
            | Wish::Typing(_)
            | Wish::Transfer(_) => Ok(()),
        };
        match done {
            Ok(()) => self.show(),
            Err(why) => self.line.print(&why.to_string()),
        }
    }

    fn tell_pictures(&self, kept: &[gear::Kept]) {
        kept.iter().for_each(|line| self.line.print(line.as_ref().unwrap_or_else(|why| why)));
    }

    /// Asks everybody, whoever's key we have.
    async fn ask_for_keys(&self) -> Result<(), ChangeGroupError> {
        let all = self.present.participants.iter().map(|one| &one.id);
        let others: Vec<_> = all.filter(|one| **one != self.me).cloned().collect();
        let asked = others.len();
        self.call.request_encryption_keys(others).await?;
        self.line.print(&format!("asked {asked} for keys"));
        Ok(())
    }

    async fn toggle(&self, source: MediaSource, mark: &str) -> Result<(), ChangeGroupError> {
        let ours = self.present.streams.get(&self.me).map(Vec::as_slice).unwrap_or_default();
        let shows = marks(ours).contains(&mark);
        match shows {
            true => self.call.stop(source).await,
            false => self.call.start(source).await,
        }
    }

    async fn toggle_hand(&self) -> Result<(), ReactError> {
        let ours = self.present.reactions.get(&self.me);
        match ours.is_some_and(|shown| shown.contains(RAISED_HAND)) {
            true => self.call.lower_hand().await,
            false => self.call.raise_hand().await,
        }
    }

    /// What comes of a reaction is told as that of everybody's.
    fn reacted(&self, done: Result<(), ReactError>) {
        if let Err(why) = done {
            self.line.print(&why.to_string());
        }
    }

    async fn leave(&mut self) {
        if self.present.backend.is_sfu() && self.leaving.is_none() {
            self.line.print(&self.call.explain().await.to_string());
        }
        self.line.print("leaving");
        self.leaving.get_or_insert_with(|| Instant::now() + LEAVING);
        // Our membership is taken back by itself, whatever comes of this.
        drop(self.call.leave().await);
    }

    fn is_muted(&self) -> bool {
        self.present.muted.get(&MediaSource::Microphone).copied().unwrap_or_default()
    }

    fn print_who(&self) {
        let senses = |who: &ParticipantId| self.senses(who);
        self.view(&senses).who().iter().for_each(|line| self.line.print(line));
    }

    fn show(&mut self) {
        // Of what passes until we are out the last line tells.
        if self.leaving.is_some() {
            return;
        }
        self.listen();
        let senses = |who: &ParticipantId| self.senses(who);
        self.line.show(&self.view(&senses).line());
        self.loudest.clear();
        self.listened = 0;
    }

    fn senses(&self, who: &ParticipantId) -> (Heard, u64) {
        let mut loudest = self.loudest.get(who).copied().unwrap_or_default();
        loudest.look(self.hall.now(who), None);
        (loudest.heard(), self.hall.pictures(who))
    }

    fn view<'v>(&'v self, senses: &'v dyn Fn(&ParticipantId) -> (Heard, u64)) -> View<'v> {
        let talking = self.entered.map(|since| since.elapsed());
        // Through an SFU nothing is said.
        let push = self.controls.mark().filter(|_| !self.present.backend.is_sfu());
        let said = self.loudest.get(&self.me).and_then(Loudest::said).map(|level| level.rms);
        let said = said.filter(|_| !self.present.backend.is_sfu());
        View { call: &self.present, me: &self.me, talking, push, said, senses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_in_the_call_and_wanted_to_leave_is_content() {
        let outcome = |end, stayed: Option<u64>| Outcome {
            refused: None,
            end,
            stayed: stayed.map(Duration::from_secs),
        };
        let left = outcome(None, Some(12));
        assert_eq!((left.to_string().as_str(), left.is_good()), ("left, after 12 s", true));
        let last = outcome(Some(GroupEnd::Empty), Some(3));
        let words = "left: nobody is left, after 3 s";
        assert_eq!((last.to_string().as_str(), last.is_good()), (words, true));
        assert!(!outcome(Some(GroupEnd::LoggedOut), Some(3)).is_good());
        assert!(!outcome(None, None).is_good());
    }
}
