//! Finds the device that a person means.

use super::device::{DeviceError, DeviceInfo, DeviceKind, Which};

impl Which {
    /// The device of this kind that is meant: that of the id or name, or the only one that has it in its
    /// name; of [`Which::Default`] the default one.
    ///
    /// # Errors
    /// [`DeviceError::NotFound`] and [`DeviceError::Ambiguous`], with the names of those that are there.
    pub fn among<'a>(
        &self,
        devices: &'a [DeviceInfo],
        kind: DeviceKind,
    ) -> Result<&'a DeviceInfo, DeviceError> {
        let of_kind = || devices.iter().filter(|device| device.kind == kind);
        let not_found = || DeviceError::NotFound {
            kind,
            which: self.clone(),
            there: of_kind().map(|device| device.name.clone()).collect(),
        };
        let Self::Named(name) = self else {
            return of_kind().find(|device| device.is_default).ok_or_else(not_found);
        };
        if let Some(device) = of_kind().find(|device| is_id(device, name)) {
            return Ok(device);
        }
        let lower = name.to_lowercase();
        let mut found: Vec<_> = of_kind().filter(|device| device.name == *name).collect();
        if found.is_empty() {
            let has_it = |device: &&DeviceInfo| device.name.to_lowercase().contains(&lower);
            found = of_kind().filter(has_it).collect();
        }
        match found[..] {
            [] => Err(not_found()),
            [device] => Ok(device),
            _ => Err(DeviceError::Ambiguous { name: name.clone(), candidates: told(&found) }),
        }
    }
}

/// Ids are `host:what the host calls it`; the latter is what other programs show.
fn is_id(device: &DeviceInfo, name: &str) -> bool {
    device.id == name || device.id.split_once(':').is_some_and(|(_, of_host)| of_host == name)
}

/// With the ids: two of the same make have the same name.
fn told(devices: &[&DeviceInfo]) -> String {
    let each = devices.iter().map(|device| format!("{:?} ({})", device.name, device.id));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> Vec<DeviceInfo> {
        use DeviceKind::{Microphone, Speaker};
        let mut devices = vec![
            DeviceInfo::new(Speaker, "Headset Pro", "pulseaudio:usb.out"),
            DeviceInfo::new(Microphone, "Headset Pro", "pulseaudio:usb.in.1"),
            DeviceInfo::new(Microphone, "Headset", "pulseaudio:usb.in.2"),
            DeviceInfo::new(Microphone, "Webcam", "pulseaudio:webcam.1"),
            DeviceInfo::new(Microphone, "Webcam", "pulseaudio:webcam.2"),
        ];
        devices[2].is_default = true;
        devices
    }

    fn microphone(name: &str) -> Result<String, String> {
        let which = Which::Named(name.to_owned());
        let found = which.among(&shelf(), DeviceKind::Microphone).cloned();
        found.map(|device| device.id).map_err(|error| error.to_string())
    }

    #[test]
    fn an_id_is_exact_then_a_whole_name_then_a_part_of_one() {
        assert_eq!(microphone("pulseaudio:webcam.2").unwrap(), "pulseaudio:webcam.2");
        assert_eq!(microphone("webcam.1").unwrap(), "pulseaudio:webcam.1");
        assert_eq!(microphone("Headset").unwrap(), "pulseaudio:usb.in.2");
        assert_eq!(microphone("headset pro").unwrap(), "pulseaudio:usb.in.1");
        assert_eq!(microphone("T PRO").unwrap(), "pulseaudio:usb.in.1");
    }

    #[test]
    fn what_is_not_there_or_several_is_told_with_what_is_there() {
        assert_eq!(
            microphone("WEBCAM").unwrap_err(),
            "\"WEBCAM\" is in the names of several: \
             \"Webcam\" (pulseaudio:webcam.1), \"Webcam\" (pulseaudio:webcam.2)"
        );
        let error = microphone("usb.out").unwrap_err();
        assert!(error.starts_with("no microphone \"usb.out\" is there, but \"Headset Pro\", "));
        let which = Which::Named("x".into());
        let error = which.among(&[], DeviceKind::Speaker).unwrap_err();
        assert_eq!(error.to_string(), "no speaker \"x\" is there, and no other");
    }

    #[test]
    fn the_default_one_is_what_the_system_says() {
        let found = Which::Default.among(&shelf(), DeviceKind::Microphone).cloned();
        assert_eq!(found.unwrap().id, "pulseaudio:usb.in.2");
        let error = Which::Default.among(&shelf(), DeviceKind::Speaker).unwrap_err();
        assert_eq!(error.to_string(), "no default speaker is there, but \"Headset Pro\"");
    }
}
