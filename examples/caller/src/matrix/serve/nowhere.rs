//! A loudspeaker that is not there: what comes goes through the jitter buffer on its way, at the pace of
//! the clock, and what became of it can be measured.

use std::path::PathBuf;

use matrix_voip_media::{
    WavFile,
    talk::{DeviceError, DeviceInfo, Devices, Headset, HeadsetOptions, Player, Recorder, Which},
};

use super::{line::Args, senses::Playing};

/// No device at all.
pub(crate) struct Nowhere;

impl Devices for Nowhere {
    fn list(&mut self) -> Result<Vec<DeviceInfo>, DeviceError> {
        Ok(Vec::new())
    }

    fn open_recorder(&mut self, _: &Which) -> Result<Box<dyn Recorder>, DeviceError> {
        Err(DeviceError::Gone)
    }

    fn open_player(&mut self, _: &Which) -> Result<Box<dyn Player>, DeviceError> {
        Err(DeviceError::Gone)
    }
}

/// What `login` asks for: a file to be said, and a headset.
pub(crate) fn playing(args: &Args) -> Result<Playing, String> {
    let says = args.text("says")?.map(PathBuf::from);
    if let Some(path) = &says {
        WavFile::open(path).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    let start = || Headset::start(Nowhere, HeadsetOptions::default());
    let headset = args.flag("headset", false)?.then(start).transpose();
    Ok(Playing { says, headset: headset.map_err(|why| why.to_string())? })
}
