//! What readers of files share: an open file or bytes in memory, and what happens at the end.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Seek, Write},
    path::Path,
};

use crate::error::{FileKind, OpenError};

/// Something to read from: a file, or bytes in a `Cursor`.
pub trait Input: Read + Seek + Send + 'static {}

impl<T: Read + Seek + Send + 'static> Input for T {}

/// Something to write to: a file, or bytes in a `Cursor`.
pub trait Output: Write + Seek + Send + 'static {}

impl<T: Write + Seek + Send + 'static> Output for T {}

/// What a file does at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AtEnd {
    /// The source ends.
    #[default]
    Stop,
    /// It begins again, without a pause.
    Again,
}

/// Opens a file for reading.
pub(crate) fn open(kind: FileKind, path: &Path) -> Result<BufReader<File>, OpenError> {
    File::open(path).map(BufReader::new).map_err(OpenError::io(kind))
}

/// Makes a file, or empties an old one.
pub(crate) fn create(kind: FileKind, path: &Path) -> Result<BufWriter<File>, OpenError> {
    File::create(path).map(BufWriter::new).map_err(OpenError::io(kind))
}
