//! Commands that need a homeserver. They are part of every build, so that the help is the same and
//! a build without Matrix can say what it lacks (`without.rs`).

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use matrix_voip_media::talk::Which;

use super::Engine;

/// What can be done with a homeserver.
#[derive(Debug, Subcommand)]
pub(crate) enum Online {
    /// Log in and keep the session in your data folder. Session and store lie there unencrypted,
    /// readable by you alone.
    Login(LoginOptions),
    /// List your rooms, and whom a call in each would reach.
    Rooms(Profile),
    /// Call somebody: in a room of two, or a user in a room that you share.
    Call(CallOptions),
    /// Wait for a call and take it. A call that rings already rings here too, unless `call` or
    /// `login` ran since it began. Of group calls that ring it tells; `group` enters them.
    Answer(AnswerOptions),
    /// Enter the group call of a room, with all who are in it, each connected to each.
    Group(GroupOptions),
    /// Check what calls need: homeserver, sync, encryption, TURN. One line each.
    Doctor(Profile),
    /// Log out and remove session and store.
    Logout(Profile),
    /// Be driven by lines of JSON on standard input: for tests (the peer protocol).
    Serve(ServeOptions),
}

impl Online {
    /// The command's name as it is typed.
    #[cfg(not(feature = "matrix"))]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Login(_) => "login",
            Self::Rooms(_) => "rooms",
            Self::Call(_) => "call",
            Self::Answer(_) => "answer",
            Self::Group(_) => "group",
            Self::Doctor(_) => "doctor",
            Self::Logout(_) => "logout",
            Self::Serve(_) => "serve",
        }
    }

    /// Whether a microphone or a loudspeaker is asked for.
    #[cfg(not(feature = "matrix"))]
    pub(crate) fn wants_devices(&self) -> bool {
        let talk = match self {
            Self::Call(options) => &options.talk,
            Self::Answer(options) => &options.talk,
            Self::Group(options) => &options.talk,
            _ => return false,
        };
        matches!(talk.audio, Sound::Device(_)) || talk.speaker.is_some() || talk.push_to_talk
    }
}

/// Which of several logins, and how its homeserver is reached.
#[derive(Debug, Clone, Args)]
pub(crate) struct Profile {
    /// Which login, when you have several: a name of letters, digits, `-` and `_`.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = profile_name)]
    pub(crate) profile: String,

    /// Trust this root certificate (PEM) too, for the homeserver and for TURN over TLS.
    #[arg(long, value_name = "FILE.pem")]
    pub(crate) trust: Option<PathBuf>,
}

/// A name that is a folder's name and nothing else.
fn profile_name(text: &str) -> Result<String, String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err("only letters, digits, - and _, at most 64".to_owned());
    }
    Ok(text.to_owned())
}

/// Options of `caller login`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoginOptions {
    /// The whole user id, such as @ada:example.org.
    pub(crate) user: String,

    /// The homeserver: a URL (https://…), taken as it stands, or a server name, which is looked up.
    /// Without it, the name in the user id is looked up.
    #[arg(long, value_name = "URL")]
    pub(crate) homeserver: Option<String>,

    /// Read an access token from standard input instead of a password, with the device that it
    /// belongs to.
    #[arg(long)]
    pub(crate) token: bool,

    /// Read the recovery key (or passphrase) from standard input too, as the second line: the
    /// device is cross-signed with it, and reads older messages.
    #[arg(long)]
    pub(crate) recovery_key: bool,

    #[command(flatten)]
    pub(crate) profile: Profile,
}

/// Options of `caller call`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CallOptions {
    /// A room (!id, #alias:server or its name) or a user (@name:server).
    #[arg(value_name = "ROOM-or-USER")]
    pub(crate) whom: String,

    /// In a room with more than two people: whom to call.
    #[arg(long, value_name = "@USER:SERVER")]
    pub(crate) user: Option<String>,

    #[command(flatten)]
    pub(crate) talk: TalkOptions,
}

/// Options of `caller answer`.
#[derive(Debug, Clone, Args)]
pub(crate) struct AnswerOptions {
    #[command(flatten)]
    pub(crate) talk: TalkOptions,
}

/// Options of `caller group`.
#[derive(Debug, Clone, Args)]
pub(crate) struct GroupOptions {
    /// A room: !id, #alias:server or its name.
    pub(crate) room: String,

