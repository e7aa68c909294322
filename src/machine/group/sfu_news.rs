//! Group calls through an SFU: what it tells of us and of who is there.
//!
//! Whoever connects reports it: the host, or the application that connects by itself and wants snapshots
//! to be complete. What is told of somebody who is no member yet waits for his membership.

use super::{
    GroupCall,
    event::{Connection, SfuStatus},
    sfu::{CONNECT, Handed, Link},
};
use crate::{
    id::SessionId,
    machine::{
        Engine,
        io::{Ignored, ParticipantId, SfuNews, SfuState, Speaking, Verdict},
    },
};

impl GroupCall {
    /// How we are connected to a member by the SFU.
    fn sfu_connection(&self, member: &ParticipantId) -> Connection {
        match (self.sfu.link, self.sfu.is_there(member)) {
            (Link::Connected, true) => Connection::Connected,
            (Link::Reconnecting(_) | Link::Pausing(_) | Link::Connecting(_), true) => {
                Connection::Connecting
            }
            (Link::Connected | Link::Connecting(_) | Link::Reconnecting(_), false) => {
                Connection::Waiting
            }
            (Link::Off | Link::Lost(_), _) | (Link::Pausing(_), false) => Connection::Waiting,
        }
    }
}

impl Engine {
    /// Whoever connects to the SFU tells something.
    pub(in crate::machine) fn on_sfu_news(&mut self, session: SessionId, news: SfuNews) -> Verdict {
        let Some(call) = self.groups.calls.get(&session) else {
            return Verdict::Ignored(Ignored::UnknownSfu);
        };
        if !call.is_wanted() || !call.shown.backend.is_sfu() {
            return Verdict::Ignored(Ignored::UnknownSfu);
        }
        let room = call.shown.room.clone();
        let verdict = self.take_sfu_news(session, news);
        self.groups.watch_sfus(&room);
        verdict
    }

    fn take_sfu_news(&mut self, session: SessionId, news: SfuNews) -> Verdict {
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Ignored(Ignored::UnknownSfu);
        };
        let (identity, changed) = match news {
            SfuNews::State(state) => return self.on_sfu_state(session, state),
            SfuNews::Speakers(speakers) => return self.on_sfu_speakers(session, &speakers),
            SfuNews::Undecryptable(identity) => return self.on_undecryptable(session, &identity),
            SfuNews::TrackEnded(track) => {
                let source = call.media.source_of(track);
                source.into_iter().for_each(|source| self.lose_source(session, source));
                return Verdict::Handled;
            }
            SfuNews::MutedByServer(track) => {
                let source = call.media.source_of(track);
                let muted = source.map(|source| self.mute_in_group(session, source, true));
                return match muted {
                    Some(Ok(())) => Verdict::Handled,
                    Some(Err(_)) | None => Verdict::Ignored(Ignored::NoChange),
                };
            }
            SfuNews::Joined(identity) => {
                let kept = call.sfu.on_joined(&identity);
                (identity, kept)
            }
            SfuNews::Left(identity) => {
                call.sfu.on_left(&identity);
                (identity, true)
            }
            // What anybody can read is not what a member sent: it is not shown, nor shown any more.
            SfuNews::Published(identity, track) if call.keys.are_on() && !track.encrypted => {
                let was_shown = call.sfu.on_unpublished(&identity, &track.id);
                let member = call.sfu.member(&identity).cloned().filter(|_| was_shown);
                member.into_iter().for_each(|member| self.show_sfu_member(session, &member));
                return Verdict::Ignored(Ignored::NotEncrypted);
            }
            SfuNews::Published(identity, track) => {
                let kept = call.sfu.on_published(&identity, track);
                (identity, kept)
            }
            SfuNews::Unpublished(identity, track) => {
                call.sfu.on_unpublished(&identity, &track);
                (identity, true)
            }
        };
        if !changed {
            return Verdict::Ignored(Ignored::TooMany);
        }
        match call.sfu.member(&identity).cloned() {
            Some(member) => self.show_sfu_member(session, &member),
            None => return Verdict::Ignored(Ignored::Parked),
        }
        Verdict::Handled
    }

    fn on_sfu_state(&mut self, session: SessionId, state: SfuState) -> Verdict {
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Ignored(Ignored::UnknownSfu);
        };
        // What was on its way when we took the connection back is of one that is gone.
        if self.world.config.host_connects() && !call.sfu.link.is_taken_up() {
            return Verdict::Ignored(Ignored::NoChange);
        }
        match state {
            SfuState::Connected => {
                if call.sfu.handed == Handed::Lost {
                    // It came back by itself.
                    call.sfu.handed = Handed::Over;
                }
                call.sfu.link = Link::Connected;
                call.sfu.link_tries = 0;
                call.show_sfu(&mut self.world, SfuStatus::Connected);
            }
            SfuState::Reconnecting => {
                call.sfu.link = Link::Reconnecting(now.plus(CONNECT));
                call.show_sfu(&mut self.world, SfuStatus::Reconnecting);
            }
            SfuState::Lost(why) => self.on_sfu_lost(session, why),
        }
        self.show_sfu_members(session);
        Verdict::Handled
    }

    fn on_sfu_speakers(&mut self, session: SessionId, speakers: &[Speaking]) -> Verdict {
        let ourselves = self.ourselves();
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Ignored(Ignored::UnknownSfu);
        };
        let known =
            speakers.iter().filter_map(|one| Some((one.level, call.sfu.member(&one.identity)?)));
        let others = known.filter(|(_, member)| **member != ourselves);
        // Silence changes nothing: who spoke last stays.
        let loudest = others.max_by_key(|(level, _)| *level).map(|(_, member)| member.clone());
        match loudest {
            Some(member) => call.speaker.name(Some(member)),
            None => return Verdict::Ignored(Ignored::NoChange),
        }
        self.tell_speaker(session);
        Verdict::Handled
    }

    /// Somebody's frames cannot be read: perhaps we have another key of his than he uses.
    fn on_undecryptable(&mut self, session: SessionId, identity: &str) -> Verdict {
        let Some(call) = self.groups.calls.get(&session) else {
            return Verdict::Ignored(Ignored::UnknownSfu);
        };
        match call.sfu.member(identity).cloned() {
            Some(member) => self.miss_key(session, &member),
            None => Verdict::Ignored(Ignored::Parked),
        }
    }

    /// Shows what the SFU says of a member.
    pub(super) fn show_sfu_member(&mut self, session: SessionId, member: &ParticipantId) {
        let ourselves = self.ourselves();
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if *member == ourselves || call.shown.participant(member).is_none() {
            return;
        }
        if call.speaker.is(member) && !call.sfu.is_there(member) {
            call.speaker.name(None);
            self.tell_speaker(session);
        }
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let streams = call.sfu.streams(member);
        call.show_streams(&mut self.world, member.clone(), streams);
        let connection = call.sfu_connection(member);
        call.show_connection(&mut self.world, member, connection);
    }

    pub(super) fn show_sfu_members(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get(&session) else { return };
        let members: Vec<_> = call.shown.participants.iter().map(|one| one.id.clone()).collect();
        for member in members {
            self.show_sfu_member(session, &member);
        }
    }
}
