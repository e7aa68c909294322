//! A picture as blocks of a terminal: each character is two pixels, one above the other. Pure.

use std::fmt::Write;

use matrix_voip_media::Picture;

/// Most characters side by side, and one below the other.
pub(super) const MOST: (u16, u16) = (64, 36);

/// A pixel is the mean of at most so many by so many of the picture's.
const SAMPLES: u32 = 4;

/// The character: its upper half has the first colour, its lower half the second.
const HALVES: char = '▀';

/// Back to the terminal's own colours.
const PLAIN: &str = "\x1b[0m";

type Rgb = [u8; 3];

/// Which colours a terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    /// All of them.
    Full,
    /// 256: a cube of 6 x 6 x 6, and 24 greys.
    Palette,
}

impl Colours {
    /// What the environment says of the terminal; `None`: pictures are not for it.
    pub(super) fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let terminal = set("TERM")?;
        if set("NO_COLOR").is_some() || ["dumb", "linux"].contains(&terminal.as_str()) {
            return None;
        }
        Some(match set("COLORTERM").as_deref() {
            Some("truecolor" | "24bit") => Self::Full,
            _ => Self::Palette,
        })
    }

    /// How one colour is chosen; `layer` is 38 for the upper half, 48 for the lower.
    fn choose(self, layer: u8, colour: Rgb, into: &mut String) {
        let written = match self {
            Self::Full => {
                let [red, green, blue] = colour;
                write!(into, "\x1b[{layer};2;{red};{green};{blue}m")
            }
            Self::Palette => write!(into, "\x1b[{layer};5;{}m", palette(colour)),
        };
        written.expect("invariant: a string takes everything");
    }
}

/// The lines of a picture, as large as `room` (characters across and down) and [`MOST`] allow; none
/// where there is no room. Each line ends in the terminal's own colours.
pub(super) fn lines(picture: &Picture, room: (u16, u16), colours: Colours) -> Vec<String> {
    let (width, height) = fitting(picture.size().pixels(), room);
    let row = |top: u32| {
        let (mut line, mut before) = (String::new(), [None; 2]);
        for x in 0..width {
            // What hangs over the lower edge repeats the last row.
            let now = [top, (top + 1).min(height - 1)];
            let now = now.map(|y| mean(picture, (x, y), (width, height)));
            for (half, layer) in [38, 48].into_iter().enumerate() {
                if before[half] != Some(now[half]) {
                    colours.choose(layer, now[half], &mut line);
                }
            }
            before = now.map(Some);
            line.push(HALVES);
        }
        line + PLAIN
    };
    (0..height).step_by(2).map(row).collect()
}

/// The size in pixels, two to a character: as large as it can be in the picture's own shape.
fn fitting((width, height): (u32, u32), room: (u16, u16)) -> (u32, u32) {
    let (across, down) = (room.0.min(MOST.0), 2 * room.1.min(MOST.1));
    if width == 0 || height == 0 || across == 0 || down == 0 {
        return (0, 0);
    }
    let (across, down) = (u32::from(across), u32::from(down));
    // Whichever is reached first. Both sides of the comparison fit: they are products of 16 bits.
    let is_wide = u64::from(width) * u64::from(down) >= u64::from(height) * u64::from(across);
    let scaled = |side: u32, by: u32, of: u32| {
        let scaled = u64::from(side) * u64::from(by) / u64::from(of);
        u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
    };
    match is_wide {
        true => (across, scaled(height, across, width).min(down)),
        false => (scaled(width, down, height).min(across), down),
    }
}

/// The mean colour of that part of the picture which a pixel of the smaller one covers.
fn mean(picture: &Picture, (x, y): (u32, u32), (width, height): (u32, u32)) -> Rgb {
    let (all_across, all_down) = picture.size().pixels();
    let (columns, rows) = (samples(x, width, all_across), samples(y, height, all_down));
    let (mut sums, mut count) = ([0_u32; 3], 0);
    for y in rows {
        for colour in columns.clone().filter_map(|x| picture.colour(x, y)) {
            sums.iter_mut().zip(colour).for_each(|(sum, part)| *sum += u32::from(part));
            count += 1;
        }
    }
    sums.map(|sum| u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX))
}

/// Places along one side, spread over the `nth` of `parts` parts.
fn samples(nth: u32, parts: u32, side: u32) -> impl Iterator<Item = u32> + Clone {
    let edge = |nth: u32| (u64::from(nth) * u64::from(side) / u64::from(parts)) as u32;
    let (from, to) = (edge(nth), edge(nth + 1));
    let covered = (to - from).max(1);
    let count = covered.min(SAMPLES);
    (0..count).map(move |sample| from + (2 * sample + 1) * covered / (2 * count))
}

