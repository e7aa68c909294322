//! Whether the call was what it should be, and if not, why: decided from the story alone.

use std::time::Duration;

use matrix_voip::{machine::event::EndReason, wire::call::Reason};

use super::{
    fact::{OtherMicrophone, Sound, Who},
    story::{SideStory, Story},
    wrong::{CallWrong, PictureWrong, SoundWrong, Wrong},
};
use crate::cli::Engine;

/// A tone may be this far off, in Hz: several times what Opus and the ear make of it, a fraction
/// of the distance between the two tones.
const TOLERANCE_HZ: f32 = 10.0;

/// The right tone holds at least this share of all energy.
const LEAST_SHARE: f32 = 0.8;

/// The right tone keeps its level within this factor, up or down.
const LEVEL_FACTOR: f32 = 2.0;

/// What should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Expected {
    /// The tone that Ada should hear, in Hz.
    pub(crate) ada_hears: f32,
    /// The tone that Ben should hear, in Hz.
    pub(crate) ben_hears: f32,
    /// The amplitude of both, 0 to 1.
    pub(crate) level: f32,
    /// How long they talk.
    pub(crate) talk: Duration,
    /// What they should see.
    pub(crate) view: View,
    /// By which engine.
    pub(crate) engine: Engine,
}

/// What should be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// Nothing: a voice call.
    Nothing,
    /// The test picture, this many a second.
    TestPicture(u32),
    /// Pictures of this width and height.
    File(u32, u32),
}

impl Expected {
    /// The tone that this side should hear, in Hz.
    pub(crate) const fn heard_by(&self, who: Who) -> f32 {
        match who {
            Who::Ada => self.ada_hears,
            Who::Ben => self.ben_hears,
        }
    }

    fn sound_for(&self, who: Who) -> Wanted {
        Wanted { hz: self.heard_by(who), level: self.level, least: self.talk / 2 }
    }
}

/// The sound that somebody should have heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wanted {
    /// The tone, in Hz.
    pub(crate) hz: f32,
    /// Its amplitude, 0 to 1.
    pub(crate) level: f32,
    /// How long at least.
    pub(crate) least: Duration,
}

impl Wanted {
    /// What is wrong with what was heard instead; `microphone` is what its owner says of it.
    pub(crate) fn missed_by(
        &self,
        heard: &Sound,
        microphone: OtherMicrophone,
    ) -> Option<SoundWrong> {
        let Some(tone) = heard.tone else {
            return Some(SoundWrong::Silence { instead_of: self.hz, microphone });
        };
        let factor = tone.level / self.level;
        if !is_tone(tone.hz, self.hz) {
            Some(SoundWrong::WrongTone { heard: tone.hz, instead_of: self.hz })
        } else if tone.share < LEAST_SHARE {
            Some(SoundWrong::Impure(tone.share))
        } else if !(1.0 / LEVEL_FACTOR..=LEVEL_FACTOR).contains(&factor) {
            Some(SoundWrong::WrongLevel { heard: tone.level, instead_of: self.level })
        } else {
            (heard.length < self.least).then_some(SoundWrong::TooShort(heard.length))
        }
    }
}

/// Whether what was heard is that tone, both in Hz.
pub(crate) fn is_tone(heard: f32, hz: f32) -> bool {
    (heard - hz).abs() <= TOLERANCE_HZ
}

/// All that is wrong with the call, the first cause first; empty when it was what it should be.
pub(crate) fn judge(story: &Story, expected: &Expected) -> Vec<Wrong> {
    if !story.was_connected() {
        return vec![Wrong::Call(unconnected(story))];
    }
    let sides = || Who::BOTH.into_iter().map(|who| (who, story.of(who)));
    let broken = sides().filter_map(|(who, side)| broke_off(who, side)).map(Wrong::Call);
    let sound = sides().filter_map(|(who, side)| {
        let wanted = expected.sound_for(who);
        let wrong = wanted.missed_by(&side.gauge.overall, side.other_microphone);
        wrong.map(|wrong| Wrong::Sound(who, wrong))
    });
    let picture = sides()
        .filter_map(|(who, side)| seen(side, expected).map(|wrong| Wrong::Picture(who, wrong)));
    broken.chain(sound).chain(picture).collect()
}

