//! A [`Media`] put together from values: what microphone and camera are, who hears and who sees.
//!
//! A microphone, camera or screen may be several: each input (`Capture::input`) is a source of its
//! own. Who asks for none in particular gets the one that was given without a name, or the first.
//!
//! Each local kind is a closure that makes a source for each call, a source that serves once, or
//! one of two that tests need: refused, and never answered. What is not configured is not there.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use matrix_voip::{
    host::{FrameSink, FrameSource, Media, RemoteTrack},
    id::{SessionId, TrackId},
    machine::io::{Capture, Fault, MediaKind, MediaSource},
};

use crate::{desk::Desk, talk::Headset};

type Source = Box<dyn FrameSource>;
type Sink = Box<dyn FrameSink>;

/// One local source.
enum Local {
    /// A new one for each capture.
    Each(Box<dyn Fn(SessionId) -> Result<Source, Fault> + Send + Sync>),
    /// One for the first capture; then there is none.
    Once(Mutex<Option<Source>>),
    /// The person refuses.
    Denied,
    /// The person does not answer.
    Unanswered,
}

/// Who takes remote tracks of one kind; `None`: not this one.
type Remote = Box<dyn Fn(&RemoteTrack) -> Option<Sink> + Send + Sync>;

/// Sources and sinks for an engine. Made by [`Studio::builder`].
pub struct Studio {
    local: Vec<(Capture, Local)>,
    audio: Option<Remote>,
    video: Option<Remote>,
    desk: Desk,
}

impl Studio {
    /// A studio without anything: captures find no device, remote tracks are discarded.
    pub fn builder() -> StudioBuilder {
        StudioBuilder(Self { local: Vec::new(), audio: None, video: None, desk: Desk::default() })
    }

    /// The source that is asked for; the first of its kind serves whoever names none.
    fn find(&self, what: &Capture) -> Option<&Local> {
        let named = self.local.iter().find(|(kept, _)| kept == what);
        let any = || {
            let mut same = self.local.iter();
            same.find(|(kept, _)| (kept.source, kept.kind) == (what.source, what.kind))
        };
        let found = named.or_else(|| what.input.is_none().then(any).flatten());
        found.map(|(_, local)| local)
    }
}

/// The microphone, as an engine asks for it.
pub const MICROPHONE: Capture = Capture::of(MediaSource::Microphone);

/// The camera, as an engine asks for it.
pub const CAMERA: Capture = Capture::of(MediaSource::Camera);

/// The screen, as an engine asks for it.
pub const SCREEN: Capture = Capture::of(MediaSource::Screen);

/// Puts a [`Studio`] together. The later of two values for the same thing holds.
pub struct StudioBuilder(Studio);

