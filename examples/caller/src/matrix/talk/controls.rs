//! The devices during a call: the keys that change them, what is said of them, and pushing to talk.

use futures::future::BoxFuture;
use matrix_voip_media::{
    Level,
    talk::{DeviceKind, DeviceNews, DeviceState},
};
use tokio::time::Instant;

use super::{conversation::answered, keys::Wish, kit::Kit, push::Push};
use crate::matrix::plain::plain;

/// The keys for devices.
const HELP: &str = "a: next microphone · l: next loudspeaker";
const SPEAKER_HELP: &str = "l: next loudspeaker";

/// Where what is said is no microphone's.
const NO_MICROPHONE_USED: &str =
    "no microphone is in use: the others hear what --audio names; --audio device is a microphone";

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
        let keys = if kit.speaks { HELP } else { SPEAKER_HELP };
        Some(format!("{keys}{}", if kit.pushes { PUSH_HELP } else { "" }))
    }

    /// Why nobody hears us, where that is so; where one pushes to talk, whether that is done.
    pub(super) fn mark(&self) -> Option<&'static str> {
        let kit = self.kit.as_ref()?;
        if kit.lacks_microphone() {
            return Some("no microphone");
        }
        kit.pushes.then(|| MARKS[usize::from(self.is_held)])
    }

    /// Does what a key wants of the devices; whether the mark is another now. `None`: it wants something else.
    pub(super) fn obey(&mut self, wish: &Wish) -> Option<bool> {
        match wish {
            Wish::Push(is_held) => Some(self.push(*is_held)),
            Wish::NextDevice(kind) => {
                self.next_device(*kind);
                Some(false)
            }
            _ => None,
        }
    }

    /// The key to talk is held, or was let go; whether the mark is another now.
    fn push(&mut self, is_held: bool) -> bool {
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
    fn next_device(&mut self, kind: DeviceKind) {
        let Some(kit) = self.kit.clone() else { return };
        let change = async move {
            match kind {
                DeviceKind::Microphone if !kit.speaks => NO_MICROPHONE_USED.to_owned(),
                _ => kit.next(kind).await,
            }
        };
        self.change.get_or_insert_with(|| Box::pin(change));
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
    use matrix_voip_media::talk::{DeviceError, Headset};

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
}
