//! Sound cards, by `cpal`: [`SoundCards`] are the [`Devices`] of this machine.
//!
//! ```text
//!  card -> callback -> ring, 200 ms -> CardRecorder (48 kHz) -> audio thread
//!  card <- callback <- ring,  20 ms <- CardPlayer (48 kHz)   <- audio thread
//! ```
//!
//! | file | |
//! |---|---|
//! | `ring.rs` | what a callback does: it copies between the card's buffer and a wait-free ring |
//! | `recorder.rs`, `player.rs` | the audio thread's ends of the rings, with other rates than 48 kHz |
//! | `watch.rs` | notices a card that is gone |
//! | `stream.rs` | opens a card: buffers of 10 ms, any format, rate and number of channels |
//! | `system.rs` | asks the sound system, which may hang, on threads of their own |
//!
//! Buffers are always of a fixed length: what the system takes by default may be two seconds.
//! Cards give and take other lengths all the same, and any is borne.

mod player;
mod recorder;
mod ring;
mod stream;
mod system;
mod watch;

use cpal::{
    Device, DeviceId, Host,
    traits::{DeviceTrait, HostTrait},
};

use self::{player::CardPlayer, recorder::CardRecorder, system::System};
use crate::talk::{DeviceError, DeviceInfo, DeviceKind, Devices, Player, Recorder, Which};

/// The microphones and loudspeakers of this machine: of its PulseAudio (or PipeWire) server where one is
/// there, else as the operating system has them.
///
/// What is opened is asked for anew each time, so devices and servers may come and go. A source that only
/// hears what a loudspeaker plays (a "monitor") is no microphone; it is recorded where its id asks for it.
///
/// Opening takes some milliseconds, and 3 s at most where the sound system hangs. A headset's sound goes on
/// meanwhile.
#[derive(Default)]
pub struct SoundCards {
    system: System,
}

impl SoundCards {
    /// Asks for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl std::fmt::Debug for SoundCards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SoundCards")
    }
}

impl Devices for SoundCards {
    fn list(&mut self) -> Result<Vec<DeviceInfo>, DeviceError> {
        let (devices, _) = self.system.ask(|host| {
            let mut devices = list(host, DeviceKind::Microphone)?;
            devices.extend(list(host, DeviceKind::Speaker)?);
            Ok((devices, None))
        })?;
        Ok(devices)
    }

    fn open_recorder(&mut self, which: &Which) -> Result<Box<dyn Recorder>, DeviceError> {
        let which = which.clone();
        let (recording, open) = self.system.ask(move |host| {
            let device = find(host, DeviceKind::Microphone, &which)?;
            let opened = stream::record(&device);
            let (end, open) =
                opened.map_err(|error| failed(&error, DeviceKind::Microphone, &which))?;
            Ok((end, Some(open)))
        })?;
        Ok(Box::new(CardRecorder::new(recording, open)))
    }

    fn open_player(&mut self, which: &Which) -> Result<Box<dyn Player>, DeviceError> {
        let which = which.clone();
        let (playing, open) = self.system.ask(move |host| {
            let device = find(host, DeviceKind::Speaker, &which)?;
            let opened = stream::play(&device);
            let (end, open) =
                opened.map_err(|error| failed(&error, DeviceKind::Speaker, &which))?;
            Ok((end, Some(open)))
        })?;
        Ok(Box::new(CardPlayer::new(playing, open)))
    }
}

/// What cpal says, as a [`DeviceError`]: that there is no device is known only when it is opened.
fn failed(error: &cpal::Error, kind: DeviceKind, which: &Which) -> DeviceError {
    match error.kind() {
        cpal::ErrorKind::DeviceNotAvailable => {
            DeviceError::NotFound { kind, which: which.clone(), there: Vec::new() }
        }
        _ => DeviceError::System(format!("the {kind} does not open: {error}")),
    }
}

fn default(host: &Host, kind: DeviceKind) -> Option<Device> {
    let device = match kind {
        DeviceKind::Microphone => host.default_input_device(),
        DeviceKind::Speaker => host.default_output_device(),
    };
    device.filter(|device| is_for_calls(device, kind))
}

