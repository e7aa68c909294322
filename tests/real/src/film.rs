//! Films in files: what our programs are given to show.

use std::path::Path;

use matrix_voip::host::FrameSink;
use matrix_voip_media::{IvfSink, Made, PictureSize, Script, TestPicture};

use crate::failure::{Context, Failure};

/// Pictures of a film: two seconds.
const PICTURES: u32 = 20;

/// Writes a film (VP8 in IVF) of moving pictures of this width and height.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_film(path: &Path, (width, height): (u32, u32)) -> Result<(), Failure> {
    let what = format!("writing {}", path.display());
    let mut pictures = TestPicture::sized(PictureSize::new(width, height), 10);
    let (mut file, _) = IvfSink::create(path).context(&what)?;
    for _ in 0..PICTURES {
        match pictures.make() {
            Made::Frame(frame) => file.push(frame),
            Made::Skipped => return Err(Failure::of(&what, "a picture was not encoded")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use matrix_voip_media::IvfFile;

    use super::*;

    #[test]
    fn a_film_that_is_written_can_be_read() {
        let path = std::env::temp_dir().join("real-unit-tests.ivf");
        write_film(&path, (480, 272)).unwrap();
        let mut film = IvfFile::open(&path).unwrap();
        let mut pictures = 0;
        while film.due().is_some() {
            pictures += u32::from(matches!(film.make(), Made::Frame(_)));
        }
        assert_eq!((pictures, film.size()), (PICTURES, (480, 272)));
    }
}
