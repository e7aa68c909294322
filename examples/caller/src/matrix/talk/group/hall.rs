//! What is heard and seen of each participant: by `RemoteTrack::member` each track has its ear, and
//! its own file where sound or the last picture is kept.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use matrix_voip::{
    ParticipantId,
    host::{FrameSink, RemoteTrack},
    machine::io::MediaKind,
};
use matrix_voip_media::{
    EarSink, EarView, Heard, Recording, StudioBuilder, Tee, Threaded, VideoCheck, VideoView,
    WavSink,
};

use super::words::name;
use crate::{
    cli::online::TalkOptions,
    matrix::{
        refusal::Refusal,
        talk::{gear, kit::Kit, still},
    },
};

/// The ears and eyes of one person, for all others.
#[derive(Clone)]
pub(super) struct Hall {
    inside: Arc<Mutex<Inside>>,
    kit: Option<Kit>,
}

struct Inside {
    ears: BTreeMap<ParticipantId, EarView>,
    /// With the number of his picture's file, in the order in which they were first seen.
    eyes: BTreeMap<ParticipantId, (usize, VideoView)>,
    shelf: Option<Shelf>,
    /// The file of the last pictures, before it is numbered.
    snapshot: Option<PathBuf>,
}

/// Where sound is kept.
struct Shelf {
    folder: PathBuf,
    /// Files that are said or shown: none of them is replaced.
    spared: Vec<PathBuf>,
    files: usize,
    kept: Vec<Kept>,
}

/// One file.
struct Kept {
    path: PathBuf,
    of: ParticipantId,
    /// Or why it could not be made.
    recording: Result<Recording, String>,
}

impl Hall {
    /// Makes the folder for what is kept, if anything is, and finds out whether it can be.
    pub(super) fn open(options: &TalkOptions, kit: Option<Kit>) -> Result<Self, Refusal> {
        still::probe(options.snapshot.as_deref())?;
        let shelf = match &options.record {
            None => None,
            Some(folder) => {
                gear::open_folder(folder)?;
                let spared = gear::sources(options).cloned().collect();
                let (files, kept) = (0, Vec::new());
                Some(Shelf { folder: folder.clone(), spared, files, kept })
            }
        };
        let (ears, eyes) = (BTreeMap::new(), BTreeMap::new());
        let snapshot = options.snapshot.clone();
        Ok(Self { inside: Arc::new(Mutex::new(Inside { ears, eyes, shelf, snapshot })), kit })
    }

    /// The person's devices.
    pub(super) fn kit(&self) -> Option<&Kit> {
        self.kit.as_ref()
    }

    /// Remote tracks come here.
    pub(super) fn listens_in(&self, studio: StudioBuilder) -> StudioBuilder {
        let (sound, picture) = (self.clone(), self.clone());
        let hear = move |track: &RemoteTrack| Some(sound.inside().hear(track));
        studio
            .sink(MediaKind::Audio, gear::heard_too(self.kit.clone(), hear))
            .sink(MediaKind::Video, move |track| Some(picture.inside().see(track)))
    }

    /// What is heard of somebody at this moment.
    pub(super) fn now(&self, who: &ParticipantId) -> Heard {
        self.inside().ears.get(who).map(EarView::now).unwrap_or_default()
    }

    /// How many pictures were seen of somebody.
    pub(super) fn pictures(&self, who: &ParticipantId) -> u64 {
        self.inside().eyes.get(who).map(|(_, eye)| eye.report().shown).unwrap_or_default()
    }

    /// Keeps the last picture of each in a file of his own.
    pub(super) async fn snapshots(self) -> Vec<gear::Kept> {
        let (path, eyes) = {
            let inside = self.inside();
            let Some(path) = inside.snapshot.clone() else {
                return vec![Err(still::NO_NAME.to_owned())];
            };
            (path, inside.eyes.clone())
        };
        let mut told = Vec::new();
        for (who, (number, eye)) in eyes {
            if eye.picture().is_some() {
                let kept = still::save(eye, still::numbered(&path, number)).await;
                told.push(kept.map(|line| format!("{line} from {}", name(&who))));
            }
        }
        if told.is_empty() {
            told.push(Err(still::no_picture(&path)));
        }
        told
    }

    /// What was heard of each in all.
    pub(super) fn heard(&self) -> Vec<(ParticipantId, Heard)> {
        let inside = self.inside();
        inside.ears.iter().map(|(who, ear)| (who.clone(), ear.overall())).collect()
    }

