//! How loud sound is, as a bar of a few cells. Pure.

/// Cells of a bar.
const CELLS: usize = 8;

/// Softer than this is an empty bar, in dB of full scale.
const FLOOR: f32 = -60.0;

/// A bar of eight cells, from nothing to full scale; `rms` from 0 to 1.
pub(super) fn bar(rms: f32) -> String {
    let decibels = 20.0 * rms.max(0.0).log10();
    let full = ((1.0 - decibels / FLOOR) * CELLS as f32).round().clamp(0.0, CELLS as f32) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(CELLS - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_the_sound_is_loud() {
        assert_eq!(bar(0.0), "░░░░░░░░");
        assert_eq!(bar(f32::NAN), "░░░░░░░░");
        assert_eq!(bar(0.032), "████░░░░", "-30 dB");
        assert_eq!(bar(9.0), "████████");
    }
}
