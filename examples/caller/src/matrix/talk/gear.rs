//! Media sources, sinks and recordings of a person's call, as the command line names them.
//! Files are opened before anybody is called.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use matrix_voip::{CallMedia, host::Media};
use matrix_voip_media::{
    AtEnd, CAMERA, EarSink, EarView, IvfFile, IvfSink, MICROPHONE, OggFile, OpenError, Pcm,
    Recording, Script, Silence, Studio, StudioBuilder, Tee, Threaded, Tone, VideoCheck, VideoView,
    WavFile, WavSink,
};

use crate::{
    cli::online::{Sound, TalkOptions},
    matrix::refusal::Refusal,
};

/// Amplitude of a tone.
const LOUDNESS: f32 = 0.25;

/// Microphone, camera, ear, eye and recordings of one call.
pub(crate) struct Gear {
    pub(crate) studio: Arc<dyn Media>,
    pub(crate) media: CallMedia,
    pub(crate) ear: EarView,
    pub(crate) eye: VideoView,
    recordings: Vec<(PathBuf, Recording)>,
}

impl Gear {
    /// Opens everything.
    pub(crate) fn open(options: &TalkOptions) -> Result<Self, Refusal> {
        regular(options)?;
        let mut recordings = Vec::new();
        let mut studio = microphone(Studio::builder(), &options.audio)?;
        if let Some(film) = &options.video {
            studio = camera(studio, film)?;
        }
        let media = if options.video.is_some() { CallMedia::Video } else { CallMedia::Voice };
        let (heard, ear) = EarSink::new();
        let (seen, eye) = VideoCheck::new();
        let (mut speaker, mut screen) =
            (Tee::new().and(heard), Tee::new().and(Threaded::new(seen)));
        if let Some(folder) = &options.record {
            fs::create_dir_all(folder)
                .map_err(|why| Refusal::new(format!("{}: {why}", folder.display())))?;
            let path = folder.join("heard.wav");
            let (sink, recording) = WavSink::create(&path).map_err(refused(&path))?;
            speaker = speaker.and(Threaded::new(sink));
            recordings.push((path, recording));
            if media == CallMedia::Video {
                let path = folder.join("seen.ivf");
                let (sink, recording) = IvfSink::create(&path).map_err(refused(&path))?;
                screen = screen.and(Threaded::new(sink));
                recordings.push((path, recording));
            }
        }
        let studio = studio.speaker_once(speaker).screen_once(screen).build();
        Ok(Self { studio, media, ear, eye, recordings })
    }

    /// Waits until the recordings are closed, and says what is in them, a line for each.
    pub(crate) async fn finish(self) -> Vec<String> {
        let Self { studio, recordings, .. } = self;
        // A sink that was never used is in there.
        drop(studio);
        let mut told = Vec::new();
        for (path, recording) in recordings {
            let path = path.display();
            told.push(match recording.finished().await {
                Ok(written) => format!("{path}: {} frames", written.frames),
                Err(why) => format!("{path}: {why}"),
            });
        }
        told
    }
}

/// A pipe would keep us waiting for whoever writes into it, and each file is opened twice.
fn regular(options: &TalkOptions) -> Result<(), Refusal> {
    let sound = match &options.audio {
        Sound::Wav(path) | Sound::Ogg(path) => Some(path),
        Sound::Tone(_) | Sound::Silence => None,
    };
    for path in sound.into_iter().chain(&options.video) {
        // What is not there at all is told when it is opened.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Refusal::new(format!("{}: not a regular file", path.display())));
        }
    }
    Ok(())
}

fn refused(path: &Path) -> impl Fn(OpenError) -> Refusal {
    move |why| Refusal::new(format!("{}: {why}", path.display()))
}

/// Each file is opened once now, so that what is wrong with it is told at once.
fn microphone(studio: StudioBuilder, sound: &Sound) -> Result<StudioBuilder, Refusal> {
    Ok(match sound.clone() {
        Sound::Tone(hertz) => studio.microphone(move || Tone::new(hertz, LOUDNESS).source()),
        Sound::Silence => studio.microphone(|| Silence.source()),
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

fn camera(studio: StudioBuilder, film: &Path) -> Result<StudioBuilder, Refusal> {
    let path = film.to_owned();
    let open = move || IvfFile::open(&path).map(|film| film.at_end(AtEnd::Again).paced());
    open().map_err(refused(film))?;
    Ok(studio.source(CAMERA, open))
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
        for line in ["--audio /nowhere/a.wav", "--audio /nowhere/a.ogg", "--video /nowhere/a.ivf"] {
            let refused = Gear::open(&options(&format!("caller call @b:b {line}")));
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
    fn without_a_film_it_is_a_voice_call() {
        let gear = Gear::open(&options("caller call @b:b --audio silence")).unwrap();
        assert_eq!(gear.media, CallMedia::Voice);
    }
}
