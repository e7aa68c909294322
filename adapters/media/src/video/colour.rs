//! Colours of a picture as screens and files want them: red, green, blue.
//!
//! By ITU-R BT.601 with limited range, which is the only colour space of VP8 (RFC 6386 §9.2). Each
//! colour of four pixels is taken as it is, not smoothed.

use super::picture::Picture;

impl Picture {
    /// Red, green and blue of a pixel; `None` outside the picture.
    pub fn colour(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        let (width, height) = self.size().pixels();
        if x >= width || y >= height {
            return None;
        }
        let (x, y, width) = (x as usize, y as usize, width as usize);
        let half = y / 2 * width.div_ceil(2) + x / 2;
        Some(rgb(*self.y.get(y * width + x)?, *self.u.get(half)?, *self.v.get(half)?))
    }

    /// All pixels row by row, three bytes each.
    pub fn to_rgb(&self) -> Vec<u8> {
        let (width, height) = self.size().pixels();
        let mut bytes = Vec::with_capacity(3 * width as usize * height as usize);
        let half = (width as usize).div_ceil(2).max(1);
        let colours = self.u.chunks_exact(half).zip(self.v.chunks_exact(half));
        for (rows, (u, v)) in self.y.chunks(2 * width.max(1) as usize).zip(colours) {
            for row in rows.chunks_exact(width.max(1) as usize) {
                let pixel = |(x, y): (usize, &u8)| rgb(*y, u[x / 2], v[x / 2]);
                bytes.extend(row.iter().enumerate().flat_map(pixel));
            }
        }
        bytes
    }
}

/// In 256ths, rounded.
fn rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    let light = 298 * (i32::from(y) - 16) + 128;
    let (blue, red) = (i32::from(u) - 128, i32::from(v) - 128);
    let sums = [light + 409 * red, light - 100 * blue - 208 * red, light + 516 * blue];
    sums.map(|sum| (sum >> 8).clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::picture::PictureSize;

    /// BT.601's eight bars of full colour, in limited range.
    const BARS: [([u8; 3], [u8; 3]); 8] = [
        ([235, 128, 128], [255, 255, 255]),
        ([210, 16, 146], [255, 255, 0]),
        ([170, 166, 16], [0, 255, 255]),
        ([145, 54, 34], [0, 255, 0]),
        ([106, 202, 222], [255, 0, 255]),
        ([81, 90, 240], [255, 0, 0]),
        ([41, 240, 110], [0, 0, 255]),
        ([16, 128, 128], [0, 0, 0]),
    ];

    #[test]
    fn colour_bars_are_the_colours_that_they_should_be() {
        for ([y, u, v], expected) in BARS {
            let found = rgb(y, u, v);
            let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1);
            assert!(near, "{y} {u} {v}: {found:?}, not {expected:?}");
        }
    }

    #[test]
    fn brightness_out_of_range_is_cut_off() {
        assert_eq!(rgb(255, 128, 128), [255; 3]);
        assert_eq!(rgb(0, 128, 128), [0; 3]);
    }

    #[test]
    fn each_pixel_has_the_colour_of_its_place_in_pictures_of_odd_size_too() {
        let size = PictureSize::decoded(3, 3);
        let (u, v) = (vec![90, 240, 128, 54], vec![240, 110, 128, 34]);
        let picture = Picture::from_planes(size, vec![81, 81, 41, 81, 81, 41, 16, 235, 145], u, v);
        assert_eq!(picture.colour(0, 0), Some(rgb(81, 90, 240)));
        assert_eq!(picture.colour(2, 1), Some(rgb(41, 240, 110)));
        assert_eq!(picture.colour(1, 2), Some([255; 3]));
        assert_eq!(picture.colour(3, 0), None);
        assert_eq!(picture.colour(0, 3), None);
        let all = picture.to_rgb();
        assert_eq!(all.len(), 27);
        for (n, found) in all.chunks(3).enumerate() {
            let (x, y) = (n as u32 % 3, n as u32 / 3);
            assert_eq!(Some(found), picture.colour(x, y).as_ref().map(<[u8; 3]>::as_slice));
        }
    }

    #[test]
    fn planes_that_are_too_short_give_less_and_no_panic() {
        let size = PictureSize::decoded(4, 4);
        let picture = Picture::from_planes(size, vec![16; 5], vec![128; 1], vec![]);
        assert_eq!(picture.colour(0, 0), None);
        assert!(picture.to_rgb().is_empty());
    }
}