impl StudioBuilder {
    /// The microphone: a new source for each call.
    #[must_use]
    pub fn microphone<S: FrameSource + 'static>(
        self,
        open: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        self.source(MICROPHONE, move || Ok::<_, Fault>(open()))
    }

    /// The camera: a new source for each call.
    #[must_use]
    pub fn camera<S: FrameSource + 'static>(
        self,
        open: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        self.source(CAMERA, move || Ok::<_, Fault>(open()))
    }

    /// Microphone and loudspeaker of a person: a source for each call, and every remote voice.
    #[must_use]
    pub fn headset(self, headset: &Headset) -> Self {
        let (mouth, ear) = (headset.clone(), headset.clone());
        self.microphone(move || mouth.microphone()).speaker(move |track| ear.speaker(track))
    }

    /// Any local source that may fail to open, such as a file: a new one for each call, or for each
    /// time that a call changes to it. What went
    /// wrong reaches the application only as the end of the call (`UserMediaFailed`; for a camera
    /// `MediaMissing`): open a file once beforehand to see the error itself.
    #[must_use]
    pub fn source<S: FrameSource + 'static, E: Into<Fault>>(
        self,
        what: Capture,
        open: impl Fn() -> Result<S, E> + Send + Sync + 'static,
    ) -> Self {
        self.source_for(what, move |_| open())
    }

    /// The same where the source depends on the call: a bot that talks with several people. What
    /// belongs to the same call comes to [`speaker`](Self::speaker) and [`screen`](Self::screen)
    /// with the same session.
    #[must_use]
    pub fn source_for<S: FrameSource + 'static, E: Into<Fault>>(
        self,
        what: Capture,
        open: impl Fn(SessionId) -> Result<S, E> + Send + Sync + 'static,
    ) -> Self {
        let named = what.clone();
        let open = move |session| match open(session) {
            Ok(source) => Ok(Box::new(source) as Source),
            Err(error) => {
                let fault = error.into();
                tracing::warn!(what = ?named, %fault, "a source did not open");
                Err(fault)
            }
        };
        self.local(what, Local::Each(Box::new(open)))
    }

    /// A local source for one call only; a second capture finds none.
    #[must_use]
    pub fn source_once(self, what: Capture, source: impl FrameSource + 'static) -> Self {
        self.local(what, Local::Once(Mutex::new(Some(Box::new(source)))))
    }

    /// A source that the person refuses.
    #[must_use]
    pub fn denied(self, what: Capture) -> Self {
        self.local(what, Local::Denied)
    }

    /// A source about which the person never decides.
    #[must_use]
    pub fn unanswered(self, what: Capture) -> Self {
        self.local(what, Local::Unanswered)
    }

    /// Who hears remote sound: asked for each remote track, and again after a hold. In a group call
    /// [`RemoteTrack::member`] says whose it is.
    #[must_use]
    pub fn speaker<S: FrameSink + 'static>(
        mut self,
        open: impl Fn(&RemoteTrack) -> S + Send + Sync + 'static,
    ) -> Self {
        self.0.audio = Some(Box::new(move |track| Some(Box::new(open(track)))));
        self
    }

    /// Who hears remote sound in one call, a track at a time: the first, and when that has ended, as
    /// by a hold, the next, as if it went on. Those that come meanwhile are discarded: in a group
    /// call it hears one participant at a time; for all of them there is [`speaker`](Self::speaker).
    ///
    /// The sink is dropped when no track has it and the last source of this studio was closed (the
    /// call is over), or with the studio.
    #[must_use]
    pub fn speaker_once(self, sink: impl FrameSink + 'static) -> Self {
        self.sink_once(MediaKind::Audio, sink)
    }

    /// Who sees remote pictures: asked for each remote track.
    #[must_use]
    pub fn screen<S: FrameSink + 'static>(
        mut self,
        open: impl Fn(&RemoteTrack) -> S + Send + Sync + 'static,
    ) -> Self {
        self.0.video = Some(Box::new(move |track| Some(Box::new(open(track)))));
        self
    }

    /// Who sees remote pictures in one call, a track at a time, as
    /// [`speaker_once`](Self::speaker_once) hears sound.
    #[must_use]
    pub fn screen_once(self, sink: impl FrameSink + 'static) -> Self {
        self.sink_once(MediaKind::Video, sink)
    }

    /// Who takes remote tracks of a kind, for those that choose: `None` discards the track.
    #[must_use]
    pub fn sink(
        mut self,
        kind: MediaKind,
        open: impl Fn(&RemoteTrack) -> Option<Sink> + Send + Sync + 'static,
    ) -> Self {
        self.0.desk.forget(kind);
        match kind {
            MediaKind::Audio => self.0.audio = Some(Box::new(open)),
            MediaKind::Video => self.0.video = Some(Box::new(open)),
        }
        self
    }

    /// The studio, as engines take it.
    #[must_use]
    pub fn build(self) -> Arc<Studio> {
        Arc::new(self.0)
    }

    fn sink_once(self, kind: MediaKind, sink: impl FrameSink + 'static) -> Self {
        let desk = self.0.desk.clone();
        let lending = desk.clone();
        let built = self.sink(kind, move |_| lending.lend(kind));
        desk.keep(kind, sink);
        built
    }

    fn local(mut self, what: Capture, local: Local) -> Self {
        self.0.local.retain(|(kept, _)| *kept != what);
        self.0.local.push((what, local));
        self
    }
}

