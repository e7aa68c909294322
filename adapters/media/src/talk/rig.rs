//! What the audio thread does at each turn, with the time told: between the devices, the
//! [`AudioCore`], and the packets of the engines.
//!
//! Where a device is missing, time stands in for it: silence is recorded and what would have been
//! played is thrown away, 10 ms for each 10 ms, so that the call goes on, and the device is tried again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use matrix_voip::host::{Frame, Playout, PlayoutOutput, SourceControl};

use super::{
    STEP_SAMPLES,
    clerk::{Answer, Clerk, Question, Ticket},
    core::{AudioCore, VoiceId, VoiceReport},
    device::{DeviceError, Player, Recorder, Which},
    lane::{Inbox, Way},
    metronome::Metronome,
    pace::Paced,
    wishes::{DeviceState, HeadsetView, Setting, Shared, Talker, Wishes},
};
use crate::audio::sound::SAMPLE_RATE;

/// How long until a missing device is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Most that is played at one turn, whatever a device wants: 200 ms.
const MAX_WANTED: usize = SAMPLE_RATE as usize / 5;

/// A device that may lose sound.
trait Lossy {
    /// Samples so far.
    fn lost(&self) -> u64;
}

impl Lossy for dyn Recorder {
    fn lost(&self) -> u64 {
        Recorder::lost(self)
    }
}

impl Lossy for dyn Player {
    fn lost(&self) -> u64 {
        Player::lost(self)
    }
}

/// One device: open, or missing and to be tried again.
struct Slot<D: Lossy + ?Sized> {
    device: Option<Box<D>>,
    /// Which was opened, or tried.
    which: Which,
    state: DeviceState,
    /// Which answer is waited for, if any.
    asked: Option<Ticket>,
    tickets: Ticket,
    /// When the last try failed.
    tried: Option<Duration>,
    metronome: Metronome,
    /// Samples that those before this one have lost.
    lost: u64,
}

impl<D: Lossy + ?Sized> Slot<D> {
    fn new() -> Self {
        Self {
            device: None,
            which: Which::Default,
            state: DeviceState::Idle,
            asked: None,
            tickets: 0,
            tried: None,
            metronome: Metronome::default(),
            lost: 0,
        }
    }

    /// Samples that were lost in all.
    fn lost(&self) -> u64 {
        self.lost + self.device.as_ref().map_or(0, |device| device.lost())
    }

    /// Asks for what is wanted, unless it is open, or asked for, or was tried a moment ago.
    fn want(&mut self, now: Duration, which: &Which, ask: impl FnOnce(Ticket, Which)) {
        if self.which != *which {
            self.drop_device();
            (self.tried, self.asked, self.state) = (None, None, DeviceState::Idle);
            self.which = which.clone();
        }
        let waits = self.tried.is_some_and(|tried| (tried..tried + RETRY).contains(&now));
        if self.device.is_some() || self.asked.is_some() || waits {
            return;
        }
        self.tickets += 1;
        self.asked = Some(self.tickets);
        ask(self.tickets, which.clone());
    }

    /// What came of asking; of what is not wanted any more, nothing.
    fn on_answer(&mut self, now: Duration, ticket: Ticket, opened: Result<Box<D>, DeviceError>) {
        if self.asked != Some(ticket) {
            return;
        }
        self.asked = None;
        match opened {
            Ok(device) => {
                self.metronome.stop();
                (self.device, self.state) = (Some(device), DeviceState::Open);
            }
            Err(error) => self.miss(now, error),
        }
    }

    /// Nobody answers any more.
    fn give_up(&mut self, now: Duration, error: &DeviceError) {
        if self.asked.take().is_some() {
            self.miss(now, error.clone());
        }
    }

    fn miss(&mut self, now: Duration, error: DeviceError) {
        (self.tried, self.state) = (Some(now), DeviceState::Missing(error));
    }

    fn lose(&mut self, now: Duration, error: DeviceError) {
        tracing::info!(%error, which = %self.which, "an audio device is gone");
        self.drop_device();
        self.miss(now, error);
    }

    fn close(&mut self) {
        self.drop_device();
        let (which, lost, tickets) = (self.which.clone(), self.lost, self.tickets);
        *self = Self { which, lost, tickets, ..Self::new() };
    }

    fn drop_device(&mut self) {
        self.lost = self.lost();
        self.device = None;
    }
}

/// One voice of the core, with where its packets come from.
struct Voice {
    id: VoiceId,
    inbox: Arc<Inbox>,
    talker: Talker,
    setting: Setting,
    /// Packets that came while this thread did not.
    overrun: u64,
}