/// Whether it is what people mean by a microphone or a loudspeaker.
fn is_for_calls(device: &Device, kind: DeviceKind) -> bool {
    device.id().is_ok_and(|id| is_shown(id.host().name(), id.id(), kind))
}

/// PulseAudio names the monitor of a loudspeaker after it. ALSA has a dozen of names for each card and
/// as many for no card at all: of those, each card once with all conversions.
fn is_shown(host: &str, id: &str, kind: DeviceKind) -> bool {
    match host {
        "PulseAudio" => kind == DeviceKind::Speaker || !id.ends_with(".monitor"),
        "ALSA" => {
            let card = id.strip_prefix("plughw:CARD=");
            id == "default" || card.is_some_and(|card| !card.starts_with(|c: char| c.is_numeric()))
        }
        _ => true,
    }
}

fn list(host: &Host, kind: DeviceKind) -> Result<Vec<DeviceInfo>, DeviceError> {
    let system = |error: cpal::Error| DeviceError::System(error.to_string());
    let devices: Vec<Device> = match kind {
        DeviceKind::Microphone => host.input_devices().map_err(system)?.collect(),
        DeviceKind::Speaker => host.output_devices().map_err(system)?.collect(),
    };
    let default = default(host, kind).and_then(|device| device.id().ok());
    let devices = devices.into_iter().filter(|device| is_for_calls(device, kind));
    Ok(devices.filter_map(|device| told(&device, kind, default.as_ref())).collect())
}

/// A device as it is told; `None` where it is unplugged this moment.
fn told(device: &Device, kind: DeviceKind, default: Option<&DeviceId>) -> Option<DeviceInfo> {
    let (id, description) = (device.id().ok()?, device.description().ok()?);
    let mut info = DeviceInfo::new(kind, description.name(), id.to_string());
    info.is_default = default == Some(&id);
    Some(info)
}

fn is_of(device: &Device, kind: DeviceKind) -> bool {
    match kind {
        DeviceKind::Microphone => device.supports_input(),
        DeviceKind::Speaker => device.supports_output(),
    }
}

/// The device that is meant. The default one is found without a look at all that are there: to look may
/// take long.
fn find(host: &Host, kind: DeviceKind, which: &Which) -> Result<Device, DeviceError> {
    let not_found = || DeviceError::NotFound { kind, which: which.clone(), there: Vec::new() };
    let Which::Named(name) = which else {
        return default(host, kind).ok_or_else(not_found);
    };
    let by_id =
        |id: &str| host.device_by_id(&id.parse().ok()?).filter(|device| is_of(device, kind));
    if let Some(device) = by_id(name).or_else(|| by_id(&format!("{}:{name}", host.id()))) {
        return Ok(device);
    }
    let devices = list(host, kind)?;
    by_id(&which.among(&devices, kind)?.id).ok_or_else(not_found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitors_and_the_many_names_of_alsa_are_not_shown() {
        use DeviceKind::{Microphone, Speaker};
        let shown = |kind, ids: &[&str]| {
            let split =
                |id: &&&str| id.split_once(':').is_some_and(|(host, id)| is_shown(host, id, kind));
            ids.iter().filter(split).map(ToString::to_string).collect::<Vec<_>>()
        };
        let pulse = ["PulseAudio:usb.in", "PulseAudio:usb.out.monitor"];
        assert_eq!(shown(Microphone, &pulse), pulse[..1]);
        let alsa = [
            "ALSA:default",
            "ALSA:plughw:CARD=PCH,DEV=0",
            "ALSA:null",
            "ALSA:lavrate",
            "ALSA:pulse",
            "ALSA:hw:CARD=PCH,DEV=0",
            "ALSA:plughw:CARD=0,DEV=0",
            "ALSA:sysdefault:CARD=PCH",
        ];
        assert_eq!(shown(Speaker, &alsa), alsa[..2]);
        assert_eq!(shown(Microphone, &["CoreAudio:42"]), ["CoreAudio:42"]);
    }
}
