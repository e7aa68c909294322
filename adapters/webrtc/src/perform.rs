//! What the machine asks of a connection, one request after the other.

use matrix_voip::{
    machine::io::{
        Candidate, Description, Fault, IceServer, PeerOp, PeerStats, Plan, Reply, SdpKind,
        StreamStats,
    },
    sdp::{ice_ufrag, media_lines},
};
use rtc::peer_connection::transport::RTCIceCandidateInit;
use webrtc::peer_connection::StatsSelector;

use crate::{
    connection::{Connection, clock},
    error::PeerError,
    stats::{self, ticks},
};

impl Connection {
    pub(crate) async fn perform(&mut self, op: PeerOp) -> Result<Reply, Fault> {
        match op {
            PeerOp::Open(_) => return Err(Fault::Unsupported),
            PeerOp::Offer(plan) => return Ok(Reply::Description(self.offer(&plan).await?)),
            PeerOp::Answer(plan) => return Ok(Reply::Description(self.answer(&plan).await?)),
            PeerOp::SetLocal(description) => self.set_local(&description)?,
            PeerOp::LocalDescription => {
                return Ok(Reply::Description(self.negotiation.description(&self.pc).await?));
            }
            PeerOp::SetRemote(description) => self.set_remote(&description).await?,
            PeerOp::Rollback => self.rollback().await?,
            PeerOp::Candidates(candidates) => self.add_candidates(&candidates).await,
            PeerOp::RestartIce => self.negotiation.restart_ice(),
            PeerOp::SetServers(servers) => self.set_servers(&servers).await?,
            PeerOp::Stats => return Ok(Reply::Stats(Box::new(self.stats().await))),
            PeerOp::Close => self.is_closed = true,
        }
        Ok(Reply::Done)
    }

    async fn offer(&mut self, plan: &Plan) -> Result<Description, PeerError> {
        let offer = self.negotiation.offer(&self.pc, plan).await?;
        self.on_made(&offer);
        Ok(offer)
    }

    async fn answer(&mut self, plan: &Plan) -> Result<Description, PeerError> {
        let (answer, agreed, offer) = self.negotiation.answer(&self.pc, plan).await?;
        self.on_made(&answer);
        self.on_agreed(agreed);
        self.take_candidates_of(&offer).await;
        Ok(answer)
    }

    /// A description of ours was made: its generation is that of what is found from now on.
    fn on_made(&mut self, made: &Description) {
        self.gathering.on_generation(ice_ufrag(made.sdp.expose()).unwrap_or_default());
    }

    fn set_local(&mut self, description: &Description) -> Result<(), PeerError> {
        let is_made = self.negotiation.has_made(description.kind);
        is_made.then_some(()).ok_or(PeerError::NoDescription)?;
        let lines = media_lines(description.sdp.expose());
        let mid = lines.first().and_then(|line| line.mid).unwrap_or_default();
        let news = self.gathering.announce(mid);
        self.report(news);
        if self.servers.have_no_relay() {
            // The crate would go on asking nobody for half a minute.
            let news = self.gathering.on_done();
            self.report(news);
        }
        Ok(())
    }

    async fn set_remote(&mut self, description: &Description) -> Result<(), PeerError> {
        let text = description.sdp.expose();
        match description.kind {
            SdpKind::Offer => self.negotiation.take_offer(text),
            SdpKind::Answer => {
                let agreed = self.negotiation.take_answer(&self.pc, text).await?;
                self.on_agreed(agreed);
                self.take_candidates_of(text).await;
                Ok(())
            }
        }
    }

    async fn rollback(&mut self) -> Result<(), PeerError> {
        self.negotiation.rollback(&self.pc).await?;
        if self.negotiation.description(&self.pc).await.is_err() {
            self.gathering.withdraw();
        }
        Ok(())
    }

    async fn add_candidates(&mut self, candidates: &[Candidate]) {
        let ready = self.remote.add(candidates);
        self.give(ready).await;
    }

    async fn take_candidates_of(&mut self, description: &str) {
        let ready = self.remote.on_description(description);
        self.give(ready).await;
    }

    async fn give(&mut self, candidates: Vec<String>) {
        for candidate in candidates {
            let candidate = RTCIceCandidateInit {
                candidate,
                sdp_mline_index: Some(0),
                ..RTCIceCandidateInit::default()
            };
            if let Err(error) = self.pc.add_ice_candidate(candidate).await {
                tracing::trace!(%error, "candidate refused");
            }
        }
    }

    async fn set_servers(&mut self, servers: &[IceServer]) -> Result<(), Fault> {
        let policy = self.pc.get_configuration().await.ice_transport_policy();
        let configuration = self.servers.replace(servers).await.with_ice_transport_policy(policy);
        let set = self.pc.set_configuration(configuration.build()).await;
        set.map_err(|error| {
            tracing::trace!(%error, "servers refused");
            Fault::Failed("the servers cannot be used".to_owned())
        })
    }

    async fn stats(&mut self) -> PeerStats {
        let report = self.pc.get_stats(clock(), StatsSelector::None).await;
        let mut stats = PeerStats::default();
        if let Some(chosen) = stats::chosen(&self.pc).await {
            let (pair, round_trip) = stats::path(&chosen, &report);
            (stats.pair, stats.round_trip) = (Some(self.servers.named(pair)), round_trip);
        }
        stats.inbound = self.inbound.stats(clock());
        stats.outbound = self.outbound();
        stats.servers = self.servers.stats();
        stats.unusable_candidates = self.remote.skipped();
        stats.without_device = self.place.tracks.without_device(self.place.id);
        stats
    }

    fn outbound(&self) -> Vec<StreamStats> {
        let known = self.agreed.iter().filter_map(|line| {
            let source = self.negotiation.sources.get(&line.transceiver)?;
            let codec = source.codec?;
            let mut stats = StreamStats::new(&line.form.mid, line.kind, codec.mime());
            stats.bytes = source.bytes;
            stats.packets = source.packets;
            if let Some(report) = self.reports.get(&source.ssrc) {
                stats.lost = Some(lost(report.total_lost));
                stats.jitter = Some(ticks(report.jitter, codec));
            }
            stats.key_frame_requests =
                self.key_frames_asked.get(&source.ssrc).copied().unwrap_or_default();
            Some(stats)
        });
        known.collect()
    }
}

/// What a report counts as lost: a number of 24 bits with a sign (RFC 3550 §6.4.1), below zero where
/// packets came twice.
fn lost(total: u32) -> u64 {
    const UNUSED_BITS: u32 = 8;
    let signed = (total << UNUSED_BITS) as i32 >> UNUSED_BITS;
    u64::try_from(signed).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::lost;

    #[test]
    fn packets_that_came_twice_are_not_lost() {
        assert_eq!([lost(0), lost(7), lost(0x00ff_ffff), lost(0x0080_0000)], [0, 7, 0, 0]);
    }
}