/// Everything that an audio thread owns.
pub(super) struct Rig {
    core: AudioCore,
    clerk: Box<dyn Clerk>,
    recorder: Slot<dyn Recorder>,
    player: Slot<dyn Player>,
    voices: BTreeMap<u64, Voice>,
    way: Way,
    /// Packets that an engine did not take in time.
    untaken: u64,
    /// Kept between turns, so that nothing is allocated at each.
    arrived: VecDeque<(Duration, Frame)>,
    recorded: Vec<f32>,
}

impl Rig {
    pub(super) fn new(core: AudioCore, clerk: Box<dyn Clerk>) -> Self {
        Self {
            core,
            clerk,
            recorder: Slot::new(),
            player: Slot::new(),
            voices: BTreeMap::new(),
            way: Way::default(),
            untaken: 0,
            arrived: VecDeque::new(),
            recorded: Vec::new(),
        }
    }

    /// One turn. Whether there is sound, so that the next turn is to come soon.
    pub(super) fn turn(&mut self, now: Duration, shared: &Shared) -> bool {
        let mut wishes = shared.lock();
        let (is_busy, lists) = (wishes.is_busy(), std::mem::take(&mut wishes.lists));
        let (microphone, speaker) = (wishes.microphone.clone(), wishes.speaker.clone());
        self.follow(&wishes);
        let lanes: Vec<_> = wishes.lanes.values().cloned().collect();
        drop(wishes);
        for reply in lists {
            self.clerk.ask(Question::List(reply));
        }
        if is_busy {
            self.want_player(now, &speaker);
        } else {
            self.player.close();
        }
        if lanes.is_empty() {
            // Nobody is recorded who is not to be heard.
            self.close_recorder();
        } else {
            self.want_recorder(now, &microphone);
        }
        self.take_devices(now);
        if is_busy {
            self.take_packets();
            self.play(now);
            if !lanes.is_empty() {
                self.record(now);
                let is_missing = matches!(self.recorder.state, DeviceState::Missing(_));
                lanes.iter().for_each(|lane| lane.tell(is_missing));
            }
            while let Some(packet) = self.core.poll_packet() {
                let given_up = lanes.iter().filter_map(|lane| lane.put(packet.clone()));
                self.untaken += given_up.count() as u64;
            }
        }
        self.publish(shared, is_busy);
        is_busy
    }

    fn want_player(&mut self, now: Duration, which: &Which) {
        let clerk = &mut self.clerk;
        self.player.want(now, which, |ticket, which| clerk.ask(Question::Player(ticket, which)));
    }

    fn want_recorder(&mut self, now: Duration, which: &Which) {
        let clerk = &mut self.clerk;
        let ask = |ticket, which| clerk.ask(Question::Recorder(ticket, which));
        self.recorder.want(now, which, ask);
    }

    /// Takes what was opened. What is not wanted any more is closed again, also when the call is over.
    fn take_devices(&mut self, now: Duration) {
        loop {
            match self.clerk.next() {
                Ok(Some(Answer::Recorder(ticket, opened))) => {
                    self.recorder.on_answer(now, ticket, opened);
                }
                Ok(Some(Answer::Player(ticket, opened))) => {
                    let paced = |player| Box::new(Paced::new(player)) as Box<dyn Player>;
                    self.player.on_answer(now, ticket, opened.map(paced));
                }
                Ok(None) => return,
                Err(error) => {
                    self.player.give_up(now, &error);
                    return self.recorder.give_up(now, &error);
                }
            }
        }
    }

    /// Makes voices, volumes and the way out what is wished.
    fn follow(&mut self, wishes: &Wishes) {
        let core = &mut self.core;
        self.voices.retain(|id, voice| {
            let stays = wishes.voices.contains_key(id);
            if !stays {
                core.remove(voice.id);
            }
            stays
        });
        for (id, (talker, inbox)) in &wishes.voices {
            if !self.voices.contains_key(id) {
                // Beyond the most voices: heard when somebody has left.
                let Ok(voice) = self.core.add() else { continue };
                let (talker, inbox, setting) =
                    (talker.clone(), Arc::clone(inbox), Setting::default());
                let voice = Voice { id: voice, inbox, talker, setting, overrun: 0 };
                self.voices.insert(*id, voice);
            }
        }
        for voice in self.voices.values_mut() {
            let setting = wishes.setting(&voice.talker);
            if setting != voice.setting {
                self.core.set_volume(voice.id, setting.volume);
                self.core.set_muted(voice.id, setting.is_muted);
                voice.setting = setting;
            }
        }
        self.lead(wishes);
    }