    /// Which group call of the room; without it the one that every room has.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) call: String,

    /// How others hear that the call begins, if nobody is in it yet; without it like a message, in a
    /// direct chat not at all.
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) announce: Option<Announce>,

    /// Before that, let every member of the room be in its group calls, if you may: its power levels
    /// are changed.
    #[arg(long)]
    pub(crate) allow_everyone: bool,

    /// Through an SFU (LiveKit): that whose tokens are had there (livekit_service_url); `auto`: the one
    /// at which its members are, or that the homeserver names. Only with --keys-only so far.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "auto",
          value_parser = Focus::parse)]
    pub(crate) livekit: Option<Focus>,

    /// Without sound and picture: be in the call, and show who is in it, tokens, and media keys by their
    /// fingerprints.
    #[arg(long, requires = "livekit", conflicts_with_all = ["video", "screen", "record", "snapshot"])]
    pub(crate) keys_only: bool,

    /// Fetch tokens by plain http too, which others can read: for a test network, and for a
    /// service on this machine.
    #[arg(long, requires = "livekit")]
    pub(crate) plain_http: bool,

    #[command(flatten)]
    pub(crate) talk: TalkOptions,
}

/// At which SFU a group call is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Focus {
    /// At that of its members, or of the homeserver.
    Auto,
    /// At the one whose tokens are had there.
    At(String),
}

impl Focus {
    /// Reads `auto` or an address.
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ if text.starts_with("https://") || text.starts_with("http://") => {
                Ok(Self::At(text.to_owned()))
            }
            _ => Err("https://… (where tokens are had), or auto".to_owned()),
        }
    }
}

/// How others hear that a group call begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Announce {
    /// It rings like a telephone.
    Ring,
    /// It is shown like a message.
    Message,
    /// Nobody hears of it.
    Nobody,
}

/// What a person in a call says, shows and keeps.
#[derive(Debug, Clone, Args)]
pub(crate) struct TalkOptions {
    /// What the others hear: tone:HERTZ, silence, a file (.wav, .ogg), played again and again, or
    /// `device`: your microphone, or another that has NAME in its name (device:NAME).
    #[arg(long, value_name = "SOUND", default_value = "tone:440", value_parser = Sound::parse)]
    pub(crate) audio: Sound,

    /// Play what the others say on your loudspeaker, or on another that has NAME in its name. Of
    /// itself with --audio device.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "",
          value_parser = speaker)]
    pub(crate) speaker: Option<String>,

    /// Send what your microphone hears only while you hold the space bar.
    #[arg(long)]
    pub(crate) push_to_talk: bool,

    /// A video call, with the pictures of this VP8 file.
    #[arg(long, value_name = "FILE.ivf")]
    pub(crate) video: Option<PathBuf>,

    /// What is shared as our screen (key s): the pictures of this VP8 file; without it a moving test
    /// picture.
    #[arg(long, value_name = "FILE.ivf")]
    pub(crate) screen: Option<PathBuf>,

    /// Keep what is received in this folder: heard.wav, and seen.ivf of a video call; in a group call
    /// a heard-1.wav and so on for each sound that comes. Files of an earlier call are replaced.
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,

    /// Keep the last picture of the other side in this file when the call ends, and whenever you
    /// press p; in a group call of each a FILE-1.png and so on. What is there is replaced.
    #[arg(long, value_name = "FILE.png", value_parser = png_file)]
    pub(crate) snapshot: Option<PathBuf>,

    /// Which WebRTC engine carries sound and picture.
    #[arg(long, value_enum, ignore_case = true, value_name = "NAME", default_value_t)]
    pub(crate) engine: Engine,

    /// Use TURN only, so that the other side learns no address of yours.
    #[arg(long)]
    pub(crate) relay_only: bool,

    /// Hang up after so many seconds in the call.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: Option<u32>,

    #[command(flatten)]
    pub(crate) profile: Profile,
}

