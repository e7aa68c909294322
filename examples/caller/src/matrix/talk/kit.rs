//! The microphone and the loudspeaker of the person in a call, where the command line names them: what
//! is said of them, and the keys that change them.

use std::io::{IsTerminal, stdin};

use futures::future::BoxFuture;
use matrix_voip::host::{FrameSink, RemoteTrack};
use matrix_voip_media::{
    Level,
    talk::{DeviceInfo, DeviceKind, DeviceNews, DeviceState, Headset, Microphone, Which},
};

use tokio::time::Instant;

use super::{conversation::answered, push::Push};
use crate::{
    cli::online::{Sound, TalkOptions},
    matrix::{plain::plain, refusal::Refusal},
};

/// A headset, and what of it is in use.
#[derive(Debug, Clone)]
pub(crate) struct Kit {
    headset: Headset,
    /// Whether its microphone is what the others hear.
    speaks: bool,
    /// Whether that is only so while a key is held.
    pushes: bool,
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

    /// How loud the microphone is, as it is sent.
    pub(crate) fn said(&self) -> Option<Level> {
        let view = self.headset.view();
        (self.speaks && view.microphone == DeviceState::Open).then_some(view.capture.level)
    }

    /// Changes to the next device of this kind; what is to be said of it.
    async fn next(&self, kind: DeviceKind) -> String {
        let all = match self.headset.devices().await {
            Ok(all) => all,
            Err(why) => return plain(why),
        };
        let all: Vec<DeviceInfo> = all.into_iter().filter(|info| info.kind == kind).collect();
        let Some(next) = after(&self.headset.chosen(kind), &all) else {
            return format!("there is no {kind}");
        };
        self.headset.choose(kind, Which::Named(next.id.clone()));
        format!("{kind}: {}", plain(&next.name))
    }
}

/// The device after this one, and after the last the first.
fn after<'a>(used: &Which, all: &'a [DeviceInfo]) -> Option<&'a DeviceInfo> {
    let is_used = |info: &&DeviceInfo| match used {
        Which::Default => info.is_default,
        Which::Named(name) => info.id == *name || info.name == *name,
    };
    let rest = all.iter().skip_while(|info| !is_used(info)).skip(1);
    rest.chain(all).next()
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

/// The keys for devices.
const HELP: &str = "a: next microphone · l: next loudspeaker";

/// And where one pushes to talk.
const PUSH_HELP: &str = " · space, held: talk";

/// Where one pushes to talk: what to do, and that it is done.
const MARKS: [&str; 2] = ["space to talk", "talking"];

/// And why nobody hears who does not.
const PUSHES: &str = "you are heard only while you hold space";

/// The devices during a call: keys that are pressed, news of what comes and goes. Of a person without
/// devices there is nothing.
pub(super) struct Controls {
    kit: Option<Kit>,
    news: Option<DeviceNews>,
    known: [DeviceState; 2],
    push: Push,
    /// Whether the key is held, when it was last looked.
    is_held: bool,
    since: Instant,
    /// A change that is under way.
    change: Option<BoxFuture<'static, String>>,
}

impl Controls {
    pub(super) fn of(kit: Option<&Kit>) -> Self {
        if let Some(kit) = kit.filter(|kit| kit.pushes) {
            // The call before may have ended with the key held.
            kit.headset.set_muted(true);
        }
        Self {
            kit: kit.cloned(),
            news: kit.map(|kit| kit.headset.device_news()),
            known: Default::default(),
            push: Push::default(),
            is_held: false,
            since: Instant::now(),
            change: None,
        }
    }

    /// The keys that do something, if any do.
    pub(super) fn help(&self) -> Option<String> {
        let kit = self.kit.as_ref()?;
        Some(format!("{HELP}{}", if kit.pushes { PUSH_HELP } else { "" }))
    }

