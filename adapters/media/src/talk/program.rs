//! A headset whose wearer is a program: what it says is written, what it hears is read, at the pace of
//! time and with the same care for packets as a person's.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    STEP_SAMPLES,
    cleaner::CleanerOptions,
    clerk::Prompt,
    device::{DeviceError, DeviceInfo, Devices, Player, Recorder, Which},
    headset::{Headset, HeadsetError, HeadsetOptions},
    metronome::Metronome,
};
use crate::audio::{
    opus::OpusOptions,
    pcm::{PcmEar, PcmInput, PcmOutput, PcmQueue, pcm_input, pcm_output},
    sound::FRAME_SAMPLES,
    voice::{Filled, Pcm},
};

impl Headset {
    /// A headset for a program: its calls hear what is written to the input, and silence while there is
    /// nothing; the output gives everybody who talks, mixed, jitter evened out and losses concealed, 50
    /// times a second while there is a call. For one voice in the order of its packets, without a
    /// clock, there are [`pcm_source`](crate::pcm_source) and [`pcm_sink`](crate::pcm_sink).
    ///
    /// Words are for the call in which they are written. When the last call has ended, those that were not
    /// sent are dropped, and so are those that are written from then on, as soon as the next call
    /// begins: no callee hears what was meant for the one before. Only what is written before the first
    /// call waits for it. [`PcmClosed`](crate::PcmClosed) and the end of the output mean that the
    /// headset has ended, and not a call.
    ///
    /// ```
    /// use matrix_voip_media::{Studio, talk::{Headset, HeadsetError, OpusOptions}};
    ///
    /// # async fn bot(
    /// #     think: impl Fn(Vec<i16>) -> Vec<i16>, join: impl AsyncFn(std::sync::Arc<Studio>),
    /// # ) -> Result<(), HeadsetError> {
    /// let (headset, mut mouth, mut ear) = Headset::of_program(OpusOptions::default())?;
    /// let studio = Studio::builder().headset(&headset).build();
    /// join(studio).await; // hand it to the engine, and be in a call
    /// while let Some(heard) = ear.read::<i16>().await {
    ///     let words: Vec<i16> = think(heard);
    ///     if mouth.write(&words).await.is_err() {
    ///         break; // the headset has ended
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`HeadsetError`]: the codec or the system refuses.
    pub fn of_program(opus: OpusOptions) -> Result<(Self, PcmInput, PcmOutput), HeadsetError> {
        let mut options = HeadsetOptions::default();
        // A program has no echo, no noise, and the loudness that it wants.
        (options.audio.clean, options.audio.opus) = (CleanerOptions::NOTHING, opus);
        let (input, queue) = pcm_input();
        let (ear, output) = pcm_output();
        let devices = Prompt::new(Program::new(queue, ear));
        let headset = Self::served(options, |_| Ok(Box::new(devices)))?;
        Ok((headset, input, output))
    }
}

/// The program, as devices.
struct Program {
    mouth: Arc<Mutex<PcmQueue>>,
    ear: Arc<PcmEar>,
    /// Whether there was a call with a microphone before.
    has_spoken: bool,
}

impl Program {
    fn new(queue: PcmQueue, ear: PcmEar) -> Self {
        Self { mouth: Arc::new(Mutex::new(queue)), ear: Arc::new(ear), has_spoken: false }
    }
}

impl Devices for Program {
    fn list(&mut self) -> Result<Vec<DeviceInfo>, DeviceError> {
        Ok(Vec::new())
    }

    fn open_recorder(&mut self, _: &Which) -> Result<Box<dyn Recorder>, DeviceError> {
        let queue = Arc::clone(&self.mouth);
        let mouth = ProgramRecorder { queue, metronome: Metronome::default(), rest: Vec::new() };
        if std::mem::replace(&mut self.has_spoken, true) {
            // Written after the call before had ended, by who did not know yet.
            mouth.forget();
        }
        Ok(Box::new(mouth))
    }

    fn open_player(&mut self, _: &Which) -> Result<Box<dyn Player>, DeviceError> {
        let ear = Arc::clone(&self.ear);
        Ok(Box::new(ProgramPlayer { ear, metronome: Metronome::default(), due: 0 }))
    }
}

/// What the program says, 10 ms for each 10 ms.
struct ProgramRecorder {
    /// The one of all calls, one after the other.
    queue: Arc<Mutex<PcmQueue>>,
    metronome: Metronome,
    /// Half of 20 ms.
    rest: Vec<f32>,
}