/// A name of a device, which is optional: whom to call must not be taken for it.
fn speaker(text: &str) -> Result<String, String> {
    match text.starts_with(['@', '!', '#']) {
        true => Err("--speaker takes a device's name; put ROOM-or-USER before it".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// A name by which everybody sees what is in the file.
fn png_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_png = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
    is_png.then_some(path).ok_or_else(|| "a file ending in .png".to_owned())
}

/// What is said in a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sound {
    /// A tone of so many Hertz.
    Tone(f32),
    /// Nothing, in packets.
    Silence,
    /// A WAV file.
    Wav(PathBuf),
    /// Opus in Ogg.
    Ogg(PathBuf),
    /// A microphone.
    Device(Which),
}

impl Sound {
    /// Reads `tone:440`, `silence`, `FILE.wav`, `FILE.ogg`, `device` or `device:NAME`.
    fn parse(text: &str) -> Result<Self, String> {
        if text == "silence" {
            return Ok(Self::Silence);
        }
        if text == "device" {
            return Ok(Self::Device(Which::Default));
        }
        if let Some(name) = text.strip_prefix("device:") {
            let named = Self::Device(Which::Named(name.to_owned()));
            return if name.is_empty() {
                Err("a name is missing after device: (`caller devices` lists them)".to_owned())
            } else {
                Ok(named)
            };
        }
        if let Some(hertz) = text.strip_prefix("tone:") {
            let hertz: f32 = hertz.parse().map_err(|_| format!("{hertz} is no number of Hertz"))?;
            let fits = (20.0..=20_000.0).contains(&hertz);
            return fits.then_some(Self::Tone(hertz)).ok_or("20 to 20000 Hz can be heard".into());
        }
        let path = PathBuf::from(text);
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
        match ending.as_deref() {
            Some("wav") => Ok(Self::Wav(path)),
            Some("ogg" | "opus") => Ok(Self::Ogg(path)),
            _ => Err("tone:HERTZ, silence, device, or a file ending in .wav or .ogg".to_owned()),
        }
    }
}

/// Options of `caller serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeOptions {
    /// How the clients hear from the homeserver.
    #[arg(long, value_enum, default_value = "classic")]
    pub(crate) sync: Flavour,

    /// Which WebRTC engine the clients have.
    #[arg(long, value_enum, ignore_case = true, value_name = "NAME", default_value_t)]
    pub(crate) engine: Engine,

    /// Trust this root certificate (PEM) too, for homeserver, TURN over TLS and token services.
    #[arg(long, value_name = "FILE.pem")]
    pub(crate) trust: Option<PathBuf>,

    /// Tell media keys themselves (`keyB64`), not their fingerprints alone: for tests.
    #[arg(long)]
    pub(crate) show_keys: bool,
}