    /// One encoder serves all calls: it bears what the worst of their ways bears.
    fn lead(&mut self, wishes: &Wishes) {
        let ways: Vec<Way> = wishes.lanes.values().map(|lane| lane.way()).collect();
        let way = Way {
            is_muted: wishes.is_muted || (!ways.is_empty() && ways.iter().all(|way| way.is_muted)),
            bitrate: ways.iter().filter_map(|way| way.bitrate).min(),
            loss: ways.iter().map(|way| way.loss).fold(0.0, f32::max),
        };
        let before = std::mem::replace(&mut self.way, way);
        if way.is_muted != before.is_muted {
            self.core.control(SourceControl::Enabled(!way.is_muted));
        }
        if way.bitrate != before.bitrate {
            self.core.control(SourceControl::Bitrate(way.bitrate.unwrap_or(u64::MAX)));
        }
        if way.loss != before.loss {
            self.core.control(SourceControl::Loss(way.loss));
        }
    }

    fn take_packets(&mut self) {
        for voice in self.voices.values_mut() {
            voice.overrun = voice.inbox.take(&mut self.arrived);
            for (arrival, frame) in self.arrived.drain(..) {
                self.core.push_packet(arrival, voice.id, &frame);
            }
        }
    }

    /// As much as the loudspeaker wants; without one, as much as time has passed.
    fn play(&mut self, now: Duration) {
        let mut sound = [0.0; STEP_SAMPLES];
        if let Some(player) = &mut self.player.device {
            match player.wanted(now) {
                Ok(wanted) => {
                    for _ in 0..wanted.min(MAX_WANTED).div_ceil(STEP_SAMPLES) {
                        self.core.pull_playout(now, &mut sound);
                        player.write(&sound);
                    }
                    return;
                }
                Err(error) => self.player.lose(now, error),
            }
        }
        for _ in 0..self.player.metronome.steps(now) {
            self.core.pull_playout(now, &mut sound);
        }
    }

    fn close_recorder(&mut self) {
        let is_used = self.recorder.asked.is_some() || self.recorder.state != DeviceState::Idle;
        if is_used {
            self.recorder.close();
            self.core.forget_capture();
        }
    }

    /// What the microphone has; without one, silence for as long as time has passed.
    fn record(&mut self, now: Duration) {
        self.recorded.clear();
        self.recorded.shrink_to(MAX_WANTED);
        if let Some(recorder) = &mut self.recorder.device {
            match recorder.read(now, &mut self.recorded) {
                Ok(()) => return self.core.push_capture(&self.recorded),
                Err(error) => self.recorder.lose(now, error),
            }
        }
        let silence = [0.0; STEP_SAMPLES];
        for _ in 0..self.recorder.metronome.steps(now) {
            self.core.push_capture(&silence);
        }
    }

    fn publish(&self, shared: &Shared, is_busy: bool) {
        let mut capture = self.core.capture();
        capture.untaken += self.untaken;
        capture.dropped += self.recorder.lost();
        let view = HeadsetView {
            microphone: self.recorder.state.clone(),
            speaker: self.player.state.clone(),
            capture,
            unplayed: self.player.lost(),
            voices: self.heard(),
        };
        let news = |old: &mut HeadsetView| {
            let devices = (&view.microphone, &view.speaker) != (&old.microphone, &old.speaker);
            // The figures change at each turn: who waits for news waits for those of devices.
            *old = view;
            devices
        };
        shared.view.send_if_modified(news);
        if is_busy {
            let output = self.output();
            self.voices.values().for_each(|voice| self.tell(voice, output));
        }
    }

    fn heard(&self) -> Vec<(Talker, VoiceReport)> {
        let heard = |voice: &Voice| {
            let mut heard = self.core.voice(voice.id)?;
            heard.stats.overrun += voice.overrun;
            Some((voice.talker.clone(), heard))
        };
        self.voices.values().filter_map(heard).collect()
    }

    fn output(&self) -> PlayoutOutput {
        match self.player.state {
            DeviceState::Missing(_) => PlayoutOutput::NoDevice,
            DeviceState::Idle | DeviceState::Open => PlayoutOutput::Playing,
        }
    }

    /// What the engine is told of how somebody is heard.
    fn tell(&self, voice: &Voice, output: PlayoutOutput) {
        let Some(heard) = self.core.voice(voice.id) else { return };
        let mut playout = Playout::default();
        (playout.played, playout.concealed) = (heard.stats.played, heard.stats.concealed);
        playout.decoded = heard.stats.decoded + heard.stats.recovered;
        (playout.delay, playout.target) = (heard.stats.delay, heard.stats.target);
        playout.level = heard.level.rms;
        let is_silent = heard.is_muted || heard.volume <= 0.0;
        playout.output = if is_silent { PlayoutOutput::Muted } else { output };
        voice.inbox.tell(playout);
    }
}

#[cfg(test)]
mod tests;
