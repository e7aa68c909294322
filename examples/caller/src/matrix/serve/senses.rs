//! Media sources and sinks of the calls of one client: the test sound and picture that each sends,
//! and meters for what it receives. Each participant of a group call has meters of his own.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use matrix_voip::{
    host::{Codec, Frame, FrameSink, FrameSource, Media, Playout, RemoteTrack, SourceControl},
    id::SessionId,
    machine::io::{Fault, MediaKind, ParticipantId},
};
use matrix_voip_media::{
    AtEnd, CAMERA, Ear, Heard, IvfFile, MICROPHONE, Paced, Pcm, SCREEN, Script, Studio,
    TestPicture, Threaded, Tone, TrackDecoder, VideoCheck, VideoReport, VideoView, WavFile,
    talk::{Headset, Speaker},
};

/// Amplitude of the test sound.
const LOUDNESS: f32 = 0.25;

/// Frequencies of test sounds: `LOWEST`, and `TONES` steps of `STEP` Hz.
const LOWEST: f32 = 300.0;
const STEP: f32 = 50.0;
const TONES: u32 = 32;

/// Where sound and pictures come from: a call, or one participant of a group call.
type Origin = (SessionId, Option<ParticipantId>);

/// All calls of one client.
#[derive(Debug, Clone)]
pub(crate) struct Senses {
    calls: Arc<Mutex<BTreeMap<Origin, Arc<CallSenses>>>>,
    first_audio: FirstAudio,
    tones: u32,
    playing: Playing,
}

/// What a client says instead of a test sound, and by what it plays what it hears.
#[derive(Debug, Clone, Default)]
pub(crate) struct Playing {
    pub(crate) says: Option<PathBuf>,
    pub(crate) headset: Option<Headset>,
}

/// In which call, and of which participant of a group call.
type OnFirstAudio = dyn Fn(SessionId, Option<&ParticipantId>) + Send + Sync;

/// Told whose first sound was decoded.
#[derive(Clone)]
pub(crate) struct FirstAudio(pub(crate) Arc<OnFirstAudio>);

impl std::fmt::Debug for FirstAudio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirstAudio")
    }
}

/// What one call hears and sees.
#[derive(Debug, Default)]
pub(crate) struct CallSenses {
    seen: Mutex<BTreeMap<String, VideoView>>,
    /// What is shown as our screen; without it the test picture.
    film: Mutex<Option<PathBuf>>,
    /// The frequency of our test sound, where somebody has chosen it.
    tone: Mutex<Option<f32>>,
    heard: Mutex<Listeners>,
}

/// Who listens to a call at present.
#[derive(Debug, Default)]
struct Listeners {
    tracks: usize,
    began: bool,
    next: u64,
    ears: BTreeMap<u64, Ear>,
}

impl Senses {
    /// The senses of a client; `name` (of user and device) chooses its tones.
    pub(crate) fn new(name: &str, first_audio: FirstAudio) -> Self {
        // Neighbours in an alphabet must not sound alike.
        let tones = name
            .bytes()
            .fold(7, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        Self { calls: Arc::default(), first_audio, tones, playing: Playing::default() }
    }

    /// With this.
    pub(crate) fn with(self, playing: Playing) -> Self {
        Self { playing, ..self }
    }

    /// The frequency of the test sound that a call sends, in Hz: calls of one client differ, and
    /// mostly those of two. [`CallSenses::sound_like`] chooses another.
    pub(crate) fn tone(&self, session: SessionId) -> f32 {
        if let Some(chosen) = *lock(&self.of(session).tone) {
            return chosen;
        }
        let nth = u32::try_from(session.0 % u64::from(TONES)).unwrap_or_default();
        LOWEST + STEP * (self.tones.wrapping_add(nth) % TONES) as f32
    }

    /// The senses of one call.
    pub(crate) fn of(&self, session: SessionId) -> Arc<CallSenses> {
        self.from(session, None)
    }

    /// The senses for one participant of a group call; without one, for the call.
    pub(crate) fn from(
        &self,
        session: SessionId,
        member: Option<&ParticipantId>,
    ) -> Arc<CallSenses> {
        Arc::clone(lock(&self.calls).entry((session, member.cloned())).or_default())
    }

    /// Forgets a call that nobody can ask for any more.
    pub(crate) fn forget(&self, session: SessionId) {
        lock(&self.calls).retain(|(call, _), _| *call != session);
    }

    /// What a call sends: the file that was named, again and again, or its tone.
    fn sound(&self, session: SessionId) -> Result<Shown, Fault> {
        Ok(match &self.playing.says {
            Some(path) => Shown(Box::new(WavFile::open(path)?.at_end(AtEnd::Again).source())),
            None => Shown(Box::new(Tone::new(self.tone(session), LOUDNESS).source())),
        })
    }

    /// The media of all calls.
    pub(crate) fn studio(&self) -> Arc<dyn Media> {
        let (ears, eyes, mouths) = (self.clone(), self.clone(), self.clone());
        let sound = move |session| mouths.sound(session);
        let picture = |_| -> Result<Paced<TestPicture>, Fault> { Ok(TestPicture::new().paced()) };
        let screens = self.clone();
        let screen = move |session| screens.of(session).screen();
        let hear = move |track: &RemoteTrack| {
            Some(Box::new(Listener::new(ears.clone(), track)) as Box<dyn FrameSink>)
        };
        let see = move |track: &RemoteTrack| {
            let senses = eyes.from(track.session, track.member.as_ref());
            Some(senses.watch(&track.mid))
        };
        Studio::builder()
            .source_for(MICROPHONE, sound)
            .source_for(CAMERA, picture)
            .source_for(SCREEN, screen)
            .sink(MediaKind::Audio, hear)
            .sink(MediaKind::Video, see)
            .build()
    }
}

impl CallSenses {
    /// Begins to listen; `None` when there is no remote sound.
    pub(crate) fn listen(self: &Arc<Self>) -> Option<Listening> {
        let mut heard = lock(&self.heard);
        if heard.tracks == 0 {
            return None;
        }
        heard.next += 1;
        let id = heard.next;
        heard.ears.insert(id, Ear::new());
        Some(Listening { senses: Arc::clone(self), id })
    }