fn unconnected(story: &Story) -> CallWrong {
    let ends = || Who::BOTH.into_iter().filter_map(|who| Some((who, story.of(who).end.clone()?)));
    // A hangup only passes on what the other side found wrong.
    let first = ends().find(|(_, end)| end.reason != EndReason::Hangup).or_else(|| ends().next());
    let forged = Who::BOTH.into_iter().find(|who| story.of(*who).is_forged());
    match (first.as_ref().map(|(_, end)| &end.reason), forged) {
        (Some(EndReason::InviteTimeout), _) => CallWrong::NobodyAnswered,
        // Either side may notice first, and tell the other.
        (Some(EndReason::IceFailed | EndReason::Remote(Reason::IceFailed)), forged) => {
            forged.map_or(CallWrong::NoPath, CallWrong::Forged)
        }
        _ => CallWrong::NeverConnected(first),
    }
}

fn broke_off(who: Who, side: &SideStory) -> Option<CallWrong> {
    let end = side.end.clone()?;
    (end.reason != EndReason::Hangup).then_some(CallWrong::BrokeOff(who, end))
}

fn seen(side: &SideStory, expected: &Expected) -> Option<PictureWrong> {
    if expected.view == View::Nothing {
        return None;
    }
    let seen = side.gauge.pictures.unwrap_or_default();
    let Some((width, height)) = seen.size else {
        return Some(PictureWrong::Nothing);
    };
    match expected.view {
        View::Nothing => None,
        View::TestPicture(rate) => {
            let least = (expected.talk * rate).as_secs() / 2;
            let advanced = u64::from(seen.last_number.unwrap_or(0)) >= least;
            (seen.numbered < least || !advanced).then_some(PictureWrong::Stuck(seen))
        }
        View::File(..) => (expected.view != View::File(width, height))
            .then_some(PictureWrong::Size(width, height)),
    }
}

#[cfg(test)]
mod tests {
    use matrix_voip::machine::event::{CallState, End, EndParty};

    use super::*;
    use crate::demo::fact::{Fact, Gauge, Moment, OtherMicrophone, Pictures, Sound, Tone};

    const EXPECTED: Expected = Expected {
        ada_hears: 660.0,
        ben_hears: 440.0,
        level: 0.2,
        talk: Duration::from_secs(4),
        view: View::Nothing,
        engine: Engine::Str0m,
    };

    fn told(facts: impl IntoIterator<Item = Fact>) -> Story {
        let mut story = Story::default();
        for fact in facts {
            story.apply(&Moment { at: Duration::ZERO, fact });
        }
        story
    }

    fn tone(who: Who, hz: f32, level: f32) -> Fact {
        let tone = Some(Tone { hz, level, share: 0.99 });
        let overall = Sound { rms: level * 0.7, tone, length: Duration::from_secs(4) };
        Fact::Gauge(who, Gauge { overall, ..Gauge::default() })
    }

    fn ended(who: Who, reason: EndReason) -> Fact {
        Fact::Ended(who, End { party: EndParty::Local, reason })
    }

    fn connected() -> impl Iterator<Item = Fact> {
        Who::BOTH
            .into_iter()
            .flat_map(|who| [Fact::State(who, CallState::Connected), ended(who, EndReason::Hangup)])
    }

    fn good() -> impl Iterator<Item = Fact> {
        connected().chain([tone(Who::Ada, 661.0, 0.19), tone(Who::Ben, 439.0, 0.21)])
    }