#[async_trait]
impl Media for Studio {
    async fn capture(
        &self,
        session: SessionId,
        _track: TrackId,
        what: Capture,
    ) -> Result<Source, Fault> {
        let source = match self.find(&what).ok_or(Fault::NotFound)? {
            Local::Each(open) => open(session)?,
            Local::Once(source) => {
                let source = source.lock().unwrap_or_else(PoisonError::into_inner).take();
                source.ok_or(Fault::NotFound)?
            }
            Local::Denied => return Err(Fault::Denied),
            Local::Unanswered => std::future::pending().await,
        };
        Ok(self.desk.open(source))
    }

    fn sink(&self, track: RemoteTrack) -> Option<Sink> {
        let open = match track.kind {
            MediaKind::Audio => self.audio.as_ref(),
            MediaKind::Video => self.video.as_ref(),
        };
        open.and_then(|open| open(&track))
    }
}

impl std::fmt::Debug for Studio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let local: Vec<_> = self.local.iter().map(|(what, _)| what).collect();
        f.debug_struct("Studio").field("local", &local).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for StudioBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use matrix_voip::{
        host::{Codec, Frame},
        id::{InputId, PeerId},
    };

    use super::*;
    use crate::{
        audio::{
            ear::EarSink,
            pcm::pcm_sink,
            tone::{Silence, Tone},
            voice::Pcm,
            wav::WavFile,
        },
        error::OpenError,
    };

    fn track(kind: MediaKind) -> RemoteTrack {
        let (session, peer) = (SessionId(1), PeerId(1));
        RemoteTrack { session, member: None, peer, mid: "0".into(), stream: None, kind }
    }

    #[tokio::test]
    async fn each_call_gets_a_microphone_of_its_own() {
        let studio = Studio::builder().microphone(|| Tone::new(440.0, 0.2).source()).build();
        for _ in 0..2 {
            let source = studio.capture(SessionId(1), TrackId(1), MICROPHONE).await.unwrap();
            assert_eq!(source.codec(), Codec::Opus);
        }
        assert_eq!(
            studio.capture(SessionId(1), TrackId(2), CAMERA).await.err(),
            Some(Fault::NotFound)
        );
    }

    #[tokio::test]
    async fn a_source_may_depend_on_the_call_that_it_is_for() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let open = move |session| {
            seen.lock().unwrap().push(session);
            Ok::<_, Fault>(Silence.source())
        };
        let studio = Studio::builder().source_for(MICROPHONE, open).build();
        for session in [SessionId(7), SessionId(9)] {
            assert!(studio.capture(session, TrackId(1), MICROPHONE).await.is_ok());
        }
        assert_eq!(*asked.lock().unwrap(), [SessionId(7), SessionId(9)]);
    }

    #[tokio::test]
    async fn a_source_for_once_is_gone_afterwards() {
        let studio = Studio::builder().source_once(MICROPHONE, Silence.source()).build();
        assert!(studio.capture(SessionId(1), TrackId(1), MICROPHONE).await.is_ok());
        assert_eq!(
            studio.capture(SessionId(1), TrackId(2), MICROPHONE).await.err(),
            Some(Fault::NotFound)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_can_refuse_or_never_answer() {
        let studio = Studio::builder().denied(MICROPHONE).unanswered(CAMERA).build();
        assert_eq!(
            studio.capture(SessionId(1), TrackId(1), MICROPHONE).await.err(),
            Some(Fault::Denied)
        );
        let hour = Duration::from_secs(3600);
        assert!(
            tokio::time::timeout(hour, studio.capture(SessionId(1), TrackId(2), CAMERA))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_a_fault() {
        let open = || Ok::<_, OpenError>(WavFile::open("/nowhere/at/all.wav")?.source());
        let studio = Studio::builder().source(MICROPHONE, open).build();
        assert_eq!(
            studio.capture(SessionId(1), TrackId(1), MICROPHONE).await.err(),
            Some(Fault::NotFound)
        );
    }

    #[tokio::test]
    async fn of_several_inputs_the_one_that_is_named_is_opened_and_an_unknown_one_is_not_there() {
        let named = |name| Capture { input: InputId::parse(name).ok(), ..MICROPHONE };
        let opened = Arc::new(Mutex::new(Vec::new()));
        let open = |name: &'static str| {
            let opened = opened.clone();
            move || {
                opened.lock().unwrap().push(name);
                Ok::<_, Fault>(Silence.source())
            }
        };
        let builder = Studio::builder().source(named("desk"), open("desk"));
        let studio = builder.source(named("ear"), open("ear")).build();
        for what in [named("ear"), MICROPHONE, named("desk")] {
            assert!(studio.capture(SessionId(1), TrackId(1), what).await.is_ok());
        }
        let unknown = studio.capture(SessionId(1), TrackId(1), named("gone")).await;
        assert_eq!(unknown.err(), Some(Fault::NotFound));
        assert_eq!(*opened.lock().unwrap(), ["ear", "desk", "desk"]);
    }

    /// One frame of a tone as the first of a track: its numbers begin anew.
    async fn first_frame() -> Frame {
        let mut source = Tone::new(440.0, 0.2).source();
        Frame { sequence: Some(0), ..source.next().await.unwrap() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_speaker_for_once_hears_one_track_at_a_time_and_hears_again_after_a_hold() {
        let (ear, heard) = EarSink::new();
        let studio = Studio::builder().microphone(|| Silence.source()).speaker_once(ear).build();
        let _microphone = studio.capture(SessionId(1), TrackId(1), MICROPHONE).await.unwrap();
        for before in 0..3 {
            let mut sink = studio.sink(track(MediaKind::Audio)).expect("a sink again");
            assert!(studio.sink(track(MediaKind::Audio)).is_none(), "one at a time");
            sink.push(first_frame().await);
            assert_eq!(heard.counts().decoded, before + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_speaker_for_once_is_told_of_the_end_of_the_call_whatever_ends_first() {
        for sink_first in [true, false] {
            let (speaker, mut heard) = pcm_sink();
            let builder = Studio::builder().microphone(|| Silence.source());
            let studio = builder.speaker_once(speaker).build();
            // A call that nobody answered has not used it.
            drop(studio.capture(SessionId(1), TrackId(1), MICROPHONE).await.unwrap());
            let microphone = studio.capture(SessionId(2), TrackId(2), MICROPHONE).await.unwrap();
            drop(studio.sink(track(MediaKind::Audio)).unwrap());
            let sink = studio.sink(track(MediaKind::Audio)).unwrap();
            match sink_first {
                true => drop((sink, microphone)),
                false => drop((microphone, sink)),
            }
            assert_eq!(heard.read::<i16>().await, None);
            assert!(studio.sink(track(MediaKind::Audio)).is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_speaker_of_a_studio_without_sources_serves_until_that_is_gone() {
        let (speaker, mut heard) = pcm_sink();
        let studio = Studio::builder().speaker_once(speaker).build();
        drop(studio.sink(track(MediaKind::Audio)).unwrap());
        let sink = studio.sink(track(MediaKind::Audio)).unwrap();
        drop(studio);
        drop(sink);
        assert_eq!(heard.read::<i16>().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_speakers_the_later_one_holds() {
        let ((once, mut heard), (ear, _)) = (pcm_sink(), EarSink::new());
        let studio = Studio::builder().speaker_once(once).speaker_once(ear).build();
        assert_eq!(heard.read::<i16>().await, None);
        assert!(studio.sink(track(MediaKind::Audio)).is_some());
    }

    #[test]
    fn remote_tracks_go_to_the_sink_of_their_kind() {
        let studio = Studio::builder().speaker(|_| EarSink::new().0).build();
        assert!(studio.sink(track(MediaKind::Audio)).is_some());
        assert!(studio.sink(track(MediaKind::Video)).is_none());
    }
}
