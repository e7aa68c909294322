//! The story of one call: all facts folded, and how long each phase of it took.

use std::time::Duration;

use matrix_voip::machine::event::{CallState, End};

use super::fact::{Fact, Gauge, Moment, OtherMicrophone, Path, Who};

/// What is known of one side.
#[derive(Debug, Clone, Default)]
pub(crate) struct SideStory {
    /// The states, each with the time since the call was placed.
    pub(crate) states: Vec<(Duration, CallState)>,
    /// How its call ended.
    pub(crate) end: Option<End>,
    /// The fingerprint of its certificate, as it announced it.
    pub(crate) announced: Option<String>,
    /// The fingerprint of its certificate, as the other side was told.
    pub(crate) told_of: Option<String>,
    /// The path that media takes.
    pub(crate) path: Option<Path>,
    /// When it heard something first.
    pub(crate) first_sound: Option<Duration>,
    /// When it saw something first.
    pub(crate) first_picture: Option<Duration>,
    /// What the other side says of its microphone.
    pub(crate) other_microphone: OtherMicrophone,
    /// The last measurement.
    pub(crate) gauge: Gauge,
}

impl SideStory {
    /// When it came into that state first.
    pub(crate) fn reached(&self, state: CallState) -> Option<Duration> {
        self.states.iter().find(|(_, reached)| *reached == state).map(|(at, _)| *at)
    }

    /// Whether the other side was told of another certificate than its own.
    pub(crate) fn is_forged(&self) -> bool {
        self.announced.is_some() && self.told_of.is_some() && self.announced != self.told_of
    }
}

/// The story of the call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Story {
    ada: SideStory,
    ben: SideStory,
    answer_sent: Option<Duration>,
}

/// One phase of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phase {
    /// From what to what.
    pub(crate) name: &'static str,
    /// How long; `None` when it was not reached.
    pub(crate) took: Option<Duration>,
}

impl Story {
    /// Takes one fact into account.
    pub(crate) fn apply(&mut self, moment: &Moment) {
        let at = moment.at;
        match &moment.fact {
            Fact::State(who, state) => self.of_mut(*who).states.push((at, *state)),
            Fact::Ended(who, end) => {
                let side = self.of_mut(*who);
                side.states.push((at, CallState::Ended));
                side.end = Some(end.clone());
            }
            Fact::Sent(Who::Ben, event) if event.event_type == "m.call.answer" => {
                self.answer_sent.get_or_insert(at);
            }
            Fact::Sent(..) => {}
            Fact::Announced(who, print) => self.of_mut(*who).announced = Some(print.clone()),
            Fact::ToldOf(who, print) => self.of_mut(*who).told_of = Some(print.clone()),
            Fact::Path(who, path) => self.of_mut(*who).path = Some(path.clone()),
            Fact::FirstSound(who) => self.of_mut(*who).first_sound = Some(at),
            Fact::FirstPicture(who) => self.of_mut(*who).first_picture = Some(at),
            Fact::OtherMicrophone(who, how) => self.of_mut(*who).other_microphone = *how,
            Fact::Gauge(who, gauge) => self.of_mut(*who).gauge = *gauge,
        }
    }

    /// What is known of a side.
    pub(crate) const fn of(&self, who: Who) -> &SideStory {
        match who {
            Who::Ada => &self.ada,
            Who::Ben => &self.ben,
        }
    }

    const fn of_mut(&mut self, who: Who) -> &mut SideStory {
        match who {
            Who::Ada => &mut self.ada,
            Who::Ben => &mut self.ben,
        }
    }

    /// Whether media flowed at both sides.
    pub(crate) fn was_connected(&self) -> bool {
        self.at_both(|side| side.reached(CallState::Connected)).is_some()
    }

    /// When the later of the two came to it; `None` unless both did.
    fn at_both(&self, when: impl Fn(&SideStory) -> Option<Duration>) -> Option<Duration> {
        Some(when(&self.ada)?.max(when(&self.ben)?))
    }

    /// The phases, in the order of a call; the last one is the whole way.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        let placed = Some(Duration::ZERO);
        let invited = self.ada.reached(CallState::InviteSent);
        let ringing = self.ben.reached(CallState::Ringing);
        let connected = self.at_both(|side| side.reached(CallState::Connected));
        let sound = self.at_both(|side| side.first_sound);
        let picture = self.at_both(|side| side.first_picture);
        let mut phases = vec![
            phase("placed to invite sent", placed, invited),
            phase("invite sent to ringing", invited, ringing),
            phase("ringing to answer sent", ringing, self.answer_sent),
            phase("answer sent to both connected", self.answer_sent, connected),
            phase("connected to first sound at both", connected, sound),
        ];
        if picture.is_some() {
            phases.push(phase("connected to first picture at both", connected, picture));
        }
        phases.push(phase("in all, placed to first sound", placed, sound));
        phases
    }
}

/// A phase that lasted from one moment to another, if there were both.
pub(crate) fn phase(name: &'static str, from: Option<Duration>, to: Option<Duration>) -> Phase {
    let took = from.zip(to).map(|(from, to)| to.saturating_sub(from));
    Phase { name, took }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::fact::WireEvent;

    fn told(facts: impl IntoIterator<Item = (u64, Fact)>) -> Story {
        let mut story = Story::default();
        for (ms, fact) in facts {
            story.apply(&Moment { at: Duration::from_millis(ms), fact });
        }
        story
    }

    fn answer() -> WireEvent {
        WireEvent { event_type: "m.call.answer".into(), content: String::new() }
    }

    #[test]
    fn phases_follow_each_other_and_add_up() {
        use CallState::{Connected, InviteSent, Preparing, Ringing};
        let story = told([
            (0, Fact::State(Who::Ada, Preparing)),
            (5, Fact::State(Who::Ben, Ringing)),
            (6, Fact::State(Who::Ada, InviteSent)),
            (9, Fact::Sent(Who::Ben, answer())),
            (40, Fact::State(Who::Ben, Connected)),
            (45, Fact::State(Who::Ada, Connected)),
            (70, Fact::FirstSound(Who::Ada)),
            (60, Fact::FirstSound(Who::Ben)),
        ]);
        let took: Vec<_> = story.phases().iter().map(|phase| phase.took).collect();
        let expected = [6, 0, 4, 36, 25, 70].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(took, expected, "ringing may be seen before the caller hears of its sending");
    }

    #[test]
    fn what_was_not_reached_took_no_time() {
        let story = told([(0, Fact::State(Who::Ada, CallState::Preparing))]);
        assert!(story.phases().iter().all(|phase| phase.took.is_none()));
        assert!(!story.was_connected());
    }
}
