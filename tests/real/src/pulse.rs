//! A sound server of a test's own: PulseAudio with a virtual microphone and a virtual loudspeaker, and
//! without any card.
//!
//! ```text
//!  say ─▶ sink "mic" ─▶ source "virtmic" ─▶ our program ─▶ sink "spk" ─▶ its monitor ─▶ listen
//!             ▲                                                              │
//!             └─────────────── echo, as loud as the test wants ──────────────┘
//! ```

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    equipment::SoundEquipment,
    failure::{Context, Failure},
    house::House,
    likeness::RATE,
    program::{Program, Ready},
    speech::Speech,
};

/// How long it may be silent while it starts, or take to answer. It takes 0.2 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// What it consists of at first. Without `norewinds` a sink without a card holds two seconds.
const MODULES: &str = "\
load-module module-native-protocol-unix auth-anonymous=1
load-module module-null-sink sink_name=spk rate=48000 norewinds=1
load-module module-null-sink sink_name=mic rate=48000 norewinds=1
load-module module-remap-source source_name=virtmic master=mic.monitor
set-default-sink spk
set-default-source virtmic
";

/// In the server's folder, what clients show to be let in.
const COOKIE: &str = "cookie";

/// The microphone, to be plugged in again.
const MICROPHONE: &str = "module-remap-source source_name=virtmic master=mic.monitor";

/// The running server.
#[derive(Debug)]
pub struct SoundServer<'h> {
    house: &'h House,
    equipment: SoundEquipment,
    folder: PathBuf,
    _program: Program,
}

/// A program that ends with this value.
#[derive(Debug)]
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Somebody who speaks into the microphone, again and again until this is dropped.
#[derive(Debug)]
pub struct Speaking {
    _pacat: Guest,
}

/// An echo that lasts until this is dropped.
#[derive(Debug)]
pub struct Echo<'s> {
    server: &'s SoundServer<'s>,
    module: String,
}

