//! Who speaks loudest, from the levels of what is received.
//!
//! Levels are looked at every [`Timeouts::speaker`](crate::config::Timeouts). A level that falls is
//! believed slowly, so that a pause between two words changes nothing; whoever is to take the place of
//! the speaker must be clearly louder, twice in a row, unless the speaker has fallen silent. Silence
//! changes nothing: who spoke last stays.

use std::collections::BTreeMap;

use super::{
    event::{Connection, GroupEvent},
    groups::GroupTimer,
};
use crate::{
    id::{OpId, RoomId, SessionId},
    machine::{
        Engine,
        fingerprint::Fingerprint,
        io::{Fault, MediaKind, Op, ParticipantId, PeerOp, PeerStats, Reply},
        world::{Owner, World},
    },
};

/// Below this nobody speaks: the noise of a room, in dBov.
const SILENCE: i8 = -50;
/// How much a level falls from one look to the next at most, in dB.
const FALL: i8 = 6;
/// By how much somebody must be louder than the speaker, in dB.
const CLEARLY: i8 = 6;
/// For how many looks, one after the other.
const LOOKS: u8 = 2;

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Speaker {
    present: Option<ParticipantId>,
    /// The level of each member, in dBov, in the order in which they came.
    levels: Vec<(ParticipantId, i8)>,
    /// Who is louder than the speaker, and for how many looks.
    challenger: Option<(ParticipantId, u8)>,
    asks: BTreeMap<OpId, ParticipantId>,
}

impl Speaker {
    /// A member's level was measured, in dBov.
    fn hear(&mut self, member: &ParticipantId, level: i8) {
        match self.levels.iter_mut().find(|(of, _)| of == member) {
            Some((_, held)) => *held = level.max(held.saturating_sub(FALL)),
            None => self.levels.push((member.clone(), level)),
        }
    }

    /// Whoever is not among these is heard no more.
    fn keep_only(&mut self, world: &mut World, members: &[ParticipantId]) {
        self.levels.retain(|(of, _)| members.contains(of));
        for (op, _) in self.asks.extract_if(.., |_, of| !members.contains(of)) {
            world.cancel(op);
        }
    }

    /// Whoever has gone speaks no more; one whose connection wavers comes back.
    fn keep_present(&mut self, is_there: impl Fn(&ParticipantId) -> bool) {
        self.present = self.present.take().filter(|present| is_there(present));
    }

    /// Somebody else measures, and names him.
    pub(super) fn name(&mut self, present: Option<ParticipantId>) {
        self.present = present;
    }

    pub(super) fn is(&self, member: &ParticipantId) -> bool {
        self.present.as_ref() == Some(member)
    }

    /// Nobody is heard any more.
    pub(super) fn stop(&mut self, world: &mut World) {
        self.keep_only(world, &[]);
        self.present = None;
    }

    /// Looks who speaks now.
    fn look(&mut self) -> Option<&ParticipantId> {
        let speaking = self.levels.iter().filter(|(_, level)| *level > SILENCE);
        // The first of two who are as loud.
        let loudest = speaking.rev().max_by_key(|(_, level)| *level).cloned();
        let Some((loudest, level)) = loudest else {
            self.challenger = None;
            return self.present.as_ref();
        };
        let of_present = self.present.as_ref().and_then(|present| {
            let found = self.levels.iter().find(|(of, _)| of == present);
            found.map(|(_, level)| *level).filter(|level| *level > SILENCE)
        });
        match of_present {
            // Nobody spoke, or who did is silent.
            None => self.settle(loudest),
            Some(present) if level.saturating_sub(present) < CLEARLY => self.challenger = None,
            Some(_) => self.challenge(loudest),
        }
        self.present.as_ref()
    }

    fn challenge(&mut self, by: ParticipantId) {
        let looks = match self.challenger.take() {
            Some((of, looks)) if of == by => looks + 1,
            Some(_) | None => 1,
        };
        if looks >= LOOKS {
            self.settle(by);
        } else {
            self.challenger = Some((by, looks));
        }
    }

    fn settle(&mut self, on: ParticipantId) {
        self.present = Some(on);
        self.challenger = None;
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((&self.present, &self.levels, &self.challenger));
        for (op, member) in &self.asks {
            print.op(*op);
            print.value(member);
        }
    }
}

/// The loudest sound that comes in, in dBov.
fn loudest(stats: &PeerStats) -> i8 {
    let sounds = stats.inbound.iter().filter(|stream| stream.kind == MediaKind::Audio);
    let levels = sounds.filter_map(|stream| stream.level);
    let level = levels.fold(0.0_f32, f32::max);
    // Of nothing the logarithm is below every bound.
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds")]
    let decibels = (20.0 * level.log10()).clamp(-127.0, 0.0) as i8;
    decibels
}

impl Engine {
    /// It is time to look who speaks in the meshes of a room.
    pub(super) fn on_levels_due(&mut self, room: &RoomId) {
        for session in self.groups.sessions_of(room) {
            self.look_who_speaks(session);
            self.ask_levels(session);
        }
        self.watch_levels(room);
    }

    /// Who speaks now, of those to whom we are connected.
    fn look_who_speaks(&mut self, session: SessionId) {
        self.drop_unheard(session);
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if !call.shown.backend.is_mesh() {
            return;
        }
        call.speaker.look();
        self.tell_speaker(session);
    }

