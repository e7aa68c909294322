//! All servers of a connection, without any of them: names, streams, what is tried after what.

use matrix_voip::redact::Secret;

use super::*;
use crate::entropy::Entropy;

struct Desk {
    reach: Reach,
    entropy: Entropy,
    now: Instant,
}

impl Desk {
    fn new(uri: &str, relay_only: bool) -> Self {
        #[expect(clippy::disallowed_methods, reason = "only differences from it are used")]
        let now = Instant::now();
        let server = IceServer {
            urls: vec![uri.to_owned()],
            username: "user".into(),
            credential: Secret::new("password"),
        };
        let sockets = ["10.0.0.1:1", "10.0.0.2:2", "[2001:db8::1]:3"];
        let sockets = sockets.map(|socket| socket.parse().unwrap()).to_vec();
        Self { reach: Reach::new(&[server], sockets, relay_only), entropy: Entropy::system(), now }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Reach, &mut Step<'_>) -> T) -> T {
        let mut step = Step { now: self.now, entropy: &mut self.entropy };
        act(&mut self.reach, &mut step)
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.reach.poll()).collect()
    }

    fn resolve(&mut self, addresses: &[(&str, Option<&str>)]) {
        assert!(matches!(self.outputs()[..], [Output::Resolve { server: 0, .. }]));
        let found: Vec<ServerAddress> = addresses
            .iter()
            .map(|(address, from)| ServerAddress {
                address: address.parse().unwrap(),
                from: from.map(|from| from.parse().unwrap()),
            })
            .collect();
        self.act(|reach, step| reach.on_resolved(step, 0, &found));
    }

    fn state(&self) -> ServerState {
        self.reach.stats()[0].state
    }
}

const BOTH: [(&str, Option<&str>); 2] = [("192.0.2.1:5349", None), ("[2001:db8::9]:5349", None)];

/// Where the streams are opened to that are wanted.
fn connects(outputs: &[Output]) -> Vec<(String, Option<String>)> {
    let of = |output: &Output| match output {
        Output::Connect { to, tls, .. } => Some((to.to_string(), tls.clone())),
        _ => None,
    };
    outputs.iter().filter_map(of).collect()
}

#[test]
fn the_second_address_is_tried_where_the_first_cannot_be_reached() {
    let mut desk = Desk::new("turns:turn.example", true);
    desk.resolve(&BOTH);
    let name = Some("turn.example".to_owned());
    assert_eq!(connects(&desk.outputs()), [("192.0.2.1:5349".to_owned(), name.clone())]);
    desk.act(|reach, step| reach.on_disconnected(step, 0, ServerFault::Unreachable));
    assert_eq!(connects(&desk.outputs()), [("[2001:db8::9]:5349".to_owned(), name)]);
    assert!(!desk.reach.is_done());
    desk.act(|reach, step| reach.on_disconnected(step, 0, ServerFault::Silent));
    assert!(desk.outputs().is_empty() && desk.reach.is_done());
    assert_eq!(desk.state(), ServerState::Failed(ServerFault::Silent));
}

#[test]
fn a_certificate_that_is_not_trusted_is_not_tried_at_another_address() {
    let mut desk = Desk::new("turns:turn.example", true);
    desk.resolve(&BOTH);
    desk.outputs();
    desk.act(|reach, step| reach.on_disconnected(step, 0, ServerFault::Untrusted));
    assert!(desk.outputs().is_empty());
    assert_eq!(desk.state(), ServerState::Failed(ServerFault::Untrusted));
}

#[test]
fn an_allocation_is_asked_for_from_the_socket_that_the_system_would_use() {
    let mut desk = Desk::new("turn:turn.example", true);
    desk.resolve(&[("192.0.2.1:3478", Some("10.0.0.2"))]);
    let outputs = desk.outputs();
    let [Output::Datagram { local, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(local.to_string(), "10.0.0.2:2");
}

#[test]
fn every_socket_of_the_family_asks_for_its_address_but_not_with_relays_only() {
    for (relay_only, expected) in [(false, 2), (true, 0)] {
        let mut desk = Desk::new("stun:stun.example", relay_only);
        if !relay_only {
            desk.resolve(&[("192.0.2.1:3478", None)]);
        }
        assert_eq!(desk.outputs().len(), expected);
        assert_eq!(desk.reach.is_done(), relay_only);
    }
}

#[test]
fn a_stream_that_carries_no_turn_ends_the_server() {
    let mut desk = Desk::new("turn:turn.example?transport=tcp", true);
    desk.resolve(&[("192.0.2.1:3478", None)]);
    desk.outputs();
    let local = "10.0.0.1:40000".parse().unwrap();
    desk.act(|reach, step| reach.on_connected(step, 0, local));
    assert!(matches!(desk.outputs()[..], [Output::Stream { server: 0, .. }]));
    desk.act(|reach, step| reach.on_stream(step, 0, b"\xffSSH"));
    assert!(matches!(desk.outputs()[..], [Output::Disconnect { server: 0 }]));
    assert_eq!(desk.state(), ServerState::Failed(ServerFault::Nonsense));
    desk.act(|reach, step| reach.on_disconnected(step, 0, ServerFault::Unreachable));
    assert_eq!(desk.state(), ServerState::Failed(ServerFault::Nonsense));
}

#[test]
fn answers_of_the_outside_that_nobody_awaits_change_nothing() {
    let mut desk = Desk::new("turn:turn.example?transport=tcp", true);
    let local = "10.0.0.1:40000".parse().unwrap();
    for server in [0, 7] {
        desk.act(|reach, step| reach.on_connected(step, server, local));
        desk.act(|reach, step| reach.on_stream(step, server, &[0; 100]));
        desk.act(|reach, step| reach.on_disconnected(step, server, ServerFault::Lost));
    }
    desk.act(|reach, step| reach.on_resolved(step, 7, &[]));
    assert_eq!(desk.outputs().len(), 1, "the name is still to be looked up");
    assert_eq!(desk.state(), ServerState::Asked);
    desk.act(Reach::close);
    assert!(desk.reach.is_done() && desk.reach.is_released());
}
