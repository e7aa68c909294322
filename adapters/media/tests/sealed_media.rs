//! Two studios with encrypted frames and, instead of an engine, a pipe that everybody can read: what
//! passes it, and what arrives. Virtual time: nothing here waits.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use matrix_voip::{
    Side,
    config::KeyProfile,
    host::{
        Codec, Frame, FrameSink, FrameSource, Media, RemoteTrack, SourceControl, keys::KeyProvider,
    },
    id::{DeviceId, PeerId, SessionId, TrackId, UserId},
    machine::io::{Capture, KeyOwner, MediaKind, ParticipantId},
    redact::SecretBytes,
    wire::keys::MediaKey,
};
use matrix_voip_media::{
    CAMERA, EarSink, MICROPHONE, Pcm, PictureSize, Script, Studio, TestPicture, Tone, VideoCheck,
    e2ee::{FrameKeys, SealedMedia},
};
use tokio::time::{Instant, timeout};

const CALL: SessionId = SessionId(1);

fn person(name: &str) -> ParticipantId {
    let user = UserId::parse(format!("@{name}:example.org")).unwrap();
    ParticipantId { user, device: DeviceId::parse("PHONE").unwrap() }
}

fn track(kind: MediaKind, member: Option<ParticipantId>) -> RemoteTrack {
    let (peer, mid) = (PeerId(1), "0".to_owned());
    RemoteTrack { session: CALL, member, peer, mid, stream: None, kind }
}

async fn give(keys: &FrameKeys, byte: u8) {
    let key = MediaKey { index: 3, key: SecretBytes::new([byte; 32]) };
    keys.set_key(CALL, KeyProfile::ELEMENT_CALL, KeyOwner::new(person("ada"), Side::Remote), key)
        .await
        .unwrap();
}

/// Ada sends and Ben receives.
struct Pipe {
    source: Box<dyn FrameSource>,
    sink: Box<dyn FrameSink>,
    sequence: u64,
}

impl Pipe {
    async fn new(ada: &dyn Media, ben: &dyn Media, what: Capture) -> Self {
        let sink = ben.sink(track(what.kind, Some(person("ada")))).expect("a sink");
        let source = ada.capture(CALL, TrackId(1), what).await.expect("a source");
        Self { source, sink, sequence: 0 }
    }

    /// Carries frames for a while, as an engine would; what passed.
    async fn carry(&mut self, time: Duration) -> Vec<Frame> {
        let (end, mut passed) = (Instant::now() + time, Vec::new());
        while let Ok(Some(frame)) = timeout(end - Instant::now(), self.source.next()).await {
            self.push(frame.clone());
            passed.push(frame);
        }
        passed
    }

    fn push(&mut self, frame: Frame) {
        let is_video = frame.codec.kind() == MediaKind::Video;
        self.sink.push(Frame { sequence: Some(self.sequence), ..frame });
        self.sequence += 1;
        if is_video && self.sink.wants_key_frame() {
            self.source.control(SourceControl::KeyFrame);
        }
    }
}

fn keys() -> (FrameKeys, FrameKeys) {
    (FrameKeys::new(person("ada")), FrameKeys::new(person("ben")))
}

#[tokio::test(start_paused = true)]
async fn a_tone_is_heard_by_who_has_the_key_and_by_nobody_else() {
    let ((ear, heard), (wiretap, overheard)) = (EarSink::new(), EarSink::new());
    let studio = Studio::builder().microphone(|| Tone::new(440.0, 0.2).source()).build();
    let (ada, ben) = keys();
    give(&ada, 1).await;
    give(&ben, 1).await;
    let ada = SealedMedia::new(studio, ada);
    let ben = SealedMedia::new(Studio::builder().speaker_once(ear).build(), ben);
    let mut pipe = Pipe::new(&*ada, &*ben, MICROPHONE).await;
    let mut wiretap: Box<dyn FrameSink> = Box::new(wiretap);
    let passed = pipe.carry(Duration::from_secs(2)).await;
    for (sequence, frame) in (0..).zip(passed) {
        assert_eq!(frame.data[frame.data.len() - 2..], [12, 3]);
        wiretap.push(Frame { sequence: Some(sequence), ..frame });
    }
    let tone = heard.overall().tone.expect("a tone");
    assert!((tone.hz - 440.0).abs() < 5.0, "{tone:?}");
    let noise = overheard.overall().tone;
    assert!(noise.is_none_or(|tone| (tone.hz - 440.0).abs() > 5.0), "{noise:?}");
}

