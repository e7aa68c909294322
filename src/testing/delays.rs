//! Delayed events of a homeserver as a value (MSC4140): state that it writes later, unless it hears from
//! whoever scheduled it.
//!
//! Off at first, as most homeservers are: [`Delays::set_support`]. What is due is sent by
//! [`FakeHomeserver::fire`], which a simulation calls when virtual time has come so far.

use std::{collections::BTreeMap, time::Duration};

use super::server::FakeHomeserver;
use crate::{
    host::{DelayUpdate, SendState},
    id::{DelayId, RoomId, UserId},
    machine::{Identity, io::Fault},
    time::Wall,
    wire::delayed::DelayedPage,
};

/// What a homeserver does with delayed events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum DelaySupport {
    /// It has none: [`Fault::Unsupported`].
    #[default]
    None,
    /// It keeps and sends them.
    Full,
    /// The same, and a state event cancels those of its sender for that key, as some versions do.
    CancelledByState,
}

/// A state event that is sent later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delayed {
    /// Who scheduled it, on which device.
    pub by: Identity,
    /// What is written.
    pub event: SendState,
    /// When.
    pub due: Wall,
    delay: Duration,
}

/// The delayed events of a homeserver.
#[derive(Debug, Clone, Default)]
pub struct Delays {
    support: DelaySupport,
    events: BTreeMap<u64, Delayed>,
    latest: u64,
    quota: Option<usize>,
    per_page: Option<usize>,
    lists: usize,
}

impl Delays {
    /// What becomes of requests from now on (default: [`DelaySupport::None`]).
    pub fn set_support(&mut self, support: DelaySupport) {
        self.support = support;
    }

    /// How many one user may have at once; beyond them to schedule is refused.
    pub fn set_quota(&mut self, quota: usize) {
        self.quota = Some(quota);
    }

    /// How many stand on one page of the list (default: all).
    pub fn set_per_page(&mut self, per_page: usize) {
        self.per_page = Some(per_page);
    }

    /// What waits, in the order in which it was scheduled.
    pub fn waiting(&self) -> impl Iterator<Item = &Delayed> {
        self.events.values()
    }

    /// How many pages of lists were asked for.
    pub fn lists(&self) -> usize {
        self.lists
    }

    /// When the next one is sent.
    pub fn next_due(&self) -> Option<Wall> {
        self.events.values().map(|delayed| delayed.due).min()
    }

    /// Somebody else cancels what waits for a room, as a client that takes every event under its key
    /// for its own.
    pub fn cancel_all(&mut self, room: &RoomId) {
        self.events.retain(|_, delayed| delayed.event.room != *room);
    }

    /// Takes an event that is to be written after `delay`.
    ///
    /// # Errors
    /// [`Fault::Unsupported`] without support, [`Fault::Forbidden`] beyond the quota.
    pub fn schedule(
        &mut self,
        now: Wall,
        by: &Identity,
        (event, delay): (SendState, Duration),
    ) -> Result<DelayId, Fault> {
        self.supported()?;
        let of_user = self.of(&by.user).count();
        if self.quota.is_some_and(|quota| of_user >= quota) {
            return Err(Fault::Forbidden("ORG.MATRIX.MSC4140_MAX_SCHEDULED".to_owned()));
        }
        self.latest += 1;
        let (by, due) = (by.clone(), now.plus(delay));
        self.events.insert(self.latest, Delayed { by, event, due, delay });
        Ok(name(self.latest))
    }

