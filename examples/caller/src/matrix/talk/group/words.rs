//! Lines about who is in a group call. Pure; whatever others named themselves can be printed.

use std::time::Duration;

use matrix_voip::{
    Connection, GroupSnapshot, MediaSource, ParticipantId, Stream, machine::io::MediaKind,
    wire::metadata::Purpose,
};
use matrix_voip_media::Heard;

use super::key_words::{key_of, own_key};
use crate::matrix::{
    plain::plain,
    talk::{meter::bar, status::level},
};

/// Somebody's user id.
pub(super) fn name(who: &ParticipantId) -> String {
    plain(who.user.as_str())
}

/// His user id without the server.
fn short(who: &ParticipantId) -> String {
    let name = name(who);
    name.split(':').next().unwrap_or_default().to_owned()
}

/// How many others are there.
pub(super) fn company(call: &GroupSnapshot, me: &ParticipantId) -> String {
    match call.participants.iter().filter(|one| one.id != *me).count() {
        0 => "alone so far".to_owned(),
        1 => "with 1 other".to_owned(),
        n => format!("with {n} others"),
    }
}

/// What somebody's streams are beside sound that flows.
pub(super) fn marks(streams: &[Stream]) -> Vec<&'static str> {
    let of = |purpose: Purpose| streams.iter().find(move |stream| stream.purpose == purpose);
    let user = of(Purpose::UserMedia);
    let muted = user.is_some_and(|stream| stream.audio_muted);
    let camera = user.is_some_and(|it| it.kinds.contains(&MediaKind::Video) && !it.video_muted);
    let screen = of(Purpose::Screenshare).is_some();
    let marks = [(muted, "muted"), (camera, "camera"), (screen, "screen")];
    marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect()
}

/// A connection in a word.
pub(super) const fn connection(how: Connection) -> &'static str {
    match how {
        Connection::Waiting => "not connected",
        Connection::Connecting => "connecting",
        Connection::Connected => "connected",
        _ => "unknown",
    }
}

/// A call as its lines show it.
pub(super) struct View<'a> {
    pub(super) call: &'a GroupSnapshot,
    pub(super) me: &'a ParticipantId,
    /// Since we are in it.
    pub(super) talking: Option<Duration>,
    /// What of our microphone is to be known: that it is missing; where we push to talk, whether we do.
    pub(super) push: Option<&'static str>,
    /// How loud our microphone is, 0 to 1; `None`: what is said is no device's.
    pub(super) said: Option<f32>,
    /// What is heard of somebody, and how many pictures are seen.
    pub(super) senses: &'a dyn Fn(&ParticipantId) -> (Heard, u64),
}