    /// What was decoded of the pictures on that m-line.
    pub(crate) fn pictures(&self, mid: &str) -> Option<VideoReport> {
        lock(&self.seen).get(mid).map(VideoView::report)
    }

    /// From now on this film, or the test picture, is our screen.
    pub(crate) fn show(&self, film: Option<PathBuf>) -> Result<(), String> {
        if let Some(path) = &film {
            IvfFile::open(path).map_err(|why| format!("{}: {why}", path.display()))?;
        }
        *lock(&self.film) = film;
        Ok(())
    }

    /// What we capture from now on sounds like this, in Hz.
    pub(crate) fn sound_like(&self, hertz: f32) {
        *lock(&self.tone) = Some(hertz);
    }

    fn screen(&self) -> Result<Shown, Fault> {
        let film = lock(&self.film).clone();
        Ok(match film {
            Some(path) => Shown(Box::new(IvfFile::open(path)?.at_end(AtEnd::Again).paced())),
            None => Shown(Box::new(TestPicture::new().paced())),
        })
    }

    fn watch(&self, mid: &str) -> Box<dyn FrameSink> {
        let (check, view) = VideoCheck::new();
        lock(&self.seen).insert(mid.to_owned(), view);
        Box::new(Threaded::new(check))
    }
}

/// What is shown as a screen, or said: one of several kinds.
struct Shown(Box<dyn FrameSource>);

#[async_trait]
impl FrameSource for Shown {
    fn codec(&self) -> Codec {
        self.0.codec()
    }

    async fn next(&mut self) -> Option<Frame> {
        self.0.next().await
    }

    fn control(&mut self, control: SourceControl) {
        self.0.control(control);
    }
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Listening {
    senses: Arc<CallSenses>,
    id: u64,
}

impl Listening {
    /// What was heard since it began.
    pub(crate) fn heard(&self) -> Heard {
        lock(&self.senses.heard).ears.get(&self.id).map(Ear::overall).unwrap_or_default()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        lock(&self.senses.heard).ears.remove(&self.id);
    }
}

/// Decodes remote sound for whoever listens.
#[derive(Debug)]
struct Listener {
    decoder: TrackDecoder,
    speaker: Option<Speaker>,
    sound: Vec<f32>,
    call: Arc<CallSenses>,
    client: Senses,
    origin: Origin,
}

impl Listener {
    fn new(client: Senses, track: &RemoteTrack) -> Self {
        let call = client.from(track.session, track.member.as_ref());
        lock(&call.heard).tracks += 1;
        let origin = (track.session, track.member.clone());
        let speaker = client.playing.headset.as_ref().map(|headset| headset.speaker(track));
        Self { decoder: TrackDecoder::new(), speaker, sound: Vec::new(), call, client, origin }
    }
}

impl FrameSink for Listener {
    fn push(&mut self, frame: Frame) {
        self.sound.clear();
        self.decoder.push(&frame, &mut self.sound);
        if let Some(speaker) = &mut self.speaker {
            speaker.push(frame);
        }
        let mut heard = lock(&self.call.heard);
        heard.ears.values_mut().for_each(|ear| ear.push(&self.sound));
        let first = !heard.began && !self.sound.is_empty();
        heard.began |= first;
        drop(heard);
        if first {
            (self.client.first_audio.0)(self.origin.0, self.origin.1.as_ref());
        }
    }

