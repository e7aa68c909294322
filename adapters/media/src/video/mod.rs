//! Pictures: VP8 in IVF files, H.264 in Annex B files, a test picture that can be checked.

pub mod check;
pub mod h264;
pub mod ivf;
pub mod picture;
pub mod vp8;
