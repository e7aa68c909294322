//! Watches one participant: the events of the call, and measurements again and again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use matrix_voip::{
    GroupEvent, GroupEvents, GroupNews, GroupSnapshot, PeerStats, Stream, WebRtc,
    wire::metadata::Purpose,
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{
    Teller,
    cast::Who,
    ears::Ears,
    fact::Fact,
    legs::Legs,
    member::{Common, Member},
};
use crate::demo::fact::{Gauge, OtherMicrophone, Path};

/// From one look at the meters to the next: as often as they must move to look alive.
const LOOKED_EVERY: Duration = Duration::from_millis(100);

/// So many looks, and the engine is asked to measure: as often as it counts.
const LOOKS_A_MEASUREMENT: u32 = 5;

/// One participant, watched.
pub(crate) struct Watch {
    who: Who,
    size: usize,
    ears: Ears,
    legs: Arc<Legs>,
    engine: Arc<dyn WebRtc>,
    teller: Teller,
    gauges: BTreeMap<Who, Gauge>,
    paths: BTreeMap<Who, Path>,
    looks: u32,
}

impl Watch {
    /// A watch of this participant.
    pub(crate) fn new(member: &Member, common: &Common) -> Self {
        Self {
            who: member.who,
            size: common.size,
            ears: member.ears.clone(),
            legs: Arc::clone(&member.legs),
            engine: Arc::clone(&member.engine),
            teller: common.teller.clone(),
            gauges: BTreeMap::new(),
            paths: BTreeMap::new(),
            looks: 0,
        }
    }

    /// Tells what happens in a call that nobody has entered yet, until it is over.
    pub(crate) async fn follow(mut self, mut events: GroupEvents) {
        let mut ticks = interval_at(Instant::now() + LOOKED_EVERY, LOOKED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                news = events.next() => match news {
                    Some(GroupNews::Event(event)) => self.on_event(event),
                    Some(GroupNews::Skipped { snapshot, .. }) => self.on_snapshot(&snapshot),
                    None => return,
                },
                _ = ticks.tick() => self.look().await,
            }
        }
    }

    fn on_snapshot(&self, snapshot: &GroupSnapshot) {
        self.teller.tell(Fact::State(self.who, snapshot.state));
        for (other, connection) in &snapshot.connections {
            if let Some(other) = Who::of(other) {
                self.teller.tell(Fact::Connection(self.who, other, *connection));
            }
        }
    }

    fn on_event(&self, event: GroupEvent) {
        match event {
            GroupEvent::StateChanged(state) => self.teller.tell(Fact::State(self.who, state)),
            GroupEvent::ConnectionChanged { participant, connection } => {
                if let Some(other) = Who::of(&participant) {
                    self.teller.tell(Fact::Connection(self.who, other, connection));
                }
            }
            GroupEvent::StreamsChanged { participant, streams } => {
                if let Some(other) = Who::of(&participant).filter(|other| *other != self.who) {
                    self.on_streams(other, &streams);
                }
            }
            _ => {}
        }
    }

    fn on_streams(&self, of: Who, streams: &[Stream]) {
        let voices = || streams.iter().filter(|stream| stream.purpose == Purpose::UserMedia);
        let ids = voices().filter_map(|stream| stream.id.clone()).collect();
        self.teller.tell(Fact::Streams(self.who, of, ids));
        if streams.is_empty() {
            // Whoever leaves has muted nothing, and unmuted nothing.
            return;
        }
        let muted = voices().any(|stream| stream.audio_muted);
        let how = if muted { OtherMicrophone::Muted } else { OtherMicrophone::On };
        self.teller.tell(Fact::OtherMicrophone(self.who, of, how));
    }

    async fn look(&mut self) {
        self.looks += 1;
        if self.looks.is_multiple_of(LOOKS_A_MEASUREMENT) {
            for (other, stats) in self.legs.measure(&self.engine).await {
                self.on_stats(other, &stats);
            }
        }
        let meters = self.who.others(self.size).map(|other| (other, self.gauge(other))).collect();
        self.teller.tell(Fact::Meters(self.who, meters));
    }

    fn gauge(&self, other: Who) -> Gauge {
        let (now, overall) = self.ears.of(other);
        Gauge { now, overall, ..self.gauges.get(&other).copied().unwrap_or_default() }
    }

    fn on_stats(&mut self, other: Who, stats: &PeerStats) {
        let path = stats.pair.as_ref().map(Path::from);
        if let Some(path) = path.filter(|path| self.paths.get(&other) != Some(path)) {
            self.paths.insert(other, path.clone());
            self.teller.tell(Fact::Path(self.who, other, path));
        }
        self.gauges.entry(other).or_default().count(stats);
    }
}
