//! Media sources, sinks and recordings of a person's call, as the command line names them.
//! What is said and shown is opened before anything else; recordings, which replace those of an
//! earlier call, only when it is known whom the call is with.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use matrix_voip::{
    CallMedia,
    host::{FrameSink, Media, RemoteTrack},
    machine::io::{Capture, Fault, MediaKind},
};
use matrix_voip_media::{
    AtEnd, CAMERA, EarSink, EarView, IvfFile, IvfSink, MICROPHONE, OggFile, OpenError, Pcm,
    Recording, SAMPLE_RATE, SCREEN, Script, Silence, Studio, StudioBuilder, Tee, TestPicture,
    Threaded, Tone, VideoCheck, VideoView, WavFile, WavSink,
};

use super::{
    kit::Kit,
    slot::Slot,
    still::{self, Still},
};
use crate::{
    cli::online::{Sound, TalkOptions},
    matrix::{
        plain::plain,
        refusal::Refusal,
        say::{complain, say},
    },
};

/// Amplitude of a tone.
const LOUDNESS: f32 = 0.25;

/// Bytes of a second of recorded sound.
const PROBE: usize = 2 * SAMPLE_RATE as usize;

/// Names of recordings in their folder.
const HEARD: &str = "heard.wav";
const SEEN: &str = "seen.ivf";

/// Microphone, camera, ear, eye and recordings of one call.
pub(crate) struct Gear {
    pub(crate) studio: Arc<dyn Media>,
    pub(crate) media: CallMedia,
    pub(crate) ear: EarView,
    pub(crate) eye: VideoView,
    /// `None`: no devices.
    pub(crate) kit: Option<Kit>,
    speaker: Slot,
    screen: Slot,
    /// The file of the last picture.
    snapshot: Option<PathBuf>,
    /// The folder of recordings.
    record: Option<PathBuf>,
    recordings: Vec<(PathBuf, Recording)>,
}

impl Gear {
    /// Opens what is said and shown.
    pub(crate) fn open(options: &TalkOptions) -> Result<Self, Refusal> {
        let kit = Kit::open(options)?;
        let studio = said_and_shown(options, kit.as_ref())?;
        still::probe(options.snapshot.as_deref())?;
        // Before anybody is called or waited for: later it would cost the call.
        options.record.as_deref().map_or(Ok(()), open_folder)?;
        let media = media(options);
        let (heard, ear) = EarSink::new();
        let (seen, eye) = VideoCheck::new();
        let (speaker, screen) = (Slot::new(heard), Slot::new(Threaded::new(seen)));
        let studio = studio.sink(MediaKind::Audio, heard_too(kit.clone(), speaker.opener()));
        let studio = studio.sink(MediaKind::Video, screen.opener()).build();
        let (record, recordings) = (options.record.clone(), Vec::new());
        let snapshot = options.snapshot.clone();
        Ok(Self { studio, media, ear, eye, kit, speaker, screen, snapshot, record, recordings })
    }

    /// The other side's picture, to be kept when a person wants it.
    pub(super) fn still(&self) -> Still {
        Still::new(self.eye.clone(), self.snapshot.clone())
    }

    /// Opens the recordings, before the call is placed or taken.
    pub(crate) fn record(&mut self) -> Result<(), Refusal> {
        let Some(folder) = &self.record else { return Ok(()) };
        open_folder(folder)?;
        let path = folder.join(HEARD);
        let (sink, recording) = WavSink::create(&path).map_err(refused(&path))?;
        self.speaker.join(sink);
        self.recordings.push((path, recording));
        if self.media == CallMedia::Video {
            let path = folder.join(SEEN);
            let (sink, recording) = IvfSink::create(&path).map_err(refused(&path))?;
            self.screen.join(sink);
            self.recordings.push((path, recording));
        }
        Ok(())
    }

    /// Waits until the recordings are closed; what is in each, or why it is not whole. The last
    /// picture is kept too.
    pub(crate) async fn finish(self) -> Vec<Kept> {
        let Self { studio, speaker, screen, recordings, snapshot, eye, .. } = self;
        drop(studio);
        [speaker, screen].iter().for_each(Slot::close);
        let mut told = Vec::new();
        for (path, recording) in recordings {
            let path = path.display();
            told.push(match recording.finished().await {
                Ok(written) => Ok(format!("{path}: {} frames", written.frames)),
                Err(why) => Err(format!("{path}: {why}")),
            });
        }
        if let Some(path) = snapshot {
            told.push(still::save(eye, path).await);
        }
        told
    }
}

