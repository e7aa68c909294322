//! The story of a group call: all facts folded, and how long each phase of it took.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use matrix_voip::{
    Connection, GroupState,
    id::{PeerId, StreamId},
};

use super::{
    Moment,
    cast::Who,
    cost::Cost,
    fact::{Fact, Mark, Track},
};
use crate::demo::{
    fact::{Gauge, OtherMicrophone, Path},
    story::{Phase, phase},
};

/// What is known of one way: of who hears, about whom.
#[derive(Debug, Clone, Default)]
pub(crate) struct WayStory {
    /// When they were connected first.
    pub(crate) connected: Option<Duration>,
    /// How often a connection was lost before all left.
    pub(crate) lost: u32,
    /// The peer connections that were opened for it.
    pub(crate) opened: BTreeSet<PeerId>,
    /// Where the sound came from.
    pub(crate) tracks: Vec<Track>,
    /// The streams that were told of.
    pub(crate) streams: BTreeSet<StreamId>,
    /// The fingerprint of whose certificate was announced to the other.
    pub(crate) announced: Option<String>,
    /// The fingerprint that was told of the other's certificate.
    pub(crate) told: Option<String>,
    /// When the first sound was heard.
    pub(crate) first_sound: Option<Duration>,
    /// What the other says of his microphone.
    pub(crate) microphone: OtherMicrophone,
    /// The path that media takes.
    pub(crate) path: Option<Path>,
    /// The last measurement.
    pub(crate) gauge: Gauge,
}

/// The story of the call.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    /// How many there are.
    pub(crate) size: usize,
    entered: BTreeMap<Who, Duration>,
    ways: BTreeMap<(Who, Who), WayStory>,
    /// Who has tracks of nobody.
    pub(crate) strays: BTreeSet<Who>,
    /// How many events of each type were sent.
    pub(crate) sent: BTreeMap<String, u64>,
    costs: BTreeMap<Mark, Cost>,
    is_leaving: bool,
}

