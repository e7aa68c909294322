//! Ways between two sides: relays alone, by each transport, and what a connection without any says.

use futures::FutureExt;

use super::{
    Cell, NO_SERVER, Played, Relays,
    stage::{Failure, Outcome, Side, Stage, Who, check, plan},
};
use crate::{
    id::PeerId,
    machine::io::{IceServer, MediaKind, PeerNews, Slot},
    sdp,
};

pub(super) const CELLS: &[Cell] = &[
    Cell { name: "relays alone: no address of ours is named", play: |it| nameless(it).boxed() },
    Cell { name: "a call over a relay, by UDP", play: |it| relayed(it, |all| &all.udp).boxed() },
    Cell { name: "a call over a relay, by TCP", play: |it| relayed(it, |all| &all.tcp).boxed() },
    Cell { name: "a call over a relay, by TLS", play: |it| relayed(it, |all| &all.tls).boxed() },
    Cell {
        name: "servers that are set later are asked at the next restart",
        play: |it| later(it).boxed(),
    },
];

async fn nameless(stage: &mut Stage) -> Outcome<Played> {
    stage.a.config.relay_only = true;
    stage.a.open(1).await?;
    stage.offer(Who::A, &plan(&[Slot::Audio], "of-a")).await?;
    let done = |stage: &Stage| stage.a.news.contains(&(PeerId(1), PeerNews::GatheringDone));
    stage.until("gathering is done", done).await?;
    let side = &stage.a;
    let local = side.done("local_description", side.engine.local_description(PeerId(1))).await?;
    let named = sdp::candidates(local.sdp.expose());
    check(named == 0, || format!("{named} candidates without a relay"))?;
    let told = side.news.iter().filter(|(_, news)| match news {
        PeerNews::Candidate(candidate) => !candidate.candidate.expose().is_empty(),
        _ => false,
    });
    check(told.count() == 0, || "a candidate is told that is no relay".to_owned())?;
    Ok(Played::Passed)
}

async fn relayed(stage: &mut Stage, relay: fn(&Relays) -> &Option<IceServer>) -> Outcome<Played> {
    let Some(server) = relay(&stage.setting.relays).clone() else {
        return Ok(Played::Skipped(NO_SERVER));
    };
    for who in Who::BOTH {
        let config = &mut stage.side_mut(who).config;
        (config.relay_only, config.ice_servers) = (true, vec![server.clone()]);
    }
    let [ours, theirs] = ["of-a", "of-b"].map(|stream| plan(&[Slot::Audio, Slot::Video], stream));
    stage.connect(Who::A, &ours, &theirs).await?;
    stage.both_get(&[MediaKind::Audio, MediaKind::Video]).await?;
    for who in Who::BOTH {
        let side = stage.side(who);
        let stats = side.done("stats", side.engine.stats(PeerId(1))).await?;
        let pair = stats.pair.ok_or_else(|| Failure(format!("{}: no path", side.name)))?;
        let kind = pair.local.kind;
        check(kind == "relay", || format!("{}: the way begins at a {kind} address", side.name))?;
        let local = side.done("local_description", side.engine.local_description(PeerId(1)));
        names_relays_alone(side, local.await?.sdp.expose())?;
    }
    Ok(Played::Passed)
}

/// Who hides behind a relay names no other address: not as a candidate, nor as what a relayed one
/// is based on (`raddr`).
fn names_relays_alone(side: &Side, local: &str) -> Outcome {
    let told = side.told(1).filter_map(|news| match news {
        PeerNews::Candidate(candidate) => Some(candidate.candidate.expose()),
        _ => None,
    });
    let written = local.lines().filter_map(|line| line.strip_prefix("a="));
    let all = told.chain(written.filter(|line| line.starts_with("candidate:")));
    for candidate in all.filter(|candidate| !candidate.is_empty()) {
        check(candidate.contains(" typ relay"), || format!("{}: not a relay is named", side.name))?;
        let mut words = candidate.split(' ').skip_while(|word| *word != "raddr");
        let base = words.nth(1).unwrap_or("0.0.0.0");
        check(["0.0.0.0", "::"].contains(&base), || {
            format!("{}: a relayed candidate names the address behind it", side.name)
        })?;
    }
    Ok(())
}

async fn later(stage: &mut Stage) -> Outcome<Played> {
    let Some(server) = stage.setting.relays.udp.clone() else {
        return Ok(Played::Skipped(NO_SERVER));
    };
    let [ours, theirs] = ["of-a", "of-b"].map(|stream| plan(&[Slot::Audio], stream));
    stage.connect(Who::A, &ours, &theirs).await?;
    let is_relay = |news: &PeerNews| match news {
        PeerNews::Candidate(candidate) => candidate.candidate.expose().contains(" typ relay"),
        _ => false,
    };
    let side = &stage.a;
    check(!side.news.iter().any(|(_, news)| is_relay(news)), || "a relay of nobody".to_owned())?;
    side.done("set_servers", side.engine.set_servers(PeerId(1), vec![server])).await?;
    side.done("restart_ice", side.engine.restart_ice(PeerId(1))).await?;
    stage.negotiate(Who::A, &ours, &theirs).await?;
    let told = |stage: &Stage| stage.a.news.iter().any(|(_, news)| is_relay(news));
    stage.until("a relayed candidate is told", told).await?;
    stage.both_get(&[MediaKind::Audio]).await?;
    Ok(Played::Passed)
}
