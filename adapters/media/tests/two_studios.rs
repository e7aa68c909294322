//! Two studios and, instead of an engine, a pipe that loses packets: sources on the clock, sinks,
//! and the way back (key frames). Virtual time: nothing here waits.

use std::{sync::Arc, time::Duration};

use matrix_voip::{
    host::{Frame, FrameSource, Media, RemoteTrack, SourceControl},
    id::{PeerId, SessionId, TrackId},
    machine::io::{Capture, MediaKind},
};
use matrix_voip_media::{
    CAMERA, EarSink, MICROPHONE, Pcm, PictureSize, Script, Studio, Tee, TestPicture, Threaded,
    Tone, VideoCheck, WavFile, WavSink, pcm_sink,
};
use tokio::time::{Instant, timeout};

/// Which packets are lost on the way.
type Loses = fn(u64) -> bool;

/// Carries one track for a while, as an engine would; how many frames were lost.
async fn carry(
    from: &Arc<Studio>,
    to: &Arc<Studio>,
    what: Capture,
    time: Duration,
    loses: Loses,
) -> u64 {
    let mut source = from.capture(SessionId(1), TrackId(1), what.clone()).await.expect("a source");
    let track = RemoteTrack {
        session: SessionId(1),
        member: None,
        peer: PeerId(1),
        mid: "0".into(),
        stream: None,
        kind: what.kind,
    };
    let mut sink = to.sink(track).expect("a sink");
    let (mut sequence, mut lost, mut contiguous) = (0, 0, true);
    let end = Instant::now() + time;
    while let Some(frame) = next_before(end, &mut source).await {
        if loses(sequence) {
            (lost, contiguous) = (lost + 1, false);
        } else {
            sink.push(Frame { sequence: Some(sequence), contiguous, ..frame });
            contiguous = true;
        }
        sequence += 1;
        if what.kind == MediaKind::Video && sink.wants_key_frame() {
            source.control(SourceControl::KeyFrame);
        }
    }
    lost
}

async fn next_before(end: Instant, source: &mut Box<dyn FrameSource>) -> Option<Frame> {
    timeout(end - Instant::now(), source.next()).await.ok().flatten()
}

#[tokio::test(start_paused = true)]
async fn a_tone_arrives_through_ten_percent_loss() {
    let (ear, view) = EarSink::new();
    let ada = Studio::builder().microphone(|| Tone::new(440.0, 0.2).source()).build();
    let ben = Studio::builder().speaker_once(ear).build();
    let time = Duration::from_millis(4_990);
    // After the last one that is lost come enough to know that it is.
    let lost = carry(&ada, &ben, MICROPHONE, time, |n| n % 10 == 3).await;
    assert_eq!(lost, 25);
    let tone = view.overall().tone.expect("a tone");
    assert!((tone.hz - 440.0).abs() < 5.0 && (tone.level - 0.2).abs() < 0.04, "{tone:?}");
    assert_eq!(view.counts().decoded, 225);
    assert_eq!(view.counts().concealed + view.counts().recovered, 25 * 960);
}

#[tokio::test(start_paused = true)]
async fn a_picture_heals_after_each_lost_frame() {
    let (check, view) = VideoCheck::new();
    let size = PictureSize::new(160, 96);
    let ada = Studio::builder().camera(move || TestPicture::sized(size, 10).paced()).build();
    let ben = Studio::builder().screen_once(check).build();
    let lost = carry(&ada, &ben, CAMERA, Duration::from_millis(3_950), |n| n % 10 == 4).await;
    let report = view.report();
    assert_eq!(lost, 4);
    // The frame after a lost one cannot be decoded; the one after that is the key frame.
    assert_eq!((report.shown, report.undecodable, report.key_frames_wanted), (32, 4, 4));
    assert_eq!((report.key_frames.asked, report.key_frames.answered), (4, 4));
    assert_eq!(report.key_frames.longest, Some(Duration::from_millis(100)));
    assert_eq!(report.missing, 2 * 4);
    assert_eq!(report.size, Some((160, 96)));
}

#[tokio::test(start_paused = true)]
async fn what_was_recorded_can_be_played() {
    let folder = tempfolder();
    let path = folder.join("heard.wav");
    let (wav, recording) = WavSink::create(&path).expect("a file");
    let (speaker, mut heard) = pcm_sink();
    let ada = Studio::builder().microphone(|| Tone::new(660.0, 0.3).source()).build();
    let both = Tee::new().and(Threaded::new(wav)).and(speaker);
    let ben = Studio::builder().speaker_once(both).build();
    carry(&ada, &ben, MICROPHONE, Duration::from_millis(110), |_| false).await;
    drop(ben);
    assert_eq!(recording.finished().await.expect("a whole file").frames, 6);
    let mut frames = 0;
    while heard.read::<i16>().await.is_some() {
        frames += 1;
    }
    assert_eq!(frames, 6);
    assert_eq!(WavFile::open(&path).expect("a WAV file").samples(), 6 * 960);
    std::fs::remove_dir_all(folder).expect("our own folder");
}

fn tempfolder() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("matrix-voip-media-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
}