/// The two ways to sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flavour {
    /// `/v3/sync`, by `sync_once` in a loop.
    Classic,
    /// Simplified sliding sync, by the `SyncService`.
    Sliding,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn online(line: &str) -> Result<Online, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Command::Online(online) => Ok(online),
            Command::Demo(_) | Command::Replay(_) | Command::Devices => {
                panic!("works without a homeserver")
            }
        }
    }

    #[test]
    fn sounds_are_tones_silence_or_files() {
        assert_eq!(Sound::parse("tone:440"), Ok(Sound::Tone(440.0)));
        assert_eq!(Sound::parse("silence"), Ok(Sound::Silence));
        assert_eq!(Sound::parse("a.WAV"), Ok(Sound::Wav("a.WAV".into())));
        assert_eq!(Sound::parse("b/a.ogg"), Ok(Sound::Ogg("b/a.ogg".into())));
        assert_eq!(Sound::parse("device"), Ok(Sound::Device(Which::Default)));
        let usb = Which::Named("USB: a.wav".to_owned());
        assert_eq!(Sound::parse("device:USB: a.wav"), Ok(Sound::Device(usb)));
        for wrong in ["", "tone:", "tone:NaN", "tone:5", "noise", "a.mp3", "device:"] {
            assert!(Sound::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_call_needs_somebody() {
        assert_eq!(online("caller call").unwrap_err().exit_code(), 2);
        let Ok(Online::Call(call)) = online("caller call @ben:b --audio silence --relay-only")
        else {
            panic!("not a call")
        };
        assert_eq!((call.whom.as_str(), call.talk.audio), ("@ben:b", Sound::Silence));
        assert!(call.talk.relay_only);
    }

    #[test]
    fn whom_to_call_is_not_taken_for_a_loudspeaker() {
        let named = |line: &str| match online(line) {
            Ok(Online::Call(call)) => Ok((call.whom, call.talk.speaker)),
            Ok(other) => panic!("{other:?}"),
            Err(why) => Err((why.exit_code(), why.to_string())),
        };
        let ben = "@ben:b".to_owned();
        assert_eq!(named("caller call @ben:b --speaker"), Ok((ben.clone(), Some(String::new()))));
        let usb = Some("usb".to_owned());
        assert_eq!(named("caller call --speaker usb @ben:b"), Ok((ben, usb)));
        for whom in ["@ben:b", "!room:b", "#room:b"] {
            let (code, why) = named(&format!("caller call --speaker {whom}")).unwrap_err();
            let told = why.contains("--speaker takes a device's name; put ROOM-or-USER before it");
            assert!(code == 2 && told, "{why}");
        }
    }

    #[test]
    fn a_picture_is_kept_under_a_name_that_says_what_it_is() {
        let Ok(Online::Call(call)) = online("caller call @ben:b --snapshot a/Ben.PNG") else {
            panic!("not a call")
        };
        assert_eq!(call.talk.snapshot, Some("a/Ben.PNG".into()));
        assert_eq!(online("caller answer --snapshot film.ivf").unwrap_err().exit_code(), 2);
        let both = "caller group K --livekit auto --keys-only --snapshot a.png";
        assert_eq!(online(both).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn whoever_makes_media_chooses_an_engine() {
        let engine = |line: &str| match online(&format!("{line} --engine webrtc"))? {
            Online::Call(CallOptions { talk, .. })
            | Online::Answer(AnswerOptions { talk })
            | Online::Group(GroupOptions { talk, .. }) => Ok(talk.engine),
            Online::Serve(options) => Ok(options.engine),
            other => panic!("{other:?}"),
        };
        for line in ["caller call @ben:b", "caller answer", "caller group K", "caller serve"] {
            assert_eq!(
                engine(line).map_err(|why: clap::Error| why.exit_code()),
                Ok(Engine::Webrtc)
            );
        }
        // A TURN server is asked by the engine that tells why it refuses.
        assert_eq!(engine("caller doctor").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_group_call_is_that_of_the_room_unless_told_otherwise() {
        assert_eq!(online("caller group").unwrap_err().exit_code(), 2);
        let call = |line| match online(line) {
            Ok(Online::Group(options)) => (options.room, options.call),
            other => panic!("{other:?}"),
        };
        assert_eq!(call("caller group Kitchen"), ("Kitchen".to_owned(), String::new()));
        assert_eq!(
            call("caller group !a:b --call chess --announce ring --allow-everyone").1,
            "chess"
        );
    }

    #[test]
    fn an_sfu_is_at_an_address_or_whichever_it_is() {
        let focus = |line| match online(line) {
            Ok(Online::Group(options)) => Ok(options.livekit),
            Ok(other) => panic!("{other:?}"),
            Err(why) => Err(why.exit_code()),
        };
        assert_eq!(focus("caller group Kitchen"), Ok(None));
        for auto in ["caller group Kitchen --livekit", "caller group Kitchen --livekit auto"] {
            assert_eq!(focus(auto), Ok(Some(Focus::Auto)));
        }
        let at = focus("caller group Kitchen --livekit https://a/jwt --keys-only --plain-http");
        assert_eq!(at, Ok(Some(Focus::At("https://a/jwt".to_owned()))));
        // The room comes first: here it would be the address.
        assert_eq!(focus("caller group --livekit Kitchen"), Err(2));
        assert_eq!(focus("caller group Kitchen --keys-only"), Err(2));
        assert_eq!(focus("caller group K --livekit auto --keys-only --video a.ivf"), Err(2));
    }

    #[test]
    fn a_profile_is_the_name_of_one_folder() {
        assert!(online("caller rooms --profile work-2").is_ok());
        for wrong in ["..", "a/b", "", "a b"] {
            assert!(profile_name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn serve_syncs_the_classic_way_unless_told_otherwise() {
        let flavour = |line| match online(line) {
            Ok(Online::Serve(options)) => options.sync,
            other => panic!("{other:?}"),
        };
        assert_eq!(flavour("caller serve"), Flavour::Classic);
        assert_eq!(flavour("caller serve --sync sliding"), Flavour::Sliding);
        assert_eq!(online("caller serve --sync none").unwrap_err().exit_code(), 2);
    }
}
