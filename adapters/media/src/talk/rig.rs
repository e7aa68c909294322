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
    clerk::{Answer, Clerk, Question},
    core::{AudioCore, MAX_RECORDED, VoiceId, VoiceReport},
    device::{Player, Recorder, Which},
    lane::{Inbox, Outbox, Way},
    pace::PacedPlayer,
    slot::Slot,
    view::{DeviceState, HeadsetView, Talker},
    wishes::{Setting, Shared, Wishes},
};
use crate::audio::sound::SAMPLE_RATE;

/// Most that is played at one turn, whatever a device wants: 200 ms.
const MAX_WANTED: usize = SAMPLE_RATE as usize / 5;

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
    /// Samples that microphones have lost, as far as their time has passed.
    lost: u64,
    /// Kept between turns, so that packets and sound need no new memory at each.
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
            lost: 0,
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
        self.want_devices(
            now,
            is_busy.then_some(&speaker),
            (!lanes.is_empty()).then_some(&microphone),
        );
        self.take_devices(now);
        if is_busy {
            self.move_sound(now, &lanes);
        }
        self.publish(shared, is_busy);
        is_busy
    }

    /// Asks for the devices that are wanted and closes the others. Nobody is recorded who is not to be heard.
    fn want_devices(&mut self, now: Duration, speaker: Option<&Which>, microphone: Option<&Which>) {
        match speaker {
            Some(speaker) => self.want_player(now, speaker),
            None => self.player.close(),
        }
        match microphone {
            Some(microphone) => self.want_recorder(now, microphone),
            None => self.close_recorder(),
        }
    }

    /// From engines to the loudspeaker, from the microphone to engines, in that order: the echo canceller is to
    /// know what is played before it hears it.
    fn move_sound(&mut self, now: Duration, lanes: &[Arc<Outbox>]) {
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
                    let paced = |player| Box::new(PacedPlayer::new(player)) as Box<dyn Player>;
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
        if self.recorder.state != DeviceState::Idle {
            self.recorder.close();
            self.core.forget_capture();
        }
    }

    /// What the microphone has; without one, silence for as long as time has passed.
    fn record(&mut self, now: Duration) {
        self.recorded.clear();
        self.recorded.shrink_to(MAX_RECORDED);
        let lost = self.recorder.lost();
        // Of whoever counts backwards nothing was lost.
        self.core.lose_capture(lost.saturating_sub(std::mem::replace(&mut self.lost, lost)));
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
        capture.dropped = capture.dropped.saturating_add(self.recorder.lost());
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
            DeviceState::Missing(_) | DeviceState::Opening => PlayoutOutput::NoDevice,
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