#[tokio::test(start_paused = true)]
async fn a_film_begins_with_its_key_and_goes_on_through_rotations() {
    let (check, seen) = VideoCheck::new();
    let size = PictureSize::new(160, 96);
    let studio = Studio::builder().camera(move || TestPicture::sized(size, 10).paced()).build();
    let (ada, ben) = keys();
    ada.switch_on(CALL);
    ben.switch_on(CALL);
    let sealed = SealedMedia::new(studio, ada.clone());
    let opened = SealedMedia::new(Studio::builder().screen_once(check).build(), ben.clone());
    let mut pipe = Pipe::new(&*sealed, &*opened, CAMERA).await;
    let second = Duration::from_secs(1);
    assert!(pipe.carry(second).await.is_empty(), "held back before there is a key");
    give(&ada, 1).await;
    assert!(!pipe.carry(second).await.is_empty());
    assert_eq!(seen.report().shown, 0, "Ben has no key yet");
    give(&ben, 1).await;
    pipe.carry(2 * second).await;
    let before = seen.report().shown;
    assert!((18..=20).contains(&before), "{before}");
    // Both change the key; what is on its way meanwhile is lost, and a key frame heals it.
    give(&ada, 2).await;
    pipe.carry(second / 2).await;
    give(&ben, 2).await;
    pipe.carry(2 * second).await;
    let after = seen.report().shown;
    assert!((before + 18..=before + 20).contains(&after), "{before} {after}");
    let counts = ben.states(CALL)[0].counts;
    // Half a second of ten pictures a second, wherever between two it began.
    assert!((4..=6).contains(&counts.wrong_key), "{counts:?}");
    assert!(counts.opened >= after, "{counts:?}");
}

/// Frames as they come, at once.
struct Endless(Arc<Mutex<Vec<SourceControl>>>);

#[async_trait]
impl FrameSource for Endless {
    fn codec(&self) -> Codec {
        Codec::Opus
    }

    async fn next(&mut self) -> Option<Frame> {
        Some(Frame::new(Codec::Opus, 0, vec![0xf8, 1, 2, 3]))
    }

    fn control(&mut self, control: SourceControl) {
        self.0.lock().unwrap().push(control);
    }
}

/// Whether nothing comes while another task gets its turn a hundred times.
async fn gives_nothing(source: &mut dyn FrameSource) -> bool {
    let others = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = source.next() => false,
        () = others => true,
    }
}

#[tokio::test]
async fn a_source_that_is_held_back_keeps_nobody_from_running() {
    let keys = keys().0;
    keys.switch_on(CALL);
    let studio = Studio::builder().microphone(|| Endless(Arc::default())).build();
    let ada = SealedMedia::new(studio, keys);
    let mut source = ada.capture(CALL, TrackId(1), MICROPHONE).await.unwrap();
    assert!(gives_nothing(&mut *source).await);
}

#[tokio::test]
async fn of_a_muted_track_an_engine_gets_no_frame_that_it_could_send_silence_for() {
    let controls = Arc::new(Mutex::new(Vec::new()));
    let heard = controls.clone();
    let studio = Studio::builder().microphone(move || Endless(heard.clone())).build();
    let keys = keys().0;
    let ada = SealedMedia::new(studio, keys.clone());
    let mut source = ada.capture(CALL, TrackId(1), MICROPHONE).await.unwrap();
    source.control(SourceControl::Enabled(false));
    assert!(source.next().await.is_some(), "the call is not covered");
    give(&keys, 1).await;
    assert!(gives_nothing(&mut *source).await);
    source.control(SourceControl::Enabled(true));
    assert!(source.next().await.is_some());
    let told = [SourceControl::Enabled(false), SourceControl::Enabled(true)];
    assert_eq!(*controls.lock().unwrap(), told);
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_the_clear_or_of_nobody_is_not_played_in_a_call_with_keys() {
    let (ear, heard) = EarSink::new();
    let keys = keys().1;
    let ben = SealedMedia::new(Studio::builder().speaker_once(ear).build(), keys.clone());
    let studio = Studio::builder().microphone(|| Tone::new(440.0, 0.2).source()).build();
    let mut source = studio.capture(CALL, TrackId(1), MICROPHONE).await.unwrap();
    for member in [Some(person("ada")), None] {
        let before = heard.counts().decoded;
        let mut sink = ben.sink(track(MediaKind::Audio, member)).unwrap();
        sink.push(Frame { sequence: Some(0), ..source.next().await.unwrap() });
        assert_eq!(heard.counts().decoded, before + u64::from(before == 0), "then covered");
        keys.switch_on(CALL);
        sink.push(Frame { sequence: Some(1), ..source.next().await.unwrap() });
        assert_eq!(heard.counts().decoded, 1);
    }
    assert_eq!(keys.states(CALL)[0].counts.plain, 1);
}
