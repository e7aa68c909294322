//! An interface that comes up in mid-call, for real: in a network namespace of its own.
//!
//! The test starts this program again inside `unshare --net`, and does its work there. Where
//! namespaces cannot be made it is skipped and says so.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use std::{io::Write, process::Command};

use common::side_with;
use matrix_voip::{
    host::WebRtc,
    id::PeerId,
    machine::io::{Input, Network, PeerNews},
};
use matrix_voip_str0m::Interfaces;
use testkit::voice;

/// Set inside the namespace.
const INSIDE: &str = "MATRIX_VOIP_INSIDE_NAMESPACE";

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

#[test]
fn an_interface_that_comes_up_is_used_and_told() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.unwrap().block_on(inside_a_namespace());
    }
    let can = Command::new("unshare").args(["--net", "ip", "link"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        let skipped = b"skipped: network namespace: unshare --net or ip does not work here\n";
        return std::io::stderr().write_all(skipped).unwrap();
    }
    let mut inner = Command::new("unshare");
    inner.arg("--net").arg(std::env::current_exe().unwrap()).arg("--nocapture");
    let output = inner.env(INSIDE, "yes").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

async fn inside_a_namespace() {
    ip("link set lo up");
    ip("link add one type veth peer name other");
    ip("addr add 10.9.9.1/24 dev one");
    ip("link set one up");
    ip("link set other up");
    let mut side = side_with(440.0, |builder| builder.interfaces(Interfaces::All));
    side.open(1).await;
    let peer = PeerId(1);
    let offer = side.engine.offer(peer, voice(1, "stream")).await.unwrap();
    side.engine.set_local(peer, offer).await.unwrap();
    side.until(|news| *news == PeerNews::GatheringDone).await;
    ip("addr add 10.9.8.1/24 dev other");
    let is_new = |news: &PeerNews| {
        matches!(news, PeerNews::Candidate(candidate)
            if candidate.candidate.expose().contains(" 10.9.8.1 "))
    };
    side.until(is_new).await;
    assert_eq!(side.others, [Input::Network(Network::Changed)], "told once");
}