    /// Whoever is not connected any more speaks no more.
    pub(super) fn drop_unheard(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let connected = call.shown.connections.iter();
        let connected = connected.filter(|(_, it)| **it == Connection::Connected);
        let connected: Vec<_> = connected.map(|(member, _)| member.clone()).collect();
        call.speaker.keep_only(&mut self.world, &connected);
        let mesh = &call.mesh;
        let sfu = call.shown.backend.is_sfu();
        call.speaker.keep_present(|member| sfu || mesh.has_leg(member));
        self.tell_speaker(session);
    }

    pub(super) fn tell_speaker(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let speaks = call.speaker.present.clone();
        if speaks != call.shown.active_speaker {
            call.tell(&mut self.world, GroupEvent::ActiveSpeakerChanged(speaks));
        }
    }

    fn ask_levels(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let legs = call.mesh.seats().filter_map(|seat| {
            let leg = seat.leg.as_ref()?;
            Some((seat.member.clone(), self.calls.get(&leg.session)?.peer()?))
        });
        for (member, peer) in legs.collect::<Vec<_>>() {
            // One that has not answered since the last look is not asked again.
            let connected = call.shown.connections.get(&member) == Some(&Connection::Connected);
            if connected && !call.speaker.asks.values().any(|asked| *asked == member) {
                let op = Op::Peer(peer, PeerOp::Stats);
                let op = self.world.request(Owner::Group(session), op);
                call.speaker.asks.insert(op, member);
            }
        }
    }

    /// Takes measurements, if it was asked for these.
    pub(super) fn on_levels(
        &mut self,
        session: SessionId,
        op: OpId,
        result: &Result<Reply, Fault>,
    ) -> bool {
        let Some(call) = self.groups.calls.get_mut(&session) else { return false };
        let Some(member) = call.speaker.asks.remove(&op) else { return false };
        if let Ok(Reply::Stats(stats)) = result {
            call.speaker.hear(&member, loudest(stats));
        }
        true
    }

    /// Levels are looked at while somebody is connected.
    pub(super) fn watch_levels(&mut self, room: &RoomId) {
        let every = self.world.config.timeouts.speaker;
        let connected = |call: &super::GroupCall| {
            let connected = |it: &Connection| *it == Connection::Connected;
            call.shown.backend.is_mesh() && call.shown.connections.values().any(connected)
        };
        let wanted = !every.is_zero() && self.groups.of_room(room).any(connected);
        let at = wanted.then(|| self.world.now.mono_after(every));
        self.groups.set_timer(room, GroupTimer::Levels, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{DeviceId, UserId},
        machine::io::StreamStats,
    };

    fn member(user: &str) -> ParticipantId {
        let user = UserId::parse(format!("@{user}:x")).unwrap();
        ParticipantId { user, device: DeviceId::parse("D").unwrap() }
    }

    /// Who speaks after each of these rounds of levels.
    fn rounds(speaker: &mut Speaker, rounds: &[[i8; 2]]) -> Vec<Option<String>> {
        let (ada, ben) = (member("ada"), member("ben"));
        let one = |levels: &[i8; 2]| {
            speaker.hear(&ada, levels[0]);
            speaker.hear(&ben, levels[1]);
            speaker.look().map(|who| who.user.as_str()[1..4].to_owned())
        };
        rounds.iter().map(one).collect()
    }

    fn some(names: &[&str]) -> Vec<Option<String>> {
        names.iter().map(|name| (!name.is_empty()).then(|| (*name).to_owned())).collect()
    }

    #[test]
    fn silence_changes_nothing() {
        let mut speaker = Speaker::default();
        let quiet = [-127, -90];
        let heard = rounds(&mut speaker, &[quiet, [-30, -80], quiet, quiet, quiet, quiet, quiet]);
        assert_eq!(heard, some(&["", "ada", "ada", "ada", "ada", "ada", "ada"]));
    }

    #[test]
    fn whoever_is_clearly_louder_twice_speaks() {
        let mut speaker = Speaker::default();
        let levels = [[-30, -80], [-30, -26], [-30, -20], [-30, -20], [-30, -20]];
        assert_eq!(rounds(&mut speaker, &levels), some(&["ada", "ada", "ada", "ben", "ben"]));
    }

    #[test]
    fn a_pause_between_two_words_and_a_cough_change_nothing() {
        let mut speaker = Speaker::default();
        let levels = [[-20, -90], [-127, -90], [-20, -10], [-20, -60], [-20, -60]];
        assert_eq!(rounds(&mut speaker, &levels), some(&["ada"; 5]));
    }

    #[test]
    fn when_the_speaker_falls_silent_the_other_speaks_at_once() {
        let mut speaker = Speaker::default();
        let mut levels = vec![[-20, -90]];
        levels.extend([[-127, -40]; 6]);
        let heard = rounds(&mut speaker, &levels);
        assert_eq!(heard.first(), some(&["ada"]).first());
        assert_eq!(heard.last(), some(&["ben"]).first());
    }

    #[test]
    fn levels_are_those_of_the_loudest_sound() {
        let sound = |level| {
            let mut sound = StreamStats::new("0", MediaKind::Audio, "audio/opus");
            sound.level = level;
            sound
        };
        let stats = |inbound| PeerStats { inbound, ..PeerStats::default() };
        assert_eq!(loudest(&stats(vec![])), -127);
        assert_eq!(loudest(&stats(vec![sound(None)])), -127);
        assert_eq!(loudest(&stats(vec![sound(Some(0.1)), sound(Some(0.01))])), -20);
        assert_eq!(loudest(&stats(vec![sound(Some(7.0))])), 0);
    }
}