    /// Waits until what is kept is closed; what is in each file, or why it is not whole.
    pub(super) async fn finish(self) -> Vec<gear::Kept> {
        let (kept, keeps_pictures) = {
            let mut inside = self.inside();
            let kept = inside.shelf.take().map(|shelf| shelf.kept).unwrap_or_default();
            (kept, inside.snapshot.is_some())
        };
        let mut told = Vec::new();
        for Kept { path, of, recording } in kept {
            let (path, of) = (path.display(), name(&of));
            let written = match recording {
                Ok(recording) => recording.finished().await.map_err(|why| why.to_string()),
                Err(why) => Err(why),
            };
            told.push(match written {
                Ok(written) => Ok(format!("{path}: {} frames from {of}", written.frames)),
                Err(why) => Err(format!("{path}: {why}")),
            });
        }
        if keeps_pictures {
            told.extend(self.snapshots().await);
        }
        told
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn hear(&mut self, track: &RemoteTrack) -> Box<dyn FrameSink> {
        let (sink, ear) = EarSink::new();
        let mut sinks = Tee::new().and(sink);
        if let Some(who) = &track.member {
            self.ears.insert(who.clone(), ear);
            if let Some(tape) = self.shelf.as_mut().and_then(|shelf| shelf.tape(who)) {
                // What is written to a disk must not hold up the engine.
                sinks = sinks.and(Threaded::new(tape));
            }
        }
        Box::new(sinks)
    }

    fn see(&mut self, track: &RemoteTrack) -> Box<dyn FrameSink> {
        let (check, eye) = VideoCheck::new();
        if let Some(who) = &track.member {
            let next = self.eyes.len() + 1;
            let number = self.eyes.get(who).map_or(next, |(number, _)| *number);
            self.eyes.insert(who.clone(), (number, eye));
        }
        Box::new(Threaded::new(check))
    }
}

impl Shelf {
    /// A file for the next sound that comes.
    fn tape(&mut self, of: &ParticipantId) -> Option<WavSink> {
        let path = loop {
            self.files += 1;
            let path = self.folder.join(format!("heard-{}.wav", self.files));
            if !self.spared.iter().any(|spared| gear::is_same(spared, &path)) {
                break path;
            }
        };
        let (sink, recording) = match WavSink::create(&path) {
            Ok((sink, recording)) => (Some(sink), Ok(recording)),
            Err(why) => (None, Err(why.to_string())),
        };
        self.kept.push(Kept { path, of: of.clone(), recording });
        sink
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Seek, SeekFrom, Write};

    use matrix_voip::host::{Codec, Frame};
    use matrix_voip_media::{Made, PictureSize, Script, TestPicture};

    use super::{
        super::testkit::{ada, ben},
        *,
    };

    /// A disk that has room for the head of a file.
    struct FullDisk;

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > 100 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    impl Seek for FullDisk {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }

    #[tokio::test]
    async fn each_participants_last_picture_has_a_file_of_its_own() {
        let folder = std::env::temp_dir().join(format!("caller-hall-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut inside = Inside {
            ears: BTreeMap::new(),
            eyes: BTreeMap::new(),
            shelf: None,
            snapshot: Some(folder.join("seen.png")),
        };
        let mut script = TestPicture::sized(PictureSize::new(160, 96), 10);
        let Made::Frame(frame) = script.make() else { panic!("not encoded") };
        for who in [ada(), ben()] {
            let (mut sink, eye) = VideoCheck::new();
            sink.push(frame.clone());
            inside.eyes.insert(who.clone(), (inside.eyes.len() + 1, eye));
        }
        let kept = Hall { inside: Arc::new(Mutex::new(inside)), kit: None }.finish().await;
        let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        let names: Vec<_> = names.iter().map(std::fs::DirEntry::file_name).collect();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(names, ["seen-1.png", "seen-2.png"]);
        assert!(gear::tell_kept(&kept) && kept.len() == 2, "{kept:?}");
    }

    #[tokio::test]
    async fn what_could_not_be_kept_is_told_as_such() {
        let (mut tape, recording) = WavSink::write(FullDisk).unwrap();
        tape.push(Frame::new(Codec::Opus, 0, vec![0xf8, 0xff, 0xfe]));
        drop(tape);
        let kept = Kept { path: "d/heard-1.wav".into(), of: ben(), recording: Ok(recording) };
        let never = Kept { path: "d/heard-2.wav".into(), of: ben(), recording: Err("no".into()) };
        let (folder, spared) = (PathBuf::from("d"), Vec::new());
        let shelf = Some(Shelf { folder, spared, files: 2, kept: vec![kept, never] });
        let (ears, eyes) = (BTreeMap::new(), BTreeMap::new());
        let inside = Arc::new(Mutex::new(Inside { ears, eyes, shelf, snapshot: None }));
        let hall = Hall { inside, kit: None };
        let kept = hall.finish().await;
        assert!(kept[0].as_ref().unwrap_err().starts_with("d/heard-1.wav: "), "{kept:?}");
        assert_eq!(kept[1], Err("d/heard-2.wav: no".to_owned()));
        assert!(!gear::tell_kept(&kept), "the exit code says so");
    }
}