    fn playout(&self) -> Option<Playout> {
        self.speaker.as_ref().and_then(FrameSink::playout)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut heard = lock(&self.call.heard);
        heard.tracks -= 1;
        // Who comes anew is heard for the first time once more.
        heard.began &= heard.tracks > 0;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use matrix_voip::id::{DeviceId, PeerId, UserId};
    use matrix_voip_media::{Made, Voice};

    use super::*;

    fn track(session: u64, kind: MediaKind) -> RemoteTrack {
        let (session, peer) = (SessionId(session), PeerId(1));
        RemoteTrack { session, member: None, peer, mid: "0".into(), stream: None, kind }
    }

    fn senses() -> (Senses, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&count);
        let told = FirstAudio(Arc::new(move |_, _| {
            seen.fetch_add(1, Ordering::Relaxed);
        }));
        (Senses::new("@ada:a", told), count)
    }

    #[test]
    fn each_call_has_an_ear_of_its_own() {
        let (senses, firsts) = senses();
        let studio = senses.studio();
        assert!(senses.of(SessionId(1)).listen().is_none(), "there is nothing to hear yet");
        let mut sinks = [1, 2].map(|n| studio.sink(track(n, MediaKind::Audio)).unwrap());
        let ears = [1, 2].map(|n| senses.of(SessionId(n)).listen().unwrap());
        let mut voice = Voice::new(Tone::new(700.0, 0.25));
        for _ in 0..50 {
            let Made::Frame(frame) = voice.make() else { panic!("a tone has no end") };
            sinks[0].push(frame);
        }
        let heard = ears[0].heard();
        assert!((heard.tone.unwrap().hz - 700.0).abs() < 5.0, "{heard:?}");
        assert_eq!(ears[1].heard().samples, 0);
        assert_eq!(firsts.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn each_participant_of_a_group_call_has_an_ear_of_his_own() {
        let (senses, firsts) = senses();
        let studio = senses.studio();
        let members = ["@ben:a", "@cleo:a"].map(|user| ParticipantId {
            user: UserId::parse(user).unwrap(),
            device: DeviceId::parse("D").unwrap(),
        });
        let track = |member: &ParticipantId| RemoteTrack {
            member: Some(member.clone()),
            ..track(1, MediaKind::Audio)
        };
        let mut sinks = members.each_ref().map(|member| studio.sink(track(member)).unwrap());
        let ears = members.each_ref().map(|it| senses.from(SessionId(1), Some(it)).listen());
        let ears = ears.map(Option::unwrap);
        for (sink, hertz) in sinks.iter_mut().zip([500.0, 900.0]) {
            let mut voice = Voice::new(Tone::new(hertz, 0.25));
            for _ in 0..50 {
                let Made::Frame(frame) = voice.make() else { panic!("a tone has no end") };
                sink.push(frame);
            }
        }
        for (ear, hertz) in ears.iter().zip([500.0, 900.0]) {
            let heard = ear.heard();
            assert!((heard.tone.unwrap().hz - hertz).abs() < 5.0, "{heard:?}");
        }
        assert!(senses.of(SessionId(1)).listen().is_none(), "nothing comes from nobody");
        assert_eq!(firsts.load(Ordering::Relaxed), 2);
        senses.forget(SessionId(1));
        assert!(lock(&senses.calls).is_empty());
    }

    #[test]
    fn a_tone_that_was_chosen_is_the_one_that_sounds() {
        let (senses, _) = senses();
        senses.of(SessionId(1)).sound_like(440.0);
        assert_eq!(senses.tone(SessionId(1)), 440.0);
    }

    #[test]
    fn who_stops_listening_is_forgotten() {
        let (senses, _) = senses();
        let _sink = senses.studio().sink(track(1, MediaKind::Audio)).unwrap();
        let call = senses.of(SessionId(1));
        drop(call.listen());
        assert!(lock(&call.heard).ears.is_empty());
    }

    #[test]
    fn two_calls_at_once_sound_different() {
        let (senses, _) = senses();
        let tones: Vec<f32> = (1..=8).map(|n| senses.tone(SessionId(n))).collect();
        for (n, tone) in tones.iter().enumerate() {
            assert!((300.0..2000.0).contains(tone));
            assert!(!tones[..n].contains(tone), "{tones:?}");
        }
    }
}