impl ProgramRecorder {
    /// Drops what is written and not sent: it was not meant for who is called next.
    fn forget(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for ProgramRecorder {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Recorder for ProgramRecorder {
    fn read(&mut self, now: Duration, sound: &mut Vec<f32>) -> Result<(), DeviceError> {
        for _ in 0..self.metronome.steps(now) {
            if self.rest.is_empty() {
                let mut frame = [0.0; FRAME_SAMPLES];
                let queue = &mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                if queue.fill(&mut frame) == Filled::Over {
                    frame.fill(0.0);
                }
                self.rest.extend_from_slice(&frame);
            }
            sound.extend(self.rest.drain(..STEP_SAMPLES));
        }
        Ok(())
    }
}

/// What the program hears, 10 ms for each 10 ms.
struct ProgramPlayer {
    ear: Arc<PcmEar>,
    metronome: Metronome,
    /// Samples that time has passed for.
    due: usize,
}

impl Player for ProgramPlayer {
    fn wanted(&mut self, now: Duration) -> Result<usize, DeviceError> {
        self.due += self.metronome.steps(now) as usize * STEP_SAMPLES;
        Ok(self.due)
    }

    fn write(&mut self, sound: &[f32]) {
        self.due = self.due.saturating_sub(sound.len());
        self.ear.hear(sound);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use matrix_voip::host::Frame;

    use super::*;
    use crate::{
        Ear, Level, Made, Script, Tone, Voice,
        audio::opus::Decoder,
        talk::{
            AudioCore, AudioOptions, Microphone,
            rig::Rig,
            testkit::{Nobody, sent, talker},
            wishes::Shared,
        },
    };

    /// A program at its headset, whose thread is the test.
    fn program() -> (PcmInput, PcmOutput, Rig, Arc<Shared>) {
        let (input, queue) = pcm_input();
        let (ear, output) = pcm_output();
        let options = AudioOptions { clean: CleanerOptions::NOTHING, ..AudioOptions::default() };
        let devices = Box::new(Prompt::new(Program::new(queue, ear)));
        let rig = Rig::new(AudioCore::new(options).unwrap(), devices);
        let shared = Shared::new(Which::Default, Which::Default, Box::new(Nobody));
        (input, output, rig, Arc::new(shared))
    }

    #[test]
    fn no_callee_hears_words_that_were_meant_for_the_one_before() {
        let (mut input, _output, mut rig, shared) = program();
        let words: Vec<f32> = Tone::new(440.0, 0.3).take(48_000).collect();
        let mut now = Duration::ZERO;
        // 200 ms of a call.
        let mut call = |rig: &mut Rig, microphone: &mut Microphone| {
            let mut said = Vec::new();
            for _ in 0..40 {
                now += Duration::from_millis(5);
                rig.turn(now, &shared);
                said.extend(sent(microphone));
            }
            said
        };
        let loud = |said: &[Frame]| said.iter().filter(|said| said.audio_level > Some(-30)).count();
        let open = || Microphone::open(Arc::clone(&shared));
        assert_eq!(input.try_write(&words), Ok(48_000));
        let (mut one, mut other) = (open(), open());
        let said = call(&mut rig, &mut one);
        assert_eq!((said.len(), loud(&said)), (9, 9), "a greeting waits for the first call");
        drop(one);
        sent(&mut other);
        let said = call(&mut rig, &mut other);
        assert_eq!((said.len(), loud(&said)), (10, 10), "the other call goes on");
        drop(other);
        rig.turn(Duration::from_secs(1), &shared);
        assert_eq!(input.waiting(), Duration::ZERO);
        // The program does not know yet.
        assert_eq!(input.try_write(&words), Ok(48_000));
        rig.turn(Duration::from_secs(2), &shared);
        let mut next = open();
        let said = call(&mut rig, &mut next);
        assert_eq!(loud(&said), 0, "not a word, and not the half of a packet that was left");
        let mut decoder = Decoder::new().unwrap();
        let corrected = Level::of(decoder.recover(&said[0].data, FRAME_SAMPLES).unwrap());
        assert!(corrected.rms < 0.001, "nor by the correction for the last packet: {corrected:?}");
        assert_eq!(input.try_write(&words), Ok(48_000));
        assert!(loud(&call(&mut rig, &mut next)) >= 9, "what is written now is for this call");
    }

    #[test]
    fn what_a_program_says_is_sent_and_what_it_hears_is_even_whatever_the_jitter() {
        let (mut input, output, mut rig, shared) = program();
        let mut microphone = Microphone::open(Arc::clone(&shared));
        let (_, inbox) = shared.open_voice(talker(1));
        let words: Vec<f32> = Tone::new(440.0, 0.3).take(48_000).collect();
        assert_eq!(input.try_write(&words), Ok(48_000));
        let (mut other, mut heard, mut said) =
            (Voice::new(Tone::new(700.0, 0.3)), Vec::new(), Vec::new());
        for step in 0..400_u64 {
            let now = Duration::from_millis(5 * step);
            // Three packets of 20 ms each 60 ms.
            for n in (0..3).filter(|_| step % 12 == 0) {
                let Made::Frame(frame) = other.make() else { panic!("a tone has no end") };
                let sequence = Some(step / 4 + n);
                inbox.put(now, Frame { sequence, ..frame });
            }
            rig.turn(now, &shared);
            said.extend(sent(&mut microphone));
            heard.extend(output.take::<f32>().unwrap_or_default());
        }
        assert!((98..=100).contains(&said.len()), "{} packets in 2 s", said.len());
        let loud = said.iter().filter(|packet| packet.audio_level > Some(-30)).count();
        assert!((49..=51).contains(&loud), "a second of words: {loud}");
        assert!((94_000..=96_000).contains(&heard.len()), "{}", heard.len());
        let mut meter = Ear::new();
        meter.push(&heard[48_000..]);
        let tone = meter.overall().tone.unwrap();
        assert!((tone.hz - 700.0).abs() < 3.0 && tone.share > 0.95, "{tone:?}");
        let stats = shared.view.borrow().voices[0].1.stats;
        assert!(stats.concealed <= 960, "the first time that nothing comes for 60 ms: {stats:?}");
    }
}
