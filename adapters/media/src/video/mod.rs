//! Pictures: VP8 in IVF files, H.264 in Annex B files, a test picture that can be checked, colours
//! and PNG.

pub mod ask;
mod budget;
pub mod check;
pub mod colour;
pub mod freeze;
pub mod h264;
pub mod ivf;
pub mod picture;
pub mod still;
pub mod vp8;
