//! Watches one side of the call: its events, and its measurements again and again.

use std::time::Duration;

use matrix_voip::{
    CallEvents, CallNews, CallSession, CallSnapshot, End, PeerStats, Side,
    machine::event::CallEvent, wire::metadata::Purpose,
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{
    fact::{Fact, Gauge, OtherMicrophone, Path, Who},
    senses::Senses,
    teller::Teller,
};

/// From one measurement to the next: as often as a meter must move to look alive.
const MEASURED_EVERY: Duration = Duration::from_millis(100);

/// One side's call, watched.
pub(crate) struct Watch {
    who: Who,
    call: CallSession,
    senses: Senses,
    teller: Teller,
    gauge: Gauge,
    path: Option<Path>,
    microphone: OtherMicrophone,
}

impl Watch {
    /// A watch of this call.
    pub(crate) fn new(who: Who, call: CallSession, senses: Senses, teller: Teller) -> Self {
        Self {
            who,
            call,
            senses,
            teller,
            gauge: Gauge::default(),
            path: None,
            microphone: OtherMicrophone::On,
        }
    }

    /// Tells what happens to the call until it ends. `snapshot` and `events` belong together.
    pub(crate) async fn follow(mut self, snapshot: CallSnapshot, mut events: CallEvents) {
        self.teller.tell(Fact::State(self.who, snapshot.state));
        let mut ticks = interval_at(Instant::now() + MEASURED_EVERY, MEASURED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                news = events.next() => match news {
                    Some(CallNews::Event(CallEvent::Ended(end))) => return self.on_end(end),
                    Some(news) => self.on_news(news),
                    None => return,
                },
                _ = ticks.tick() => self.measure().await,
            }
        }
    }

    fn on_end(&self, end: End) {
        self.look();
        self.teller.tell(Fact::Ended(self.who, end));
    }

    fn on_news(&mut self, news: CallNews) {
        match news {
            CallNews::Event(CallEvent::StateChanged(state)) => {
                self.teller.tell(Fact::State(self.who, state));
            }
            CallNews::Event(CallEvent::StreamsChanged(streams)) => {
                let theirs = |stream: &&matrix_voip::Stream| {
                    stream.side == Side::Remote && stream.purpose == Purpose::UserMedia
                };
                let muted = streams.iter().find(theirs).is_some_and(|stream| stream.audio_muted);
                self.on_microphone(if muted {
                    OtherMicrophone::Muted
                } else {
                    OtherMicrophone::On
                });
            }
            CallNews::Skipped { snapshot, .. } => {
                self.teller.tell(Fact::State(self.who, snapshot.state));
            }
            CallNews::Event(_) => {}
        }
    }

    fn on_microphone(&mut self, how: OtherMicrophone) {
        if self.microphone != how {
            self.microphone = how;
            self.teller.tell(Fact::OtherMicrophone(self.who, how));
        }
    }

    async fn measure(&mut self) {
        // Before the connection there is nothing to measure, after it nothing more.
        if let Ok(stats) = self.call.stats().await {
            self.on_stats(&stats);
        }
        self.look();
    }

    fn on_stats(&mut self, stats: &PeerStats) {
        let path = stats.pair.as_ref().map(Path::from);
        if let Some(path) = path.filter(|path| self.path.as_ref() != Some(path)) {
            self.path = Some(path.clone());
            self.teller.tell(Fact::Path(self.who, path));
        }
        self.gauge.count(stats);
    }

    fn look(&self) {
        let (now, overall) = (self.senses.now(), self.senses.overall());
        let pictures = self.senses.pictures();
        self.teller.tell(Fact::Gauge(self.who, Gauge { now, overall, pictures, ..self.gauge }));
    }
}
