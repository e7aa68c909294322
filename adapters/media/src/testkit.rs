//! For tests of readers and writers: a file in memory, and how files get broken.

use std::{
    io::{self, Cursor, Read, Seek, SeekFrom, Write},
    sync::{Arc, Mutex, OnceLock},
};

use matrix_voip::host::Frame;

use crate::{
    source::{Made, Script},
    video::picture::{PictureSize, TestPicture},
};

/// Longest film that [`film`] gives.
pub(crate) const FILM: usize = 12;

/// The first frames of a test picture of 160 x 64, encoded once for all tests.
pub(crate) fn film(count: usize) -> Vec<Frame> {
    static FRAMES: OnceLock<Vec<Frame>> = OnceLock::new();
    let encode = || {
        let mut script = TestPicture::sized(PictureSize::new(160, 64), 10);
        let made = std::iter::repeat_with(|| script.make()).take(FILM);
        made.map(|made| if let Made::Frame(frame) = made { frame } else { panic!("{made:?}") })
            .collect()
    };
    FRAMES.get_or_init(encode)[..count].to_vec()
}

/// A file in memory that can be read while somebody else owns the writing end.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedFile(Arc<Mutex<Cursor<Vec<u8>>>>);

impl SharedFile {
    pub(crate) fn contents(&self) -> Vec<u8> {
        self.0.lock().unwrap().get_ref().clone()
    }
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap().read(buffer)
    }
}

impl Write for SharedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.lock().unwrap().seek(to)
    }
}

/// A file on a full disk.
#[derive(Debug)]
pub(crate) struct FullDisk;

impl Write for FullDisk {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for FullDisk {
    fn seek(&mut self, _to: SeekFrom) -> io::Result<u64> {
        Ok(0)
    }
}

/// Changes bytes at the given places (taken modulo the length) and cuts the end off.
pub(crate) fn broken(mut bytes: Vec<u8>, changes: &[(u32, u8)], keep: u32) -> Vec<u8> {
    for (at, value) in changes {
        let at = *at as usize % bytes.len();
        bytes[at] = *value;
    }
    bytes.truncate(keep as usize % (bytes.len() + 1));
    bytes
}

/// Frames of a script, at most so many. Bounded in steps too: a broken film that begins again may
/// hold nothing but pictures that are left out.
pub(crate) fn play(script: &mut impl Script, most: usize) -> Vec<Frame> {
    let mut played = Vec::new();
    for _ in 0..10_000 {
        if played.len() == most || script.due().is_none() {
            break;
        }
        if let Made::Frame(frame) = script.make() {
            played.push(frame);
        }
    }
    played
}
