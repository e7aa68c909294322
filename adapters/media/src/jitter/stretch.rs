//! Sound made shorter or longer by one period of the voice, which nobody hears.
//!
//! Speech repeats itself every 2.5 to 15 ms. Where two periods are alike, one of them can be left out,
//! or be played twice, with a cross-fade over the length of it. In silence any length is alike.

use std::collections::VecDeque;

/// Sound that has to be there before it can be changed: 40 ms.
pub(super) const NEEDED: usize = 1_920;

/// Shortest and longest period that is looked for: 2.5 and 15 ms.
const PERIODS: std::ops::RangeInclusive<usize> = 120..=720;

/// How much sound is compared with what is a period later: 10 ms.
const COMPARED: usize = 480;

/// Only every fourth sample is compared, and every fourth period tried, before it is looked closer.
const COARSE: usize = 4;

/// How alike two periods have to be; 1 is the same.
const ALIKE: f32 = 0.85;

/// Mean square below which sound is silence: -60 dB of full scale.
const SILENCE: f32 = 1e-6;

/// How much is changed in silence, and by force where nothing is alike: 10 ms.
const PLAIN: usize = 480;

/// Whether sound may be changed where it is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// Only where nobody hears it.
    Unheard,
    /// Wherever it is: the delay has to go.
    Forced,
}

/// Leaves one period out. `None`: there is too little sound, or it would be heard.
pub(super) fn shorten(sound: &mut VecDeque<f32>, care: Care) -> Option<usize> {
    let period = period(sound.make_contiguous(), care)?;
    let faded =
        fade(sound, period, |at, weight| sound[at] * (1.0 - weight) + sound[at + period] * weight);
    sound.drain(..period);
    faded.into_iter().enumerate().for_each(|(at, sample)| sound[at] = sample);
    Some(period)
}

/// Plays one period twice. `None`: there is too little sound, or it would be heard.
pub(super) fn lengthen(sound: &mut VecDeque<f32>) -> Option<usize> {
    let period = period(sound.make_contiguous(), Care::Unheard)?;
    // After the first period: back to its beginning, out of what follows it.
    let faded =
        fade(sound, period, |at, weight| sound[at + period] * (1.0 - weight) + sound[at] * weight);
    let first: Vec<f32> = sound.iter().copied().take(period).collect();
    sound.iter_mut().zip(faded).for_each(|(sample, faded)| *sample = faded);
    first.into_iter().rev().for_each(|sample| sound.push_front(sample));
    Some(period)
}

/// One period of `mix(sample, weight)`, with the weight from 0 to 1.
fn fade(sound: &VecDeque<f32>, period: usize, mix: impl Fn(usize, f32) -> f32) -> Vec<f32> {
    debug_assert!(sound.len() >= 2 * period, "looked for in less than {NEEDED}");
    (0..period).map(|at| mix(at, at as f32 / period as f32)).collect()
}

/// The length that may be left out or repeated.
fn period(sound: &[f32], care: Care) -> Option<usize> {
    if sound.len() < NEEDED {
        return None;
    }
    if energy(&sound[..COMPARED]) / COMPARED as f32 <= SILENCE {
        return Some(PLAIN);
    }
    let (_, about) = most_alike(sound, PERIODS.step_by(COARSE))?;
    let near =
        (about - (COARSE - 1)).max(*PERIODS.start())..=(about + COARSE - 1).min(*PERIODS.end());
    let (likeness, period) = most_alike(sound, near)?;
    (likeness >= ALIKE || care == Care::Forced).then_some(period)
}

/// The period after which the sound is most like its beginning, and how alike it is.
fn most_alike(sound: &[f32], periods: impl Iterator<Item = usize>) -> Option<(f32, usize)> {
    let beginning = energy(&sound[..COMPARED]);
    let likeness = |period: usize| {
        let later = &sound[period..period + COMPARED];
        let product: f32 =
            sound[..COMPARED].iter().zip(later).map(|(one, other)| one * other).sum();
        product / ((beginning * energy(later)).sqrt() + f32::EPSILON)
    };
    periods.map(|period| (likeness(period), period)).max_by(|one, other| one.0.total_cmp(&other.0))
}

fn energy(sound: &[f32]) -> f32 {
    sound.iter().map(|sample| sample * sample).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tone::Tone;

    fn tone(hz: f32) -> VecDeque<f32> {
        Tone::new(hz, 0.3).take(NEEDED).collect()
    }

    /// The greatest step from one sample to the next: a click is one.
    fn step(sound: &VecDeque<f32>) -> f32 {
        let later = sound.iter().skip(1);
        sound.iter().zip(later).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_voice_is_changed_by_whole_periods_and_without_a_click() {
        for hz in [90.0, 130.0, 220.0, 390.0] {
            let before = tone(hz);
            for change in
                [|sound: &mut _| shorten(sound, Care::Unheard), |sound: &mut _| lengthen(sound)]
            {
                let mut after = before.clone();
                let by = change(&mut after).unwrap();
                assert_eq!(after.len().abs_diff(before.len()), by);
                let periods = by as f32 * hz / 48_000.0;
                assert!((periods - periods.round()).abs() < 0.02, "{periods} periods of {hz} Hz");
                assert!(step(&after) < step(&before) * 1.1, "{hz} Hz");
            }
        }
    }

    #[test]
    fn noise_is_left_alone_unless_the_delay_has_to_go() {
        let mut random = fastrand::Rng::with_seed(7);
        let noise: VecDeque<f32> = (0..NEEDED).map(|_| random.f32() - 0.5).collect();
        let mut sound = noise.clone();
        assert_eq!(shorten(&mut sound, Care::Unheard), None);
        assert_eq!(lengthen(&mut sound), None);
        assert_eq!(sound, noise);
        let by = shorten(&mut sound, Care::Forced).unwrap();
        assert_eq!(sound.len(), NEEDED - by);
    }

    #[test]
    fn silence_is_changed_at_once_and_too_little_sound_never() {
        let mut silence = VecDeque::from(vec![0.0; NEEDED]);
        assert_eq!(shorten(&mut silence, Care::Unheard), Some(PLAIN));
        assert_eq!(shorten(&mut silence, Care::Forced), None, "less than {NEEDED} is left");
        assert_eq!(lengthen(&mut VecDeque::new()), None);
    }
}