    fn wrong(more: impl IntoIterator<Item = Fact>) -> Vec<Wrong> {
        judge(&told(good().chain(more)), &EXPECTED)
    }

    #[test]
    fn the_right_tones_are_right() {
        assert_eq!(wrong([]), []);
    }

    #[test]
    fn swapped_tones_are_wrong_at_both_sides() {
        let said = wrong([tone(Who::Ada, 440.0, 0.2), tone(Who::Ben, 660.0, 0.2)]);
        assert_eq!(said.len(), 2);
        assert_eq!(said[0].to_string(), "ada heard the wrong tone: 440 Hz instead of 660 Hz");
    }

    #[test]
    fn silence_names_the_muted_microphone() {
        let silent = || Fact::Gauge(Who::Ben, Gauge::default());
        let said = wrong([silent()]);
        assert_eq!(said[0].to_string(), "ben heard silence instead of 440 Hz");
        let said = wrong([silent(), Fact::OtherMicrophone(Who::Ben, OtherMicrophone::Muted)]);
        assert!(said[0].to_string().ends_with("ada's microphone is muted"));
    }

    #[test]
    fn a_tone_far_too_low_or_short_is_wrong() {
        let low = SoundWrong::WrongLevel { heard: 0.05, instead_of: 0.2 };
        assert_eq!(wrong([tone(Who::Ben, 440.0, 0.05)]), [Wrong::Sound(Who::Ben, low)]);
        let story = told(good());
        let longer = Expected { talk: Duration::from_secs(9), ..EXPECTED };
        assert_eq!(judge(&story, &longer).len(), 2);
    }

    #[test]
    fn each_way_not_to_connect_has_its_own_words() {
        let unconnected = |facts: Vec<Fact>| judge(&told(facts), &EXPECTED);
        let call = |wrong| vec![Wrong::Call(wrong)];
        let failed = || ended(Who::Ben, EndReason::IceFailed);
        assert_eq!(
            unconnected(vec![ended(Who::Ada, EndReason::InviteTimeout)]),
            call(CallWrong::NobodyAnswered)
        );
        assert_eq!(unconnected(vec![failed()]), call(CallWrong::NoPath));
        let announced = Fact::Announced(Who::Ada, "sha-256 AB".into());
        let told = Fact::ToldOf(Who::Ada, "sha-256 00".into());
        assert_eq!(unconnected(vec![announced, told, failed()]), call(CallWrong::Forged(Who::Ada)));
        assert_eq!(unconnected(vec![]), call(CallWrong::NeverConnected(None)));
    }

    #[test]
    fn a_call_that_breaks_off_is_wrong_although_the_tones_were_right() {
        let said = wrong([ended(Who::Ben, EndReason::IceFailed)]);
        assert_eq!(said[0].to_string(), "ben's call broke off: IceFailed (local)");
    }

    #[test]
    fn the_test_picture_must_move() {
        let expected = Expected { view: View::TestPicture(10), ..EXPECTED };
        let seen = |who, last_number| {
            let Fact::Gauge(who, gauge) = tone(who, EXPECTED.heard_by(who), 0.2) else {
                unreachable!()
            };
            let pictures = Pictures {
                shown: 38,
                numbered: 38,
                missing: 0,
                last_number: Some(last_number),
                size: Some((320, 240)),
            };
            Fact::Gauge(who, Gauge { pictures: Some(pictures), ..gauge })
        };
        let moving = told(good().chain([seen(Who::Ada, 39), seen(Who::Ben, 39)]));
        assert_eq!(judge(&moving, &expected), []);
        let stuck = told(good().chain([seen(Who::Ada, 39), seen(Who::Ben, 0)]));
        assert!(matches!(
            judge(&stuck, &expected)[..],
            [Wrong::Picture(Who::Ben, PictureWrong::Stuck(_))]
        ));
        assert_eq!(judge(&told(good()), &expected).len(), 2, "no picture at all");
    }
}
