//! Files that other programs wrote (libopus, libvpx and libx264 through FFmpeg; `files/make.py`)
//! are played, and copies of them are the same again.

use std::{num::NonZeroU32, path::PathBuf};

use matrix_voip::host::{Frame, FrameSink};
use matrix_voip_media::{
    EarSink, H264File, H264Sink, IvfFile, IvfSink, Made, OggFile, Script, VideoCheck,
};

const RATE: NonZeroU32 = NonZeroU32::new(25).expect("not zero");

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "files", name].iter().collect()
}

fn copy(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("matrix-voip-{}-{name}", std::process::id()))
}

fn all(mut script: impl Script) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    while script.due().is_some() {
        if let Made::Frame(frame) = script.make() {
            let sequence = Some(frames.len() as u64);
            frames.push(Frame { sequence, ..frame });
        }
    }
    frames
}

#[test]
fn sound_of_libopus_is_heard() {
    let frames = all(OggFile::open(file("foreign.opus")).expect("an Ogg file"));
    let (mut sink, view) = EarSink::new();
    frames.into_iter().for_each(|frame| sink.push(frame));
    let tone = view.overall().tone.expect("a tone");
    assert!((tone.hz - 523.25).abs() < 2.0 && (tone.level - 0.25).abs() < 0.02, "{tone:?}");
    assert_eq!((view.counts().decoded, view.counts().broken), (26, 0));
}

#[test]
fn pictures_of_libvpx_are_seen_and_copied() {
    let frames = all(IvfFile::open(file("foreign.ivf")).expect("an IVF file"));
    let (mut check, view) = VideoCheck::new();
    let (mut sink, recording) = IvfSink::create(copy("ivf")).expect("a file");
    for frame in frames.clone() {
        check.push(frame.clone());
        sink.push(frame);
    }
    drop(sink);
    assert_eq!((view.report().shown, view.report().size), (25, Some((320, 240))));
    assert_eq!(recording.so_far().frames, 25);
    assert_eq!(all(IvfFile::open(copy("ivf")).expect("our copy")), frames);
    std::fs::remove_file(copy("ivf")).expect("our own file");
}

#[test]
fn pictures_of_libx264_in_four_slices_are_told_apart_and_copied() {
    let frames = all(H264File::open(file("foreign.h264"), RATE).expect("an H.264 file"));
    let keys: Vec<usize> = (0..25).filter(|n| frames[*n].key_frame).collect();
    assert_eq!((frames.len(), keys), (25, vec![0, 10, 20]));
    let (mut sink, _recording) = H264Sink::create(copy("h264")).expect("a file");
    frames.into_iter().for_each(|frame| sink.push(frame));
    drop(sink);
    let [ours, theirs] = [copy("h264"), file("foreign.h264")].map(|path| std::fs::read(path).ok());
    assert!(ours.is_some() && ours == theirs);
    std::fs::remove_file(copy("h264")).expect("our own file");
}
