//! A sound server of the test's own, with a virtual microphone and a virtual loudspeaker.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use matrix_voip_media::talk::{DeviceError, Player, Recorder};

/// Set in the process that has the server in its environment, to the server's folder.
const INSIDE: &str = "MATRIX_VOIP_SOUND_RIG";

/// A loudspeaker that a test hears at its monitor, and a microphone that hears what is played into the
/// sink `mic`. Without `norewinds` a sink without a card holds two seconds.
const CARDS: &[&str] = &[
    "module-native-protocol-unix",
    "module-null-sink sink_name=spk rate=48000 norewinds=1 sink_properties=device.description=Loud",
    "module-null-sink sink_name=mic rate=48000 norewinds=1 sink_properties=device.description=Mouth",
    "module-remap-source source_name=virtmic master=mic.monitor source_properties=device.description=Ear",
];

/// Longest wait for anything: five times what it should take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The server.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
}

/// Runs the rest of the test in a process of its own, with a folder for a sound server in its environment
/// and with nothing of the machine's own: cpal finds a server by the environment alone.
pub(crate) fn alone(test: &str, inside: impl FnOnce(PathBuf)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return inside(folder.into());
    }
    let needed = ["pulseaudio", "pactl", "parec", "pacat"];
    let lacks = |tool: &&&str| Command::new(tool).arg("--version").output().is_err();
    if let Some(missing) = needed.iter().find(lacks) {
        return skip(&format!("sound server: {missing} is not installed"));
    }
    // Short: the path of a socket has 108 bytes at most.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("voip-sound-{}-{count}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([test, "--exact", "--nocapture"]).env(INSIDE, &folder);
    again.env("XDG_RUNTIME_DIR", &folder).env("HOME", &folder);
    again.env_remove("PULSE_SERVER").env_remove("PULSE_RUNTIME_PATH").env_remove("PULSE_COOKIE");
    let output = again.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    drop(fs::remove_dir_all(&folder));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    said.lines().filter(|line| line.starts_with("measured: ")).for_each(|line| println!("{line}"));
}

/// Past libtest, which swallows what print macros say.
pub(crate) fn skip(why: &str) {
    std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
}

impl Server {
    /// Begins one in this folder, and returns when it can be used.
    pub(crate) fn start(folder: &std::path::Path) -> Self {
        let mut command = Command::new("pulseaudio");
        command.args(["-n", "--daemonize=no", "--use-pid-file=no", "--log-level=info"]);
        // It ends by itself should the test be killed.
        command.args(["--exit-idle-time=30", "--disable-shm=yes"]);
        command.args(CARDS.iter().flat_map(|card| ["-L", card]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.env("XDG_RUNTIME_DIR", folder).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("Daemon startup complete") {
            assert!(log.read_line(&mut said).unwrap() > 0, "the sound server: {said}");
        }
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let server = Self { child, folder: folder.to_owned() };
        server.pactl("set-default-sink spk");
        server.pactl("set-default-source virtmic");
        server
    }

    fn command(&self, program: &str, arguments: &str) -> Command {
        let mut command = Command::new(program);
        command.args(arguments.split(' ')).env("XDG_RUNTIME_DIR", &self.folder);
        command
    }

    /// What `pactl` says.
    pub(crate) fn pactl(&self, arguments: &str) -> String {
        let output = self.command("pactl", arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pactl {arguments}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Plays this into a sink, from now on.
    pub(crate) fn speak(&self, sink: &str, sound: Vec<f32>) -> Tool {
        let arguments = format!("-p --raw --format=float32le --rate=48000 --channels=1 -d {sink}");
        let mut command = self.command("pacat", &arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut mouth = child.stdin.take().unwrap();
        let bytes: Vec<u8> = sound.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        // It ends early where the server does.
        std::thread::spawn(move || drop(mouth.write_all(&bytes)));
        Tool(child)
    }

    /// What a source hears, from now on.
    pub(crate) fn hear(&self, source: &str) -> Heard {
        let format = "--raw --format=float32le --rate=48000 --channels=1 --latency-msec=100";
        let mut command = self.command("parec", &format!("{format} -d {source}"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || pump(stdout, &sender));
        Heard { _tool: Tool(child), receiver }
    }

    /// A signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program that ends with this value.
pub(crate) struct Tool(Child);

impl Drop for Tool {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What a source hears.
pub(crate) struct Heard {
    _tool: Tool,
    receiver: mpsc::Receiver<Vec<f32>>,
}

impl Heard {
    /// What came since it was asked last.
    pub(crate) fn read(&self, sound: &mut Vec<f32>) {
        self.receiver.try_iter().for_each(|part| sound.extend(part));
    }
}

fn pump(mut stdout: ChildStdout, sender: &mpsc::Sender<Vec<f32>>) {
    let mut bytes = [0; 4 * 240];
    while stdout.read_exact(&mut bytes).is_ok() {
        let samples = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        if sender.send(samples.collect()).is_err() {
            return;
        }
    }
}

/// Wakes every 5 ms like an audio thread, until `look` has found what it waits for.
pub(crate) fn every_5_ms<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let (_sender, nothing) = mpsc::channel::<()>();
    let begun = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(now() - begun < PATIENCE, "waited in vain: {what}");
        let _ = nothing.recv_timeout(Duration::from_millis(5));
    }
}

/// The audio thread's time.
#[expect(clippy::disallowed_methods, reason = "a real server is waited for")]
pub(crate) fn now() -> Duration {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed()
}

/// A second of a tone that comes by `read`, from its beginning on.
pub(crate) fn second_of_a_tone(mut read: impl FnMut(&mut Vec<f32>)) -> Vec<f32> {
    let mut sound = Vec::new();
    every_5_ms("a second of a tone", || {
        read(&mut sound);
        let onset = sound.iter().position(|sample| sample.abs() > 0.05)?;
        // Not its very beginning: a resampler swings in.
        let from = onset + 2_400;
        sound.get(from..from + 48_000).map(<[f32]>::to_vec)
    })
}

/// Writes what is wanted, as an audio thread does. How much that was.
pub(crate) fn feed(player: &mut dyn Player, sound: &mut impl Iterator<Item = f32>) -> usize {
    let steps = player.wanted(now()).unwrap().div_ceil(480);
    for _ in 0..steps {
        player.write(&sound.take(480).collect::<Vec<_>>());
    }
    480 * steps
}

/// The error that ends a microphone or a loudspeaker, and how long it took to come.
pub(crate) fn end(mut ask: impl FnMut() -> Result<(), DeviceError>) -> (DeviceError, Duration) {
    let begun = now();
    (every_5_ms("the end of a device", || ask().err()), now() - begun)
}

/// Waits until it records.
pub(crate) fn records(recorder: &mut dyn Recorder) {
    let mut sound = Vec::new();
    every_5_ms("any sound", || {
        recorder.read(now(), &mut sound).unwrap();
        (sound.len() > 4_800).then_some(())
    });
}