/// The nearest of 256 colours: of the cube, or a grey.
fn palette(colour: Rgb) -> u8 {
    /// The six steps of the cube, in each colour.
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let near = |part: u8| (0..STEPS.len()).min_by_key(|step| STEPS[*step].abs_diff(part));
    let cube = colour.map(|part| near(part).unwrap_or_default());
    let light = (u32::from(colour[0]) + u32::from(colour[1]) + u32::from(colour[2])) / 3;
    // Greys are 8, 18 … 238.
    let grey = (light.saturating_sub(3) / 10).min(23) as u8;
    let far = |other: Rgb| -> u32 {
        let parts = colour.iter().zip(other);
        parts.map(|(one, other)| u32::from(one.abs_diff(other)).pow(2)).sum()
    };
    if far([8 + 10 * grey; 3]) < far(cube.map(|step| STEPS[step])) {
        return 232 + grey;
    }
    cube.iter().fold(0, |index, step| 6 * index + *step as u8) + 16
}

#[cfg(test)]
mod tests {
    use matrix_voip_media::PictureSize;

    use super::*;

    fn picture(width: u32, height: u32) -> Picture {
        Picture::test(PictureSize::new(width, height), 5)
    }

    fn grey(brightness: u8) -> Picture {
        let mut picture = picture(320, 240);
        picture.y.fill(brightness);
        picture.u.fill(128);
        picture.v.fill(128);
        picture
    }

    fn blocks(line: &str) -> usize {
        line.chars().filter(|letter| *letter == HALVES).count()
    }

    #[test]
    fn a_picture_keeps_its_shape_within_the_room_and_the_bound() {
        for (size, room, expected) in [
            ((320, 240), (80, 24), (64, 48)),
            ((320, 240), (200, 200), (64, 48)),
            ((320, 240), (200, 10), (26, 20)),
            ((240, 320), (200, 200), (54, 72)),
            ((1280, 720), (40, 24), (40, 22)),
            ((1280, 64), (10, 10), (10, 1)),
            ((320, 240), (1, 1), (1, 1)),
            ((320, 240), (0, 24), (0, 0)),
        ] {
            assert_eq!(fitting(size, room), expected, "{size:?} in {room:?}");
        }
    }

    #[test]
    fn each_line_is_as_wide_as_the_others_and_ends_plain() {
        let lines = lines(&picture(320, 240), (40, 24), Colours::Full);
        assert_eq!(lines.len(), 15);
        for line in &lines {
            assert_eq!(blocks(line), 40);
            assert!(line.ends_with("▀\x1b[0m"));
        }
    }

    #[test]
    fn one_colour_is_chosen_once_a_line() {
        let white = &lines(&grey(235), (3, 3), Colours::Full)[0];
        assert_eq!(white, "\x1b[38;2;255;255;255m\x1b[48;2;255;255;255m▀▀▀\x1b[0m");
        let black = &lines(&grey(16), (2, 3), Colours::Palette)[0];
        assert_eq!(black, "\x1b[38;5;16m\x1b[48;5;16m▀▀\x1b[0m");
    }

    #[test]
    fn the_upper_half_is_the_upper_pixel() {
        let mut halves = grey(16);
        halves.y[..320 * 120].fill(235);
        let room = (1, 1);
        let line = &lines(&halves, room, Colours::Palette)[0];
        // 4:3 in one column of two pixels is one pixel: the mean, in both halves.
        assert_eq!(line, "\x1b[38;5;244m\x1b[48;5;244m▀\x1b[0m");
        let mut tall = Picture::test(PictureSize::new(160, 320), 0);
        tall.u.fill(128);
        tall.v.fill(128);
        tall.y.fill(16);
        tall.y[..160 * 160].fill(235);
        let line = &lines(&tall, room, Colours::Palette)[0];
        assert_eq!(line, "\x1b[38;5;231m\x1b[48;5;16m▀\x1b[0m");
    }

    #[test]
    fn an_odd_row_at_the_lower_edge_is_there() {
        // 64 x 25 pixels.
        assert_eq!(lines(&picture(640, 250), (64, 36), Colours::Full).len(), 13);
    }

    #[test]
    fn colours_of_the_palette_are_near_what_they_stand_for() {
        for (colour, index) in [
            ([0, 0, 0], 16),
            ([255, 255, 255], 231),
            ([255, 0, 0], 196),
            ([0, 255, 0], 46),
            ([0, 0, 255], 21),
            ([128, 128, 128], 244),
            ([20, 20, 20], 233),
        ] {
            assert_eq!(palette(colour), index, "{colour:?}");
        }
    }

    #[test]
    fn a_terminal_says_what_it_has() {
        let of = |variables: &'static [(&str, &str)]| {
            Colours::of(move |name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[("TERM", "xterm"), ("COLORTERM", "truecolor")]), Some(Colours::Full));
        assert_eq!(of(&[("TERM", "xterm"), ("COLORTERM", "24bit")]), Some(Colours::Full));
        assert_eq!(of(&[("TERM", "screen-256color")]), Some(Colours::Palette));
        assert_eq!(of(&[("TERM", "dumb"), ("COLORTERM", "truecolor")]), None);
        assert_eq!(of(&[("TERM", "xterm"), ("NO_COLOR", "1")]), None);
        assert_eq!(of(&[("TERM", "xterm"), ("NO_COLOR", "")]), Some(Colours::Palette));
        assert_eq!(of(&[]), None);
    }
}
