//! The frame judge: LiveKit's own frame worker on Node (`frame-judge/judge.mjs`), asked line by line.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    equipment::JudgeEquipment,
    failure::{Context, Failure, Missing},
};

/// How long an answer may take: PBKDF2 on a busy machine, and some.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no judge.
#[derive(Debug)]
pub enum NoJudge {
    /// The machine lacks something: the test is skipped.
    Missing(Missing),
    /// It did not start: the test fails.
    Failed(Failure),
}

/// How a frame is encoded, as the worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JudgedCoding {
    /// Sound.
    Opus,
    /// A picture: its codec ("vp8", "vp9", "h264") and kind ("key", "delta").
    Video(&'static str, &'static str),
}

/// A worker with its participants.
#[derive(Debug)]
pub struct Judge {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
    asked: u64,
}

impl Judge {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// [`NoJudge`].
    pub fn start() -> Result<Self, NoJudge> {
        let equipment = JudgeEquipment::find().map_err(NoJudge::Missing)?;
        Self::run(&equipment).map_err(NoJudge::Failed)
    }

    fn run(equipment: &JudgeEquipment) -> Result<Self, Failure> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("frame-judge/judge.mjs");
        let mut command = Command::new(&equipment.node);
        command.arg(script).env("REAL_MODULES", &equipment.modules);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting the frame judge")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (say, answers) = mpsc::channel();
        thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
            // Nobody listens when the test is over.
            lines.map_while(Result::ok).try_for_each(|line| say.send(line).ok())
        });
        Ok(Self { child, stdin, answers, asked: 0 })
    }

    /// How participants that are named from now on keep their keys.
    ///
    /// # Errors
    ///
    /// The judge has ended or does not answer, as for all other requests.
    pub fn profile(&mut self, ring: u16, window: u8) -> Result<(), Failure> {
        // So many failures in a row that no test gets there.
        let args = json!({"ring": ring, "window": window, "tolerance": 100_000});
        self.ask("profile", args).map(drop)
    }

    /// Gives a participant a key, for what he sends and what is received of him.
    ///
    /// # Errors
    ///
    /// As [`profile`](Self::profile).
    pub fn key(
        &mut self,
        who: &str,
        index: u8,
        key: &[u8],
        derivation: &str,
    ) -> Result<(), Failure> {
        let key = hex(key);
        let args = json!({"who": who, "index": index, "key": key, "derivation": derivation});
        self.ask("key", args).map(drop)
    }

    /// Ratchets a participant's key; the new material.
    ///
    /// # Errors
    ///
    /// As [`profile`](Self::profile).
    pub fn ratchet(&mut self, who: &str, index: u8) -> Result<Vec<u8>, Failure> {
        let answer = self.ask("ratchet", json!({"who": who, "index": index}))?;
        Ok(bytes(&answer["key"]).unwrap_or_default())
    }

    /// What the server marks the frames with that it makes.
    ///
    /// # Errors
    ///
    /// As [`profile`](Self::profile).
    pub fn trailer(&mut self, trailer: &[u8]) -> Result<(), Failure> {
        self.ask("trailer", json!({"trailer": hex(trailer)})).map(drop)
    }

    /// The frame as the worker sends it for a participant; `None`: it does not.
    ///
    /// # Errors
    ///
    /// As [`profile`](Self::profile).
    pub fn seal(
        &mut self,
        who: &str,
        coding: JudgedCoding,
        frame: &[u8],
    ) -> Result<Option<Vec<u8>>, Failure> {
        self.pass("seal", who, coding, frame)
    }

    /// The frame as the worker receives it of a participant; `None`: it drops it.
    ///
    /// # Errors
    ///
    /// As [`profile`](Self::profile).
    pub fn open(
        &mut self,
        who: &str,
        coding: JudgedCoding,
        frame: &[u8],
    ) -> Result<Option<Vec<u8>>, Failure> {
        self.pass("open", who, coding, frame)
    }

    fn pass(
        &mut self,
        cmd: &str,
        who: &str,
        coding: JudgedCoding,
        frame: &[u8],
    ) -> Result<Option<Vec<u8>>, Failure> {
        let (coding, kind) = match coding {
            JudgedCoding::Opus => ("opus", Value::Null),
            JudgedCoding::Video(codec, kind) => (codec, json!(kind)),
        };
        // Its nonce is made of these two: small numbers give H.264 something to escape.
        let (ssrc, timestamp) = (self.asked % 3, self.asked);
        let args = json!({
            "who": who, "track": coding, "coding": coding, "type": kind, "frame": hex(frame),
            "ssrc": ssrc, "timestamp": timestamp,
        });
        Ok(bytes(&self.ask(cmd, args)?["frame"]))
    }

    fn ask(&mut self, cmd: &str, mut request: Value) -> Result<Value, Failure> {
        self.asked += 1;
        request["id"] = json!(self.asked);
        request["cmd"] = json!(cmd);
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(format!("{request}\n").as_bytes()).context("asking the frame judge")?;
        }
        let line = self.answers.recv_timeout(PATIENCE).context("hearing the frame judge")?;
        let mut answer: Value = serde_json::from_str(&line).context("reading the frame judge")?;
        match answer["ok"].take() {
            Value::Null => Err(Failure(format!("the frame judge: {request}: {answer}"))),
            ok => Ok(ok),
        }
    }
}

impl Drop for Judge {
    /// The end of its input ends it; if it is stuck, it is killed.
    fn drop(&mut self) {
        drop(self.stdin.take());
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &Value) -> Option<Vec<u8>> {
    let digits = hex.as_str()?.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(pair).collect()
}
