//! One picture as a PNG file.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::picture::Picture;
use crate::error::{FileKind, WriteError};

const KIND: FileKind = FileKind::Png;

impl Picture {
    /// Writes it as PNG: eight bits each of red, green and blue, sRGB.
    ///
    /// # Errors
    /// [`WriteError`] when the output takes no more.
    pub fn write_png(&self, output: impl Write) -> Result<(), WriteError> {
        let (width, height) = self.size().pixels();
        let mut encoder = png::Encoder::new(output, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
        let written = encoder.write_header().and_then(|mut writer| {
            writer.write_image_data(&self.to_rgb())?;
            writer.finish()
        });
        written.map_err(|error| WriteError { kind: KIND, what: error.to_string() })
    }

    /// Writes it into this file, whole or not at all: whoever reads it meanwhile, and whatever
    /// happens, finds the former file or this one. What is there is replaced.
    ///
    /// # Errors
    /// [`WriteError`] when it cannot be written; the former file is untouched then.
    pub fn save_png(&self, path: &Path) -> Result<(), WriteError> {
        let beside = beside(path).map_err(WriteError::of(KIND))?;
        let written = self.write_new(&beside);
        let moved = written.and_then(|()| fs::rename(&beside, path).map_err(WriteError::of(KIND)));
        if moved.is_err() {
            // It may not even be there.
            drop(fs::remove_file(&beside));
        }
        moved
    }

    fn write_new(&self, path: &Path) -> Result<(), WriteError> {
        let file = File::create(path).map_err(WriteError::of(KIND))?;
        let mut output = BufWriter::new(file);
        self.write_png(&mut output)?;
        let file = output.into_inner().map_err(|error| error.into_error());
        // Without that a crash of the machine could leave an empty file under the right name.
        file.and_then(|file| file.sync_all()).map_err(WriteError::of(KIND))
    }
}

/// Whether pictures can be written there, found out by writing a file beside that name; nothing that
/// is there is touched.
///
/// # Errors
/// [`WriteError`]: they cannot.
pub fn probe_png(path: &Path) -> Result<(), WriteError> {
    if path.is_dir() {
        return Err(WriteError::of(KIND)(io::ErrorKind::IsADirectory.into()));
    }
    let beside = beside(path).map_err(WriteError::of(KIND))?;
    let made = File::create(&beside).map_err(WriteError::of(KIND));
    made.and_then(|_| fs::remove_file(&beside).map_err(WriteError::of(KIND)))
}

/// The hidden name under which a file is written before it gets its own; in the same folder, since
/// files are only renamed within one.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.part", std::process::id()));
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{testkit::FullDisk, video::picture::PictureSize};

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("media-still-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_png_file_holds_the_pictures_pixels() {
        let picture = Picture::test(PictureSize::new(160, 96), 77);
        let mut bytes = Vec::new();
        picture.write_png(&mut bytes).unwrap();
        let mut reader = png::Decoder::new(io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, info.color_type), (160, 96, png::ColorType::Rgb));
        assert_eq!(pixels, picture.to_rgb());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let folder = folder("replaced");
        let path = folder.join("seen.png");
        let size = PictureSize::new(160, 96);
        for number in [1, 2] {
            let picture = Picture::test(size, number);
            picture.save_png(&path).unwrap();
            let mut expected = Vec::new();
            picture.write_png(&mut expected).unwrap();
            assert_eq!(fs::read(&path).unwrap(), expected);
        }
        assert_eq!(names(&folder), ["seen.png"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn where_it_cannot_be_written_nothing_changes() {
        let folder = folder("refused");
        let picture = Picture::test(PictureSize::new(160, 96), 1);
        // A folder of that name takes no file's place.
        let path = folder.join("taken");
        fs::create_dir(&path).unwrap();
        for path in [path, folder.join("nowhere/seen.png"), folder.join("..")] {
            assert!(picture.save_png(&path).is_err(), "{path:?}");
            assert!(probe_png(&path).is_err(), "{path:?}");
        }
        assert_eq!(names(&folder), ["taken"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn asking_whether_it_can_be_written_leaves_everything_as_it_was() {
        let folder = folder("probed");
        let path = folder.join("seen.png");
        probe_png(&path).unwrap();
        assert!(names(&folder).is_empty());
        fs::write(&path, b"mine").unwrap();
        probe_png(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_disk_is_told() {
        let picture = Picture::test(PictureSize::new(160, 96), 1);
        let error = picture.write_png(FullDisk).unwrap_err();
        assert_eq!(error.kind, FileKind::Png);
    }
}