impl Story {
    /// Nothing has happened to so many.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            entered: BTreeMap::new(),
            ways: Who::ways(size).map(|way| (way, WayStory::default())).collect(),
            strays: BTreeSet::new(),
            sent: BTreeMap::new(),
            costs: BTreeMap::new(),
            is_leaving: false,
        }
    }

    /// Takes one fact into account.
    pub(crate) fn apply(&mut self, moment: &Moment) {
        let at = moment.at;
        match &moment.fact {
            Fact::State(who, GroupState::Entered) => {
                self.entered.entry(*who).or_insert(at);
            }
            Fact::State(..) => {}
            Fact::Connection(one, other, how) => self.on_connection((*one, *other), at, *how),
            Fact::Sent(_, _, event) => {
                *self.sent.entry(event.event_type.clone()).or_default() += 1;
            }
            Fact::Stray(who) => {
                self.strays.insert(*who);
            }
            Fact::Meters(who, gauges) => {
                for (of, gauge) in gauges {
                    self.of(*who, *of).gauge = *gauge;
                }
            }
            Fact::Cost(mark, cost) => {
                self.costs.insert(*mark, *cost);
            }
            Fact::Leaving => self.is_leaving = true,
            Fact::Opened(..)
            | Fact::Announced(..)
            | Fact::Told(..)
            | Fact::Track(..)
            | Fact::Streams(..)
            | Fact::OtherMicrophone(..)
            | Fact::FirstSound(..)
            | Fact::Path(..) => self.on_way(at, &moment.fact),
        }
    }

    /// What concerns one way alone.
    fn on_way(&mut self, at: Duration, fact: &Fact) {
        match fact {
            Fact::Opened(one, other, peer) => {
                self.of(*one, *other).opened.insert(*peer);
            }
            Fact::Announced(one, other, print) => {
                self.of(*one, *other).announced = Some(print.clone());
            }
            Fact::Told(one, other, print) => self.of(*one, *other).told = Some(print.clone()),
            Fact::Track(one, other, track) => self.of(*one, *other).tracks.push(track.clone()),
            Fact::Streams(one, other, ids) => {
                self.of(*one, *other).streams.extend(ids.iter().cloned());
            }
            Fact::OtherMicrophone(one, other, how) => self.of(*one, *other).microphone = *how,
            Fact::FirstSound(one, other) => {
                self.of(*one, *other).first_sound.get_or_insert(at);
            }
            Fact::Path(one, other, path) => self.of(*one, *other).path = Some(path.clone()),
            Fact::State(..)
            | Fact::Connection(..)
            | Fact::Sent(..)
            | Fact::Stray(..)
            | Fact::Meters(..)
            | Fact::Cost(..)
            | Fact::Leaving => {}
        }
    }

    fn on_connection(&mut self, (one, other): (Who, Who), at: Duration, how: Connection) {
        let is_leaving = self.is_leaving;
        let way = self.of(one, other);
        if how == Connection::Connected {
            way.connected.get_or_insert(at);
        } else if way.connected.is_some() && !is_leaving {
            way.lost += 1;
        }
    }

    fn of(&mut self, hears: Who, of: Who) -> &mut WayStory {
        self.ways.entry((hears, of)).or_default()
    }

    /// What is known of one way.
    pub(crate) fn way(&self, hears: Who, of: Who) -> &WayStory {
        self.ways.get(&(hears, of)).expect("invariant: every way has its story from the beginning")
    }

    /// All ways.
    pub(crate) fn ways(&self) -> impl Iterator<Item = (Who, Who, &WayStory)> {
        self.ways.iter().map(|((hears, of), way)| (*hears, *of, way))
    }

    /// When this one was in the call.
    pub(crate) fn entered(&self, who: Who) -> Option<Duration> {
        self.entered.get(&who).copied()
    }

    /// Whether the two were connected, both ways.
    pub(crate) fn met(&self, one: Who, other: Who) -> bool {
        self.way(one, other).connected.is_some() && self.way(other, one).connected.is_some()
    }

    /// Whether each has heard each.
    pub(crate) fn all_hear_all(&self) -> bool {
        self.ways.values().all(|way| way.first_sound.is_some())
    }

    /// What was used up to a mark.
    pub(crate) fn cost(&self, mark: Mark) -> Option<&Cost> {
        self.costs.get(&mark)
    }

    /// The phases; the last one is the whole way.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        let begin = Some(Duration::ZERO);
        let entered = latest(Who::cast(self.size).map(|who| self.entered(who)));
        let connected = latest(self.ways.values().map(|way| way.connected));
        let heard = latest(self.ways.values().map(|way| way.first_sound));
        let first = self.ways.values().filter_map(|way| way.first_sound).min();
        vec![
            phase("until all have entered", begin, entered),
            phase("until the first is heard", begin, first),
            phase("until each is connected to each", begin, connected),
            phase("until all hear all", begin, heard),
        ]
    }
}

/// The latest; `None` if one of them never was.
fn latest(times: impl Iterator<Item = Option<Duration>>) -> Option<Duration> {
    times.collect::<Option<Vec<_>>>()?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn all_hear_all_when_the_last_hears_the_last() {
        let mut story = Story::new(2);
        let [ada, ben] = [Who::ADA, Who::BEN];
        let took = |story: &Story| story.phases().last().and_then(|phase| phase.took);
        story.apply(&Moment { at: ms(40), fact: Fact::FirstSound(ada, ben) });
        assert_eq!(took(&story), None);
        story.apply(&Moment { at: ms(60), fact: Fact::FirstSound(ben, ada) });
        story.apply(&Moment { at: ms(90), fact: Fact::FirstSound(ada, ben) });
        assert_eq!(took(&story), Some(ms(60)));
    }

    #[test]
    fn a_connection_that_ends_because_all_leave_is_not_lost() {
        let mut story = Story::new(2);
        let [ada, ben] = [Who::ADA, Who::BEN];
        let mut tell = |fact| {
            story.apply(&Moment { at: Duration::ZERO, fact });
            story.way(ada, ben).lost
        };
        assert_eq!(tell(Fact::Connection(ada, ben, Connection::Connecting)), 0);
        assert_eq!(tell(Fact::Connection(ada, ben, Connection::Connected)), 0);
        assert_eq!(tell(Fact::Connection(ada, ben, Connection::Waiting)), 1);
        tell(Fact::Leaving);
        assert_eq!(tell(Fact::Connection(ada, ben, Connection::Waiting)), 1);
    }
}