    /// The events of a user, one page of them.
    ///
    /// # Errors
    /// [`Fault::Unsupported`] without support.
    pub fn list(&mut self, user: &UserId, from: Option<&str>) -> Result<DelayedPage, Fault> {
        self.supported()?;
        self.lists += 1;
        let first: u64 = from.and_then(|from| from.parse().ok()).unwrap_or_default();
        let mut left = self.of(user).filter(|(number, _)| **number >= first);
        let page = left.by_ref().take(self.per_page.unwrap_or(usize::MAX));
        let page: Vec<_> = page.map(|(number, delayed)| listed(*number, delayed)).collect();
        let next = left.next().map(|(number, _)| format!(r#","next_batch":"{number}""#));
        let answer =
            format!(r#"{{"delayed_events":[{}]{}}}"#, page.join(","), next.unwrap_or_default());
        DelayedPage::read(&answer).map_err(|why| Fault::Failed(why.to_string()))
    }

    fn supported(&self) -> Result<(), Fault> {
        match self.support {
            DelaySupport::None => Err(Fault::Unsupported),
            DelaySupport::Full | DelaySupport::CancelledByState => Ok(()),
        }
    }

    fn of(&self, user: &UserId) -> impl Iterator<Item = (&u64, &Delayed)> {
        self.events.iter().filter(move |(_, delayed)| delayed.by.user == *user)
    }

    fn number(&self, id: &DelayId) -> Result<u64, Fault> {
        let number = id.as_str().strip_prefix("syd_").and_then(|number| number.parse().ok());
        number.filter(|number| self.events.contains_key(number)).ok_or(Fault::NotFound)
    }

    /// A state event was written.
    pub(super) fn on_state(&mut self, sender: &UserId, event: &SendState) {
        if self.support == DelaySupport::CancelledByState {
            let same = |other: &SendState| {
                (&other.room, &other.event_type, &other.state_key)
                    == (&event.room, &event.event_type, &event.state_key)
            };
            self.events.retain(|_, it| it.by.user != *sender || !same(&it.event));
        }
    }

    fn take_due(&mut self, now: Wall) -> Option<Delayed> {
        let due = self.events.iter().filter(|(_, delayed)| delayed.due <= now);
        let number = due.min_by_key(|(number, delayed)| (delayed.due, **number))?.0;
        self.events.remove(&number.clone())
    }
}

impl FakeHomeserver {
    /// Restarts, sends or cancels a delayed event.
    ///
    /// # Errors
    /// [`Fault::NotFound`] when there is none of that id; [`Fault::Unsupported`] without support.
    pub fn update_delayed(
        &mut self,
        now: Wall,
        id: &DelayId,
        update: DelayUpdate,
    ) -> Result<(), Fault> {
        self.delays.supported()?;
        let number = self.delays.number(id)?;
        match update {
            DelayUpdate::Restart => {
                let delayed = self.delays.events.get_mut(&number).ok_or(Fault::NotFound)?;
                delayed.due = now.plus(delayed.delay);
            }
            DelayUpdate::Send => {
                let delayed = self.delays.events.remove(&number).ok_or(Fault::NotFound)?;
                self.send_state(now, &delayed.by, delayed.event)?;
            }
            DelayUpdate::Cancel => drop(self.delays.events.remove(&number)),
        }
        Ok(())
    }

    /// Writes every delayed event whose time has come, each as of its time, if its sender still may.
    /// How many there were.
    pub fn fire(&mut self, now: Wall) -> usize {
        let mut fired = 0;
        while let Some(delayed) = self.delays.take_due(now) {
            fired += 1;
            // Whoever is not in the room any more writes nothing.
            let _ = self.send_state(delayed.due, &delayed.by, delayed.event);
        }
        fired
    }

    /// The delayed events.
    pub fn delays(&mut self) -> &mut Delays {
        &mut self.delays
    }
}

fn name(number: u64) -> DelayId {
    DelayId::parse(format!("syd_{number}")).expect("invariant: a short text is a delay id")
}

/// As Synapse lists it.
fn listed(number: u64, delayed: &Delayed) -> String {
    let SendState { room, event_type, state_key, content } = &delayed.event;
    format!(
        r#"{{"delay_id":"syd_{number}","room_id":"{room}","type":"{event_type}",
            "state_key":"{state_key}","delay":{},"content":{content}}}"#,
        delayed.delay.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::DeviceId, wire::member::MEMBER_TYPE};

    fn one() -> (FakeHomeserver, Identity, SendState) {
        let user = UserId::parse("@ada:x").unwrap();
        let ada = Identity { user: user.clone(), device: DeviceId::parse("A").unwrap() };
        let room = RoomId::parse("!r:x").unwrap();
        let mut server = FakeHomeserver::new();
        server.set_room(&room, [user]);
        server.login(&ada);
        server.delays().set_support(DelaySupport::Full);
        let event = SendState {
            room,
            event_type: MEMBER_TYPE.to_owned(),
            state_key: "@ada:x".to_owned(),
            content: r#"{"memberships":[]}"#.to_owned(),
        };
        (server, ada, event)
    }

    const SPAN: Duration = Duration::from_millis(100);

    #[test]
    fn a_delayed_event_is_sent_in_time_unless_it_is_restarted_or_cancelled() {
        let (mut server, ada, event) = one();
        let room = event.room.clone();
        let id = server.delays().schedule(Wall(0), &ada, (event.clone(), SPAN)).unwrap();
        assert_eq!(server.fire(Wall(99)), 0);
        server.update_delayed(Wall(99), &id, DelayUpdate::Restart).unwrap();
        assert_eq!((server.fire(Wall(198)), server.state_sent(&room)), (0, 0));
        assert_eq!((server.fire(Wall(199)), server.state_sent(&room)), (1, 1));
        let again = server.update_delayed(Wall(199), &id, DelayUpdate::Restart);
        assert_eq!(again, Err(Fault::NotFound));
        let id = server.delays().schedule(Wall(200), &ada, (event.clone(), SPAN)).unwrap();
        server.update_delayed(Wall(200), &id, DelayUpdate::Cancel).unwrap();
        assert_eq!(server.fire(Wall(900)), 0);
        let id = server.delays().schedule(Wall(200), &ada, (event, SPAN)).unwrap();
        server.update_delayed(Wall(200), &id, DelayUpdate::Send).unwrap();
        assert_eq!((server.fire(Wall(900)), server.state_sent(&room)), (0, 2));
    }

    #[test]
    fn the_list_has_pages() {
        let (mut server, ada, event) = one();
        server.delays().set_per_page(2);
        for _ in 0..3 {
            server.delays().schedule(Wall(0), &ada, (event.clone(), SPAN)).unwrap();
        }
        let first = server.delays().list(&ada.user, None).unwrap();
        let second = server.delays().list(&ada.user, first.next.as_deref()).unwrap();
        assert_eq!((first.members.len(), second.members.len(), second.next), (2, 1, None));
        let other = UserId::parse("@ben:x").unwrap();
        assert!(server.delays().list(&other, None).unwrap().members.is_empty());
    }

    #[test]
    fn a_homeserver_without_them_or_with_too_many_refuses() {
        let (mut server, ada, event) = one();
        server.delays().set_quota(1);
        server.delays().schedule(Wall(0), &ada, (event.clone(), SPAN)).unwrap();
        let beyond = server.delays().schedule(Wall(0), &ada, (event.clone(), SPAN));
        assert!(matches!(beyond, Err(Fault::Forbidden(_))));
        server.delays().set_support(DelaySupport::None);
        let refused = server.delays().schedule(Wall(0), &ada, (event, SPAN));
        assert_eq!(refused, Err(Fault::Unsupported));
        assert_eq!(server.delays().list(&ada.user, None), Err(Fault::Unsupported));
    }

    #[test]
    fn some_homeservers_cancel_it_when_its_sender_writes_that_state() {
        let (mut server, ada, event) = one();
        server.delays().set_support(DelaySupport::CancelledByState);
        server.delays().schedule(Wall(0), &ada, (event.clone(), SPAN)).unwrap();
        server.send_state(Wall(1), &ada, event).unwrap();
        assert_eq!(server.delays().waiting().count(), 0);
    }
}