/// A line about a recording: what is in it, or why it is not whole.
pub(super) type Kept = Result<String, String>;

/// Says what was kept, and on standard error what was not; whether all of it was.
pub(super) fn tell_kept(kept: &[Kept]) -> bool {
    for line in kept {
        match line {
            Ok(line) => say(line),
            Err(why) => complain(plain(why)),
        }
    }
    kept.iter().all(Result::is_ok)
}

/// Makes the folder for recordings, and finds out whether a second of sound can be kept in it.
/// Nothing that is there is touched.
pub(super) fn open_folder(folder: &Path) -> Result<(), Refusal> {
    fs::create_dir_all(folder).and_then(|()| probe(folder)).map_err(|why| {
        Refusal::new(format!("{}: nothing can be kept there: {why}", folder.display()))
    })
}

fn probe(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".caller-{}", std::process::id()));
    let written = fs::File::create_new(&path).and_then(|mut file| {
        file.write_all(&[0; PROBE])?;
        // Some file systems find out only then that there is no room.
        file.sync_all()
    });
    match written {
        // Whose file it is was never ours to remove.
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(why) => {
            drop(fs::remove_file(&path));
            Err(why)
        }
        Ok(()) => fs::remove_file(&path),
    }
}

/// Sound, and a picture if there is a film.
pub(super) fn media(options: &TalkOptions) -> CallMedia {
    if options.video.is_some() { CallMedia::Video } else { CallMedia::Voice }
}

/// Microphone, camera and screen, opened once so that what is wrong with a file is told at once.
pub(super) fn said_and_shown(
    options: &TalkOptions,
    kit: Option<&Kit>,
) -> Result<StudioBuilder, Refusal> {
    regular(options)?;
    spare_sources(options)?;
    let studio = match kit.filter(|kit| kit.speaks()).cloned() {
        Some(kit) => Studio::builder().microphone(move || kit.microphone()),
        None => microphone(Studio::builder(), &options.audio)?,
    };
    let studio = match &options.video {
        Some(film) => shown(studio, CAMERA, film)?,
        // For who turns a camera on in the call.
        None => studio.camera(|| TestPicture::new().paced()),
    };
    Ok(match &options.screen {
        Some(film) => shown(studio, SCREEN, film)?,
        None => studio.source(SCREEN, || Ok::<_, Fault>(TestPicture::new().paced())),
    })
}

/// A pipe would keep us waiting for whoever writes into it, and each file is opened twice.
fn regular(options: &TalkOptions) -> Result<(), Refusal> {
    for path in sources(options) {
        // What is not there at all is told when it is opened.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Refusal::new(format!("{}: not a regular file", path.display())));
        }
    }
    Ok(())
}

/// A recording must not replace what is said or shown, and needs a folder.
fn spare_sources(options: &TalkOptions) -> Result<(), Refusal> {
    let Some(folder) = &options.record else { return Ok(()) };
    if folder.exists() && !folder.is_dir() {
        return Err(Refusal::new(format!("{}: not a folder", folder.display())));
    }
    for source in sources(options) {
        if [HEARD, SEEN].iter().any(|name| is_same(source, &folder.join(name))) {
            let source = source.display();
            return Err(Refusal::new(format!("{source}: the recording would replace it")));
        }
    }
    Ok(())
}

/// The files that are said and shown.
pub(super) fn sources(options: &TalkOptions) -> impl Iterator<Item = &PathBuf> {
    let sound = match &options.audio {
        Sound::Wav(path) | Sound::Ogg(path) => Some(path),
        Sound::Tone(_) | Sound::Silence | Sound::Device(_) => None,
    };
    sound.into_iter().chain(&options.video).chain(&options.screen)
}

/// Whether two names mean one file, links included.
#[cfg(unix)]
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    id(one).is_some_and(|one| Some(one) == id(other))
}

#[cfg(not(unix))]
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}