impl View<'_> {
    /// The line that is written over: our state, and how each of the others is heard.
    pub(super) fn line(&self) -> String {
        let mut parts = vec![self.call.state.to_string()];
        if let Some(talking) = self.talking {
            let seconds = talking.as_secs();
            parts[0].push_str(&format!(" {:02}:{:02}", seconds / 60, seconds % 60));
        }
        let muted = self.call.muted.get(&MediaSource::Microphone).copied().unwrap_or_default();
        parts.extend(self.push.filter(|_| !muted).map(str::to_owned));
        let ours = marks(self.streams(self.me));
        parts.extend(ours.iter().filter(|mark| **mark != "muted").map(ToString::to_string));
        parts.extend(muted.then(|| "muted".to_owned()));
        parts.extend(self.call.held.then(|| "on hold".to_owned()));
        parts.extend(self.call.backend.is_sfu().then(|| own_key(self.call)));
        parts.extend(self.said.map(|said| format!("you {}", bar(said))));
        let others = self.call.participants.iter().map(|one| &one.id);
        let others = others.filter(|one| *one != self.me);
        parts.extend(others.map(|one| {
            let speaks = if self.speaks(one) { " speaks" } else { "" };
            format!("{} {}{speaks}", short(one), self.how(one))
        }));
        parts.join("  ")
    }

    /// A line for each who is there.
    pub(super) fn who(&self) -> Vec<String> {
        let all = self.call.participants.iter().map(|one| {
            let id = &one.id;
            let device = plain(id.device.as_str());
            let how = if id == self.me { "you".to_owned() } else { self.how(id) };
            let held = (id == self.me && self.call.held).then_some("on hold");
            let speaks = self.speaks(id).then_some("speaks");
            let marks = marks(self.streams(id)).into_iter().chain(held).chain(speaks);
            let shown = self.call.reactions.get(id).into_iter().flatten().map(plain);
            let marks: Vec<_> = marks.map(str::to_owned).chain(shown).collect();
            format!("{} ({device})  {how}  {}", name(id), marks.join(", ")).trim_end().to_owned()
        });
        let all: Vec<_> = all.collect();
        if all.is_empty() { vec!["nobody is there".to_owned()] } else { all }
    }

    /// How somebody is connected, or what is heard of him; of an SFU, where nothing is heard, what there
    /// is of his key.
    fn how(&self, who: &ParticipantId) -> String {
        if self.call.backend.is_sfu() {
            return key_of(self.call, who);
        }
        match self.call.connections.get(who) {
            // While we hold the call nothing comes in.
            Some(Connection::Connected) if !self.call.held => {
                let (heard, pictures) = (self.senses)(who);
                let seen =
                    if pictures > 0 { format!(", {pictures} pictures") } else { String::new() };
                format!("{}{seen}", level(&heard))
            }
            Some(how) => connection(*how).to_owned(),
            None => connection(Connection::Waiting).to_owned(),
        }
    }

    fn speaks(&self, who: &ParticipantId) -> bool {
        !self.call.held && self.call.active_speaker.as_ref() == Some(who)
    }

    fn streams(&self, who: &ParticipantId) -> &[Stream] {
        self.call.streams.get(who).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use matrix_voip::{
        GroupEvent, Side,
        id::{DeviceId, UserId},
    };
    use matrix_voip_media::Level;

    fn stream(purpose: Purpose, kinds: &[MediaKind]) -> Stream {
        Stream {
            side: Side::Remote,
            purpose,
            id: None,
            kinds: kinds.to_vec(),
            audio_muted: false,
            video_muted: false,
        }
    }

    #[test]
    fn what_is_beside_sound_is_named() {
        let voice = stream(Purpose::UserMedia, &[MediaKind::Audio]);
        assert_eq!(marks(std::slice::from_ref(&voice)), Vec::<&str>::new());
        let muted = Stream { audio_muted: true, ..voice };
        let screen = stream(Purpose::Screenshare, &[MediaKind::Video]);
        assert_eq!(marks(&[screen, muted]), ["muted", "screen"]);
        let both = [MediaKind::Audio, MediaKind::Video];
        let camera = stream(Purpose::UserMedia, &both);
        assert_eq!(marks(&[Stream { video_muted: true, ..camera.clone() }]), Vec::<&str>::new());
        assert_eq!(marks(&[camera]), ["camera"]);
    }

    #[tokio::test]
    async fn while_we_hold_the_call_it_is_said_and_nobody_is_heard() {
        use super::super::testkit::{ada, ben, call_with_ben};
        let level = Level { rms: 0.1, peak: 0.2 };
        let senses = |_: &ParticipantId| (Heard { level, ..Heard::default() }, 0);
        let me = ada();
        let mut call = call_with_ben().await;
        call.apply(&GroupEvent::ActiveSpeakerChanged(Some(ben())));
        let shown = |call: &GroupSnapshot| {
            let view =
                View { call, me: &me, talking: None, push: None, said: None, senses: &senses };
            let pushed = View { push: Some("talking"), said: Some(0.032), ..view };
            let line = pushed.line();
            assert!(
                line.starts_with("entered  talking") && line.contains("  you ████░░░░  "),
                "{line}"
            );
            let view = View { push: None, said: None, ..pushed };
            (view.line(), view.who())
        };
        assert_eq!(shown(&call).0, "entered  @ben -20 dB speaks");
        call.apply(&GroupEvent::HoldChanged { held: true });
        let (line, who) = shown(&call);
        assert_eq!(line, "entered  on hold  @ben connected");
        assert_eq!(who, ["@ada:x (D)  you  on hold", "@ben:x (D)  connected"]);
    }

    #[test]
    fn nobody_can_be_taken_for_a_line_of_the_terminal() {
        let user = UserId::parse("@b\u{2028}en:x").unwrap();
        let who = ParticipantId { user, device: DeviceId::parse("D").unwrap() };
        assert_eq!((name(&who), short(&who)), ("@b\u{fffd}en:x".into(), "@b\u{fffd}en".into()));
    }
}
