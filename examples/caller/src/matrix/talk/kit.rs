//! The microphone and the loudspeaker of the person in a call, where the command line names them.

use std::io::{IsTerminal, stdin};

use matrix_voip::host::{FrameSink, RemoteTrack};
use matrix_voip_media::{
    Level,
    talk::{DeviceInfo, DeviceKind, DeviceState, Headset, Microphone, Which},
};

use crate::{
    cli::online::{Sound, TalkOptions},
    matrix::{plain::plain, refusal::Refusal},
};

/// A headset, and what of it is in use.
#[derive(Debug, Clone)]
pub(crate) struct Kit {
    pub(super) headset: Headset,
    /// Whether its microphone is what the others hear.
    pub(super) speaks: bool,
    /// Whether that is only so while a key is held.
    pub(super) pushes: bool,
}

impl Kit {
    /// What the options name; `None`: no device at all.
    pub(crate) fn open(options: &TalkOptions) -> Result<Option<Self>, Refusal> {
        let microphone = match &options.audio {
            Sound::Device(which) => Some(which.clone()),
            _ => None,
        };
        let speaker = options.speaker.clone().map(which);
        let speaks = microphone.is_some();
        if options.push_to_talk && !speaks {
            return Err(Refusal::new("--push-to-talk needs a microphone: --audio device"));
        }
        if options.push_to_talk && !stdin().is_terminal() {
            return Err(Refusal::new(NO_SPACE_BAR));
        }
        if microphone.is_none() && speaker.is_none() {
            return Ok(None);
        }
        let headset = headset(microphone.unwrap_or_default(), speaker.unwrap_or_default())?;
        headset.set_muted(options.push_to_talk);
        Ok(Some(Self { headset, speaks, pushes: options.push_to_talk }))
    }

    /// The microphone, for a call.
    pub(crate) fn microphone(&self) -> Microphone {
        self.headset.microphone()
    }

    /// Whether the microphone is what the others hear.
    pub(crate) fn speaks(&self) -> bool {
        self.speaks
    }

    /// The loudspeaker, for somebody's voice.
    pub(crate) fn speaker(&self, track: &RemoteTrack) -> impl FrameSink + use<> {
        self.headset.speaker(track)
    }

    /// How loud the microphone is, as it is sent; without one that is there, silent.
    pub(crate) fn said(&self) -> Option<Level> {
        let view = self.headset.view();
        let is_open = view.microphone == DeviceState::Open;
        self.speaks.then(|| if is_open { view.capture.level } else { Level::default() })
    }

    /// Whether the microphone that the others should hear is not there.
    pub(super) fn lacks_microphone(&self) -> bool {
        self.speaks && matches!(self.headset.view().microphone, DeviceState::Missing(_))
    }

    /// Changes to the next device of this kind; what is to be said of it.
    pub(super) async fn next(&self, kind: DeviceKind) -> String {
        let all = match self.headset.devices().await {
            Ok(all) => all,
            Err(why) => return plain(why),
        };
        let Some(next) = after(&self.headset.chosen(kind), kind, &all) else {
            return format!("there is no {kind}");
        };
        self.headset.choose(kind, Which::Named(next.id.clone()));
        format!("{kind}: {}", plain(&next.name))
    }
}

/// The device of this kind after that one, and after the last the first.
fn after<'a>(used: &Which, kind: DeviceKind, all: &'a [DeviceInfo]) -> Option<&'a DeviceInfo> {
    let used = used.among(all, kind).ok();
    let of_kind = || all.iter().filter(|info| info.kind == kind);
    let rest = of_kind().skip_while(|info| Some(*info) != used).skip(1);
    rest.chain(of_kind()).next()
}

/// An empty name is that of the default device.
fn which(name: String) -> Which {
    if name.is_empty() { Which::Default } else { Which::Named(name) }
}

#[cfg(feature = "devices")]
fn headset(microphone: Which, speaker: Which) -> Result<Headset, Refusal> {
    use matrix_voip_media::{SoundCards, talk::HeadsetOptions};
    let mut cards = SoundCards::new();
    let named = [(DeviceKind::Microphone, &microphone), (DeviceKind::Speaker, &speaker)];
    there(&mut cards, named.into_iter().filter(|(_, which)| **which != Which::Default))?;
    let mut options = HeadsetOptions::default();
    (options.microphone, options.speaker) = (microphone, speaker);
    Headset::start(cards, options).map_err(|why| Refusal::new(why.to_string()))
}

/// A name that no device has is told before anybody is called. That the usual device is not there is
/// not: it may be plugged in yet.
#[cfg(feature = "devices")]
fn there<'a>(
    cards: &mut impl matrix_voip_media::talk::Devices,
    mut named: impl Iterator<Item = (DeviceKind, &'a Which)>,
) -> Result<(), Refusal> {
    let refused = |why: matrix_voip_media::talk::DeviceError| Refusal::new(plain(why));
    named.try_for_each(|(kind, which)| {
        let all = cards.list().map_err(refused)?;
        which.among(&all, kind).map(|_| ()).map_err(refused)
    })
}

#[cfg(not(feature = "devices"))]
fn headset(_: Which, _: Which) -> Result<Headset, Refusal> {
    Err(Refusal::new(
        "microphones and loudspeakers are not in this build: \
         cargo run -p caller --features matrix,devices -- …",
    ))
}

/// Why nobody would ever be heard.
const NO_SPACE_BAR: &str =
    "--push-to-talk needs a terminal: standard input is none, and no space bar can be held there";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_after_the_last_is_the_first() {
        let info = |id: &str| DeviceInfo::new(DeviceKind::Speaker, format!("the {id}"), id);
        let mut all = vec![info("a"), info("b"), info("c")];
        all[1].is_default = true;
        let kind = DeviceKind::Speaker;
        all.insert(2, DeviceInfo::new(DeviceKind::Microphone, "the m", "m"));
        let id =
            |used: &Which, all: &[DeviceInfo]| after(used, kind, all).map(|info| info.id.clone());
        assert_eq!(id(&Which::Default, &all), Some("c".to_owned()));
        assert_eq!(id(&Which::Named("e a".into()), &all), Some("b".to_owned()), "a part of a name");
        assert_eq!(id(&Which::Named("c".into()), &all), Some("a".to_owned()));
        assert_eq!(id(&Which::Named("gone".into()), &all), Some("a".to_owned()));
        assert_eq!(id(&Which::Default, &[]), None);
    }
}
