//! The other side's last picture, kept as a file: when a person wants it, and when the call ends.

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use matrix_voip_media::{VideoView, probe_png};
use tokio::task::spawn_blocking;

use super::{conversation::answered, gear::Kept};
use crate::matrix::refusal::Refusal;

/// Nothing was said of pictures.
pub(super) const NO_NAME: &str = "--snapshot FILE.png says where pictures are kept";

/// Where the picture goes, and whose it is.
pub(super) struct Still {
    eye: VideoView,
    path: Option<PathBuf>,
    saving: Option<BoxFuture<'static, Kept>>,
}

impl Still {
    pub(super) fn new(eye: VideoView, path: Option<PathBuf>) -> Self {
        Self { eye, path, saving: None }
    }

    /// Keeps what is seen now; [`next`](Self::next) tells what came of it. `Err`: nothing will.
    pub(super) fn take(&mut self) -> Result<(), &'static str> {
        let path = self.path.clone().ok_or(NO_NAME)?;
        let eye = self.eye.clone();
        // Twice at once would be two writers of one file.
        self.saving.get_or_insert_with(|| Box::pin(save(eye, path)));
        Ok(())
    }

    /// The line about a picture that was taken. Cancel safe.
    pub(super) async fn next(&mut self) -> String {
        answered(&mut self.saving).await.unwrap_or_else(|why| why)
    }

    /// Ends what is under way, so that nobody else writes the file then.
    pub(super) async fn finish(&mut self) {
        if self.saving.is_some() {
            drop(answered(&mut self.saving).await);
        }
    }
}

/// Whether a picture can be kept there, before there is one.
pub(super) fn probe(path: Option<&Path>) -> Result<(), Refusal> {
    let Some(path) = path else { return Ok(()) };
    probe_png(path).map_err(|why| Refusal::new(format!("{}: {why}", path.display())))
}

/// Writes the last picture; encoding takes its time on a large one.
pub(super) async fn save(eye: VideoView, path: PathBuf) -> Kept {
    let Some(picture) = eye.picture() else { return Err(no_picture(&path)) };
    let shown = path.display().to_string();
    let (width, height) = picture.size().pixels();
    match spawn_blocking(move || picture.save_png(&path)).await {
        Ok(Ok(())) => Ok(format!("{shown}: a picture of {width} x {height}")),
        Ok(Err(why)) => Err(format!("{shown}: {why}")),
        Err(why) => Err(format!("{shown}: {why}")),
    }
}

/// Why there is no file.
pub(super) fn no_picture(path: &Path) -> String {
    format!("{}: not written, no picture came", path.display())
}

/// The file of one participant of several: `seen.png` becomes `seen-1.png`.
pub(super) fn numbered(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{number}.png"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use matrix_voip::host::FrameSink;
    use matrix_voip_media::{Made, PictureSize, Script, TestPicture, VideoCheck};

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("caller-still-{name}-{}.png", std::process::id()))
    }

    #[tokio::test]
    async fn the_last_picture_is_kept_when_it_is_asked_for() {
        let (mut sink, eye) = VideoCheck::new();
        let mut script = TestPicture::sized(PictureSize::new(160, 96), 10);
        let Made::Frame(frame) = script.make() else { panic!("not encoded") };
        sink.push(frame);
        let path = path("kept");
        let mut still = Still::new(eye, Some(path.clone()));
        still.take().unwrap();
        assert!(still.next().await.ends_with(".png: a picture of 160 x 96"));
        let written = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(written[..8], *b"\x89PNG\r\n\x1a\n");
    }

    #[tokio::test]
    async fn without_a_picture_or_a_name_nothing_is_written() {
        let (_, eye) = VideoCheck::new();
        let path = path("none");
        let mut still = Still::new(eye.clone(), Some(path.clone()));
        still.take().unwrap();
        assert!(still.next().await.ends_with("not written, no picture came"));
        assert!(!path.exists());
        assert!(Still::new(eye, None).take().is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_is_refused_before_the_call() {
        let refused = probe(Some(Path::new("/nowhere/seen.png"))).unwrap_err();
        assert!(refused.0.starts_with("/nowhere/seen.png: "), "{refused}");
        assert_eq!(probe(None), Ok(()));
    }

    #[test]
    fn files_of_several_are_numbered() {
        assert_eq!(numbered(Path::new("a/seen.png"), 2), Path::new("a/seen-2.png"));
    }
}
