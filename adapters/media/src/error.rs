//! What can go wrong, one enum per operation: opening a file, reading on, writing, a codec.

use std::{fmt, io};

use matrix_voip::machine::io::Fault;

/// The kinds of files that are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// RIFF WAVE with PCM.
    Wav,
    /// Opus in Ogg (RFC 7845).
    Ogg,
    /// VP8 in IVF.
    Ivf,
    /// H.264 in Annex B form.
    H264,
    /// A single picture as PNG; only written.
    Png,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wav => "WAV file",
            Self::Ogg => "Ogg/Opus file",
            Self::Ivf => "IVF file",
            Self::H264 => "H.264 file",
            Self::Png => "PNG file",
        })
    }
}

/// Why a file cannot be opened for reading or writing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system says no.
    #[error("{kind}: {error}")]
    Io {
        /// What it was taken for.
        kind: FileKind,
        /// What the system says.
        error: io::Error,
    },
    /// It is another kind of file, or broken at its beginning.
    #[error("this is no {kind}: {what}")]
    NotSuch {
        /// What it was taken for.
        kind: FileKind,
        /// What is wrong with it.
        what: String,
    },
    /// It is such a file, in a form that is not supported.
    #[error("{kind}: {has}, but only {accepted} can be played")]
    Unsupported {
        /// What it is.
        kind: FileKind,
        /// What it holds.
        has: String,
        /// What it would have to hold.
        accepted: &'static str,
    },
    /// There is nothing in it.
    #[error("{kind}: empty")]
    Empty {
        /// What it is.
        kind: FileKind,
    },
}

impl OpenError {
    /// The same for an error of the system.
    pub(crate) fn io(kind: FileKind) -> impl FnOnce(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::not_such(kind, "it ends too early"),
            _ => Self::Io { kind, error },
        }
    }

    pub(crate) fn not_such(kind: FileKind, what: impl Into<String>) -> Self {
        Self::NotSuch { kind, what: what.into() }
    }
}

/// A file that cannot be opened is a device that is not there.
impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
                Self::NotFound
            }
            OpenError::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                Self::Denied
            }
            OpenError::Unsupported { .. } => Self::Unsupported,
            OpenError::Io { .. } | OpenError::NotSuch { .. } | OpenError::Empty { .. } => {
                Self::Failed(error.to_string())
            }
        }
    }
}

/// Why an open file cannot be read further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system says no.
    #[error("{kind}: {error}")]
    Io {
        /// What it is.
        kind: FileKind,
        /// What the system says.
        error: io::Error,
    },
    /// It ends in the middle of something.
    #[error("{kind}: it ends in the middle of a frame")]
    Truncated {
        /// What it is.
        kind: FileKind,
    },
    /// A frame is larger than what is accepted.
    #[error("{kind}: a frame of {bytes} bytes, more than {limit}")]
    TooLarge {
        /// What it is.
        kind: FileKind,
        /// How large the frame says it is.
        bytes: u64,
        /// The bound.
        limit: usize,
    },
    /// What stands there makes no sense.
    #[error("{kind}: {what}")]
    Broken {
        /// What it is.
        kind: FileKind,
        /// What is wrong.
        what: String,
    },
}

impl ReadError {
    pub(crate) fn io(kind: FileKind) -> impl FnOnce(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated { kind },
            _ => Self::Io { kind, error },
        }
    }
}

/// Why a file is not complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {what}")]
pub struct WriteError {
    /// What it is.
    pub kind: FileKind,
    /// What the system says.
    pub what: String,
}

impl WriteError {
    pub(crate) fn of(kind: FileKind) -> impl Fn(io::Error) -> Self {
        move |error| Self { kind, what: error.to_string() }
    }
}

/// Why something could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The Opus codec's own words.
    #[error("opus: {0}")]
    Opus(String),
    /// The VP8 codec's own words.
    #[error("vp8: {0}")]
    Vp8(String),
}
