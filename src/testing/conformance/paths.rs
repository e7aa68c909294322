//! Ways between two sides: relays alone, by each transport, and what a connection without any says.

use futures::FutureExt;

use super::{
    Cell, NO_SERVER, Played, Relays,
    stage::{Failure, Outcome, Stage, Who, check, plan, soon},
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
    let local = soon(side.engine.local_description(PeerId(1))).await?;
    let local = side.done("local_description", local)?;
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
        let stats = side.done("stats", soon(side.engine.stats(PeerId(1))).await?)?;
        let pair = stats.pair.ok_or_else(|| Failure(format!("{}: no path", side.name)))?;
        let kind = pair.local.kind;
        check(kind == "relay", || format!("{}: the way begins at a {kind} address", side.name))?;
    }
    Ok(Played::Passed)
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
    let set = soon(side.engine.set_servers(PeerId(1), vec![server])).await?;
    side.done("set_servers", set)?;
    side.done("restart_ice", soon(side.engine.restart_ice(PeerId(1))).await?)?;
    stage.negotiate(Who::A, &ours, &theirs).await?;
    let told = |stage: &Stage| stage.a.news.iter().any(|(_, news)| is_relay(news));
    stage.until("a relayed candidate is told", told).await?;
    stage.both_get(&[MediaKind::Audio]).await?;
    Ok(Played::Passed)
}
