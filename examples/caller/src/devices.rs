//! `caller devices`: the microphones and loudspeakers of this machine, one a line.

use std::process::ExitCode;

#[cfg(feature = "devices")]
use crate::plain::plain;

#[cfg(feature = "devices")]
pub(crate) fn main() -> ExitCode {
    use matrix_voip_media::{SoundCards, talk::Devices as _};

    match SoundCards::new().list() {
        Ok(devices) => {
            print!("{}", told(&devices));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("caller: {}", plain(error));
            ExitCode::from(crate::exit::WRONG)
        }
    }
}

/// A build without sound cards says how to get them.
#[cfg(not(feature = "devices"))]
pub(crate) fn main() -> ExitCode {
    eprintln!(
        "caller: `devices` needs sound cards, which are not in this build: \
         cargo run -p caller --features matrix,devices -- devices"
    );
    ExitCode::from(crate::exit::NOT_BEGUN)
}

/// One line for each, the default one with a star; what a name is chosen by comes last.
#[cfg(feature = "devices")]
fn told(devices: &[matrix_voip_media::talk::DeviceInfo]) -> String {
    use matrix_voip_media::talk::DeviceKind;

    if devices.is_empty() {
        return "no sound server or card was found\n".to_owned();
    }
    let mut lines = String::new();
    for kind in [DeviceKind::Microphone, DeviceKind::Speaker] {
        let of_kind: Vec<_> = devices.iter().filter(|device| device.kind == kind).collect();
        if of_kind.is_empty() {
            lines.push_str(&format!("no {kind}\n"));
        }
        for device in of_kind {
            let star = if device.is_default { '*' } else { ' ' };
            let (kind, name, id) = (kind.to_string(), plain(&device.name), plain(&device.id));
            lines.push_str(&format!("{kind:<10} {star} {name}  ({id})\n"));
        }
    }
    lines
}

#[cfg(all(test, feature = "devices"))]
mod tests {
    use matrix_voip_media::talk::{DeviceInfo, DeviceKind};

    use super::told;

    #[test]
    fn each_device_has_a_line_and_what_is_missing_too() {
        let mut headset = DeviceInfo::new(DeviceKind::Microphone, "Headset", "pulseaudio:usb.in");
        headset.is_default = true;
        let webcam = DeviceInfo::new(DeviceKind::Microphone, "Webcam", "pulseaudio:cam");
        assert_eq!(
            told(&[headset, webcam]),
            "microphone * Headset  (pulseaudio:usb.in)\n\
             microphone   Webcam  (pulseaudio:cam)\n\
             no speaker\n"
        );
    }

    #[test]
    fn a_machine_without_sound_has_one_line() {
        assert_eq!(told(&[]), "no sound server or card was found\n");
    }

    #[test]
    fn what_a_device_is_called_cannot_command_the_terminal() {
        let wicked = DeviceInfo::new(DeviceKind::Speaker, "a\x1b[2Jb\nc", "id\x07");
        assert_eq!(
            told(&[wicked]),
            "no microphone\nspeaker      a\u{fffd}[2Jb\u{fffd}c  (id\u{fffd})\n"
        );
    }
}
