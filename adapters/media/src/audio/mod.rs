//! Sound: Opus, levels, tones, WAV and Ogg files, PCM for applications.

pub mod ear;
pub mod level;
pub mod ogg;
pub mod opus;
pub mod order;
pub mod pcm;
mod reorder;
pub mod resample;
pub mod sound;
mod spectrum;
pub mod tone;
pub mod track;
pub mod voice;
pub mod wav;