    /// Where one pushes to talk: whether that is done.
    pub(super) fn mark(&self) -> Option<&'static str> {
        self.kit.as_ref().filter(|kit| kit.pushes)?;
        Some(MARKS[usize::from(self.is_held)])
    }

    /// The key to talk is held, or was let go; whether the mark is another now.
    pub(super) fn push(&mut self, is_held: bool) -> bool {
        match is_held {
            true => self.push.press(self.since.elapsed()),
            false => self.push.release(),
        }
        self.on_tick()
    }

    /// What is to be known of the devices that are missing, and of the key to talk.
    pub(super) fn explain(&self) -> Option<String> {
        let kit = self.kit.as_ref()?;
        let view = kit.headset.view();
        let missing = words(&Default::default(), &[view.microphone, view.speaker]);
        let told: Vec<_> = missing.into_iter().chain(kit.pushes.then(|| PUSHES.into())).collect();
        (!told.is_empty()).then(|| told.join(" · "))
    }

    /// Time has passed; whether the mark is another now.
    pub(super) fn on_tick(&mut self) -> bool {
        let Some(kit) = self.kit.as_ref().filter(|kit| kit.pushes) else { return false };
        let is_held = self.push.is_held(self.since.elapsed());
        if is_held == self.is_held {
            return false;
        }
        self.is_held = is_held;
        kit.headset.set_muted(!is_held);
        true
    }

    /// Changes to the next device; what is to be said of that comes with the news.
    pub(super) fn next_device(&mut self, kind: DeviceKind) {
        if let Some(kit) = self.kit.clone() {
            self.change.get_or_insert_with(|| Box::pin(async move { kit.next(kind).await }));
        }
    }

    /// How loud the microphone is, as it is sent.
    pub(super) fn said(&self) -> Option<Level> {
        self.kit.as_ref().and_then(Kit::said)
    }

    /// The next words about devices. Cancel safe.
    pub(super) async fn next(&mut self) -> String {
        loop {
            let news = async {
                match &mut self.news {
                    Some(news) => news.next().await,
                    None => std::future::pending().await,
                }
            };
            let told = tokio::select! {
                told = answered(&mut self.change) => Some(told),
                news = news => match news {
                    Some((microphone, speaker)) => {
                        let now = [microphone, speaker];
                        let told = words(&self.known, &now);
                        self.known = now;
                        told
                    }
                    None => {
                        self.news = None;
                        None
                    }
                },
            };
            if let Some(told) = told {
                return told;
            }
        }
    }
}

/// What has changed, as far as a person wants to know: that all is well at first is no news.
fn words(before: &[DeviceState; 2], now: &[DeviceState; 2]) -> Option<String> {
    let kinds = [DeviceKind::Microphone, DeviceKind::Speaker];
    let told =
        kinds.iter().zip(before).zip(now).filter_map(|((kind, before), now)| match (before, now) {
            (_, DeviceState::Missing(why)) if before != now => {
                Some(format!("{kind}: {}; the call goes on without it", plain(why)))
            }
            (DeviceState::Missing(_), DeviceState::Open) => Some(format!("{kind}: there again")),
            _ => None,
        });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join(" · "))
}

#[cfg(test)]
mod tests {
    use matrix_voip_media::talk::DeviceError;

    use super::*;
    use crate::matrix::serve::nowhere::Nowhere;

    #[test]
    fn a_device_that_goes_and_one_that_comes_again_are_told() {
        let gone = DeviceState::Missing(DeviceError::Gone);
        let states = [
            [DeviceState::Idle, DeviceState::Idle],
            [DeviceState::Open, DeviceState::Open],
            [gone.clone(), DeviceState::Open],
            [gone, DeviceState::Open],
            [DeviceState::Open, DeviceState::Open],
        ];
        let told: Vec<_> = states.windows(2).map(|pair| words(&pair[0], &pair[1])).collect();
        let lost = "microphone: the device is gone; the call goes on without it".to_owned();
        let back = "microphone: there again".to_owned();
        assert_eq!(told, [None, Some(lost), None, Some(back)]);
    }

    fn controls(pushes: bool) -> Controls {
        let headset = Headset::start(Nowhere, Default::default()).unwrap();
        Controls::of(Some(&Kit { headset, speaks: true, pushes }))
    }

    #[tokio::test(start_paused = true)]
    async fn who_pushes_to_talk_sees_whether_he_is_heard_and_why_not() {
        let mut controls = controls(true);
        assert_eq!((controls.mark(), controls.on_tick()), (Some("space to talk"), false));
        assert_eq!(controls.explain().as_deref(), Some(PUSHES));
        assert_eq!((controls.push(true), controls.mark()), (true, Some("talking")));
        assert!(!controls.push(true), "it is held still");
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert_eq!((controls.on_tick(), controls.mark()), (true, Some("space to talk")));
    }

    #[test]
    fn who_does_not_push_to_talk_has_no_mark() {
        let mut controls = controls(false);
        assert_eq!((controls.push(true), controls.mark(), controls.explain()), (false, None, None));
    }

    #[test]
    fn the_device_after_the_last_is_the_first() {
        let info = |id: &str| DeviceInfo::new(DeviceKind::Speaker, format!("the {id}"), id);
        let mut all = vec![info("a"), info("b"), info("c")];
        all[1].is_default = true;
        let id = |used: &Which, all: &[DeviceInfo]| after(used, all).map(|info| info.id.clone());
        assert_eq!(id(&Which::Default, &all), Some("c".to_owned()));
        assert_eq!(id(&Which::Named("c".into()), &all), Some("a".to_owned()));
        assert_eq!(id(&Which::Named("gone".into()), &all), Some("a".to_owned()));
        assert_eq!(id(&Which::Default, &[]), None);
    }
}
