//! The command line: commands and options, as clap derives them. What needs a homeserver is in
//! `cli/online.rs`.

pub(crate) mod online;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::online::Online;

/// Calls over Matrix, in a terminal.
#[derive(Debug, Parser)]
#[command(name = "caller", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in the process")]
pub(crate) enum Command {
    /// Make a real call between two users inside this process, or a group call of more, and check
    /// what each of them hears.
    ///
    /// Signalling passes as Matrix events through a homeserver in memory; media through UDP
    /// sockets on loopback (ICE, DTLS-SRTP, Opus). Exit code 0 only if all heard the right tones.
    Demo(DemoOptions),
    /// Print a recorded call as a column of messages with times. Nothing is sent anywhere.
    ///
    /// Names, rooms and addresses in the file are pseudonyms; `it` is whose recording it is. `demo
    /// --record` writes recordings, and so does the library's `Recorder`. Exit code 1 where the file
    /// ends before its end or this build judges otherwise than the live call did, 2 where the file
    /// is no recording.
    Replay(ReplayOptions),
    /// List microphones and loudspeakers; a star marks those that are used unless told otherwise.
    ///
    /// A device is chosen by its name, a part of it that no other has, or its id (in brackets).
    Devices,
    /// What needs a homeserver.
    #[command(flatten)]
    Online(Online),
}

/// Options of `caller demo`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoOptions {
    /// How long they talk, in seconds.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,

    /// A group call of so many, 2 to 8 (without N: 3), each connected to each, each with a tone of its
    /// own. Not together with --video or --record.
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        default_missing_value = "3",
        value_parser = clap::value_parser!(u8).range(2..=8),
        conflicts_with_all = ["video", "record"]
    )]
    pub(crate) group: Option<u8>,

    /// A video call: with a moving test picture, or with the pictures of a VP8 file.
    #[arg(long, value_name = "FILE.ivf", num_args = 0..=1)]
    pub(crate) video: Option<Option<PathBuf>>,

    /// Which WebRTC engine both have.
    #[arg(long, value_enum, ignore_case = true, value_name = "NAME", default_value_t)]
    pub(crate) engine: Engine,

    /// Keep what each side received in this folder: WAV, IVF of a video call, and what its engine was
    /// given (see `caller replay`). Files of an earlier run are replaced.
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,

    /// Print every Matrix event as it is sent, as JSON.
    #[arg(long)]
    pub(crate) wire: bool,

    /// Print JSON lines instead of text.
    #[arg(long)]
    pub(crate) json: bool,

    /// Break something, to see that the demo notices.
    #[arg(long = "break", value_enum, value_name = "WHAT", hide = true)]
    pub(crate) breakage: Option<Breakage>,
}

/// A WebRTC engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Engine {
    /// `matrix-voip-str0m`.
    #[default]
    Str0m,
    /// `matrix-voip-webrtc`, over webrtc-rs: all but tones of a telephone.
    Webrtc,
}

/// Options of `caller replay`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayOptions {
    /// The recording (JSON lines).
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Breakage {
    /// Each side plays the tone that is expected of the other one.
    ToneSwapped,
    /// The second side plays the tone of the first.
    SameTone,
    /// The caller's microphone is muted.
    MicrophoneMuted,
    /// No datagram arrives anywhere.
    SocketDropsAll,
    /// The fingerprint in the caller's offer is another certificate's.
    WrongFingerprint,
    /// The callee lets it ring; in a group call the last one does not enter.
    NobodyAnswers,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn demo(arguments: &[&str]) -> Result<DemoOptions, clap::Error> {
        let all = ["caller", "demo"].iter().chain(arguments);
        match Cli::try_parse_from(all)?.command {
            Command::Demo(options) => Ok(options),
            other @ (Command::Replay(_) | Command::Devices | Command::Online(_)) => {
                panic!("not the demo: {other:?}")
            }
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn video_stands_alone_or_with_a_file() {
        assert_eq!(demo(&[]).unwrap().video, None);
        assert_eq!(demo(&["--video", "--wire"]).unwrap().video, Some(None));
        let file = demo(&["--video", "a.ivf"]).unwrap().video;
        assert_eq!(file, Some(Some(PathBuf::from("a.ivf"))));
    }

    #[test]
    fn a_group_has_two_to_eight_and_three_where_nobody_says_how_many() {
        let group = |arguments: &[&str]| demo(arguments).map(|options| options.group);
        assert_eq!(group(&[]).unwrap(), None);
        assert_eq!(group(&["--group"]).unwrap(), Some(3));
        assert_eq!(group(&["--group", "8", "--json"]).unwrap(), Some(8));
        for wrong in [["--group", "1"], ["--group", "9"], ["--group", "--video"]] {
            assert_eq!(group(&wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn the_help_says_how_many_a_group_can_be_and_what_it_excludes() {
        let help = demo(&["--help"]).unwrap_err().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in ["2 to 8 (without N: 3)", "Not together with --video or --record"] {
            assert!(help.contains(words), "{help}");
        }
        assert!(!help.contains("the two talk"), "{help}");
    }

    #[test]
    fn the_engine_is_str0m_unless_told_otherwise() {
        let engine = |arguments: &[&str]| demo(arguments).map(|options| options.engine);
        assert_eq!(engine(&[]).unwrap(), Engine::Str0m);
        for named in Engine::value_variants() {
            assert_eq!(engine(&["--engine", &named.to_string()]).unwrap(), *named);
        }
        assert_eq!(engine(&["--engine", "libwebrtc"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_call_of_no_seconds_is_refused() {
        assert_eq!(demo(&["--seconds", "0"]).unwrap_err().exit_code(), 2);
    }
}