fn refused(path: &Path) -> impl Fn(OpenError) -> Refusal {
    move |why| Refusal::new(format!("{}: {why}", path.display()))
}

/// Each file is opened once now, so that what is wrong with it is told at once.
fn microphone(studio: StudioBuilder, sound: &Sound) -> Result<StudioBuilder, Refusal> {
    Ok(match sound.clone() {
        Sound::Tone(hertz) => studio.microphone(move || Tone::new(hertz, LOUDNESS).source()),
        // A device is the kit's.
        Sound::Silence | Sound::Device(_) => studio.microphone(|| Silence.source()),
        Sound::Wav(path) => {
            let name = path.clone();
            let open = move || WavFile::open(&path).map(|file| file.at_end(AtEnd::Again).source());
            open().map_err(refused(&name))?;
            studio.source(MICROPHONE, open)
        }
        Sound::Ogg(path) => {
            let name = path.clone();
            let open = move || OggFile::open(&path).map(|file| file.at_end(AtEnd::Again).paced());
            open().map_err(refused(&name))?;
            studio.source(MICROPHONE, open)
        }
    })
}

/// Who hears a remote voice, and the person at the loudspeaker too: first, since that one knows how it
/// is heard.
pub(super) fn heard_too(
    kit: Option<Kit>,
    open: impl Fn(&RemoteTrack) -> Option<Box<dyn FrameSink>>,
) -> impl Fn(&RemoteTrack) -> Option<Box<dyn FrameSink>> {
    move |track| {
        let heard = open(track);
        let Some(kit) = &kit else { return heard };
        let speaker = Tee::new().and(kit.speaker(track));
        Some(match heard {
            Some(heard) => Box::new(speaker.and(heard)),
            None => Box::new(speaker),
        })
    }
}

fn shown(studio: StudioBuilder, what: Capture, film: &Path) -> Result<StudioBuilder, Refusal> {
    let path = film.to_owned();
    let open = move || IvfFile::open(&path).map(|film| film.at_end(AtEnd::Again).paced());
    open().map_err(refused(film))?;
    Ok(studio.source(what, open))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, Online};

    fn options(line: &str) -> TalkOptions {
        match Cli::parse_from(line.split(' ')).command {
            Command::Online(Online::Call(call)) => call.talk,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_by_its_name() {
        for line in [
            "audio /nowhere/a.wav",
            "audio /nowhere/a.ogg",
            "video /nowhere/a.ivf",
            "screen /nowhere/a.ivf",
        ] {
            let refused = Gear::open(&options(&format!("caller call @b:b --{line}")));
            let Err(refused) = refused else { panic!("opened: {line}") };
            assert!(refused.0.contains("/nowhere/a."), "{refused}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_instead_of_waited_for() {
        let fifo = std::env::temp_dir().join(format!("caller-test-{}.wav", std::process::id()));
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let refused = Gear::open(&options(&format!("caller call @b:b --audio {}", fifo.display())));
        fs::remove_file(&fifo).unwrap();
        let Err(refused) = refused else { panic!("opened") };
        assert!(refused.0.ends_with(".wav: not a regular file"), "{refused}");
    }

    #[test]
    fn a_picture_that_could_not_be_kept_is_refused_before_the_call() {
        let refused = Gear::open(&options("caller call @b:b --snapshot /nowhere/seen.png"));
        let Err(refused) = refused else { panic!("opened") };
        assert!(refused.0.starts_with("/nowhere/seen.png: "), "{refused}");
    }

    #[tokio::test]
    async fn a_call_in_which_no_picture_came_keeps_none_and_says_so() {
        let path = std::env::temp_dir().join(format!("caller-none-{}.png", std::process::id()));
        let line = format!("caller call @b:b --snapshot {}", path.display());
        let kept = Gear::open(&options(&line)).unwrap().finish().await;
        assert!(kept[0].as_ref().unwrap_err().ends_with("not written, no picture came"));
        assert!(!path.exists());
    }

    #[test]
    fn without_a_film_it_is_a_voice_call() {
        let gear = Gear::open(&options("caller call @b:b --audio silence")).unwrap();
        assert_eq!(gear.media, CallMedia::Voice);
    }
}