impl<'h> SoundServer<'h> {
    /// Starts it; `name` is that of its folder.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(house: &'h House, equipment: SoundEquipment, name: &str) -> Result<Self, Failure> {
        let folder = house.scratch().join(name);
        fs::create_dir_all(&folder).context(format_args!("making {}", folder.display()))?;
        // Nobody looks into it, but some clients are not let in without one.
        let cookie = folder.join(COOKIE);
        fs::write(&cookie, [0; 256]).context(format_args!("writing {}", cookie.display()))?;
        let script = folder.join("vd.pa");
        fs::write(&script, MODULES).context(format_args!("writing {}", script.display()))?;
        let mut command = house.command(&equipment.pulseaudio);
        at_home(&mut command, &folder);
        command.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]);
        command.args(["--disable-shm=yes", "--log-level=info", "-F"]).arg(&script);
        let log = house.folder().join(format!("{name}.log"));
        let ready = Ready { words: &["Daemon startup complete"], patience: PATIENCE };
        let program = Program::start("pulseaudio", command, &log, ready)?;
        let server = Self { house, equipment, folder, _program: program };
        server.control(&["info"])?;
        Ok(server)
    }

    /// Where clients find it: their `XDG_RUNTIME_DIR`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The microphone is pulled out.
    ///
    /// # Errors
    ///
    /// What `pactl` says.
    pub fn unplug_microphone(&self) -> Result<(), Failure> {
        self.control(&["unload-module", "module-remap-source"]).map(drop)
    }

    /// And plugged in again.
    ///
    /// # Errors
    ///
    /// What `pactl` says.
    pub fn plug_microphone_in(&self) -> Result<(), Failure> {
        let words: Vec<&str> =
            std::iter::once("load-module").chain(MICROPHONE.split(' ')).collect();
        self.control(&words).map(drop)
    }

    /// What the loudspeaker plays is heard by the microphone too, this much softer, `delay` later.
    ///
    /// # Errors
    ///
    /// What `pactl` says.
    pub fn echo(&self, decibels: f64, delay: Duration) -> Result<Echo<'_>, Failure> {
        let latency = format!("latency_msec={}", delay.as_millis());
        let arguments = ["load-module", "module-loopback", "source=spk.monitor", "sink=mic"];
        let module = self.control(&[&arguments[..], &[&latency]].concat())?;
        let echo = Echo { server: self, module };
        let inputs = self.control(&["list", "short", "sink-inputs"])?;
        // "7<tab>1<tab>-<tab>module-loopback.c<tab>…": ours is the only one of a module.
        let input = inputs.lines().find(|line| line.contains("module-loopback"));
        let input = input.and_then(|line| line.split('\t').next());
        let input = input.ok_or_else(|| Failure(format!("no loopback among {inputs:?}")))?;
        self.control(&["set-sink-input-volume", input, &format!("{decibels}dB")])?;
        Ok(echo)
    }

    /// Speaks into the microphone.
    ///
    /// # Errors
    ///
    /// When `pacat` does not start.
    pub fn say(&self, speech: &Speech) -> Result<Speaking, Failure> {
        let mut command = self.command(&self.equipment.pacat);
        command.args(["--playback", "--raw", "--format=s16le", "--rate=48000", "--channels=1"]);
        command.args(["--latency-msec=100", "-d", "mic"]).stdin(Stdio::piped());
        let mut child = command.spawn().context("starting pacat")?;
        let bytes = speech.sound.iter().flat_map(|sample| {
            let sample = (sample * f32::from(i16::MAX)) as i16;
            sample.to_le_bytes()
        });
        let bytes: Vec<u8> = bytes.collect();
        if let Some(mut mouth) = child.stdin.take() {
            // It takes as much as it plays, and ends when it does.
            thread::spawn(move || while mouth.write_all(&bytes).is_ok() {});
        }
        Ok(Speaking { _pacat: Guest(child) })
    }

    /// What a source hears from now on, for so long: "spk.monitor" is what the loudspeaker plays,
    /// "mic.monitor" what the microphone hears. At [`RATE`].
    ///
    /// # Errors
    ///
    /// When `parec` does not start, or gives nothing in five times the time.
    pub fn listen(&self, source: &str, length: Duration) -> Result<Vec<f32>, Failure> {
        let mut command = self.command(&self.equipment.parec);
        command.args(["--raw", "--format=s16le", "--channels=1", "--latency-msec=20"]);
        command.arg(format!("--rate={RATE}")).args(["-d", source]).stdout(Stdio::piped());
        // It complains when nobody listens any more.
        command.stderr(Stdio::null());
        let mut child = command.spawn().context("starting parec")?;
        let ear = child.stdout.take();
        let _guest = Guest(child);
        let mut bytes = vec![0; (length.as_secs_f64() * f64::from(RATE)) as usize * 2];
        let (done, heard) = mpsc::channel();
        thread::spawn(move || {
            let read = ear.map(|mut ear| ear.read_exact(&mut bytes));
            // Who listens may have given up.
            let _ = done.send(read.is_some_and(|read| read.is_ok()).then_some(bytes));
        });
        let heard = heard.recv_timeout(length * 5).ok().flatten();
        let heard = heard.ok_or_else(|| Failure(format!("{source} gives no sound")))?;
        Ok(samples(&heard))
    }

    /// What `pactl` answers.
    fn control(&self, arguments: &[&str]) -> Result<String, Failure> {
        let what = || format!("pactl {}", arguments.join(" "));
        let output = self.command(&self.equipment.pactl).args(arguments).output();
        let output = output.context(what())?;
        if !output.status.success() {
            return Err(Failure::of(what(), String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = self.house.command(program);
        at_home(&mut command, &self.folder);
        command
    }
}

impl Drop for Echo<'_> {
    fn drop(&mut self) {
        // The server may have ended.
        let _ = self.server.control(&["unload-module", &self.module]);
    }
}

/// A program finds the sound server of this folder and no other.
pub(crate) fn at_home(command: &mut Command, folder: &Path) {
    command.env("XDG_RUNTIME_DIR", folder).env("XDG_CONFIG_HOME", folder);
    command.env("PULSE_COOKIE", folder.join(COOKIE));
    for other in ["PULSE_SERVER", "PULSE_RUNTIME_PATH", "PULSE_SINK", "PULSE_SOURCE"] {
        command.env_remove(other);
    }
}

/// Sound of 16 bits.
pub(crate) fn samples(bytes: &[u8]) -> Vec<f32> {
    let pairs = bytes.as_chunks::<2>().0.iter();
    pairs.map(|pair| f32::from(i16::from_le_bytes(*pair)) / -f32::from(i16::MIN)).collect()
}
