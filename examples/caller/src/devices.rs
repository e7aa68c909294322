//! `caller devices`: the microphones and loudspeakers of this machine, one a line.

use std::process::ExitCode;

#[cfg(feature = "devices")]
pub(crate) fn main() -> ExitCode {
    use matrix_voip_media::{SoundCards, talk::Devices as _};

    match SoundCards::new().list() {
        Ok(devices) => {
            print!("{}", told(&devices));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("caller: {error}");
            ExitCode::from(crate::exit::WRONG)
        }
    }
}

/// A build without sound cards says how to get them.
#[cfg(not(feature = "devices"))]
pub(crate) fn main() -> ExitCode {
    eprintln!(
        "caller: `devices` needs sound cards, which are not in this build: \
         cargo run -p caller --features devices -- devices"
    );
    ExitCode::from(crate::exit::NOT_BEGUN)
}

/// One line for each, the default one with a star; what a name is chosen by comes last.
#[cfg(feature = "devices")]
fn told(devices: &[matrix_voip_media::talk::DeviceInfo]) -> String {
    use matrix_voip_media::talk::DeviceKind;

    let mut lines = String::new();
    for kind in [DeviceKind::Microphone, DeviceKind::Speaker] {
        let of_kind: Vec<_> = devices.iter().filter(|device| device.kind == kind).collect();
        if of_kind.is_empty() {
            lines.push_str(&format!("no {kind}\n"));
        }
        for device in of_kind {
            let star = if device.is_default { '*' } else { ' ' };
            let name = kind.to_string();
            lines.push_str(&format!("{name:<10} {star} {}  ({})\n", device.name, device.id));
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
        assert_eq!(told(&[]), "no microphone\nno speaker\n");
    }
}
