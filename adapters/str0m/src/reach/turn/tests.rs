//! One allocation against a scripted server: signatures, streams, bounds.

use matrix_voip::redact::Secret;

use super::{peers::MAX_HELD, *};
use crate::{entropy::Entropy, stun::Key};

const RELAYED: &str = "192.0.2.9:50000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn key() -> Key {
    Key::new("user", "realm", "password")
}

/// An allocation, what it has sent, what it has told, and a clock.
struct Desk {
    client: TurnClient,
    entropy: Entropy,
    now: Instant,
    sent: Vec<Vec<u8>>,
    told: Vec<Event>,
}

impl Desk {
    fn new(transport: Transport) -> Self {
        #[expect(clippy::disallowed_methods, reason = "only differences from it are used")]
        let now = Instant::now();
        let mut entropy = Entropy::system();
        let user = "user".into();
        let credentials = Credentials { user, password: Secret::new("password") };
        let mut step = Step { now, entropy: &mut entropy };
        let client = TurnClient::new(&mut step, transport, credentials);
        let mut desk = Self { client, entropy, now, sent: Vec::new(), told: Vec::new() };
        desk.drain();
        desk
    }

    /// One that has its relayed address.
    fn allocated(transport: Transport) -> Self {
        let mut desk = Self::new(transport);
        desk.challenge(401, "first");
        let answer = desk.success().address(attribute::XOR_RELAYED_ADDRESS, address(RELAYED));
        let answer = answer.attribute(attribute::LIFETIME, &600_u32.to_be_bytes());
        desk.hear(&answer.signed(&key()).finish());
        assert_eq!(desk.client.relayed(), Some(address(RELAYED)));
        desk
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut TurnClient, &mut Step<'_>) -> T) -> T {
        let mut step = Step { now: self.now, entropy: &mut self.entropy };
        let result = act(&mut self.client, &mut step);
        self.drain();
        result
    }

    fn drain(&mut self) {
        while let Some(event) = self.client.poll() {
            match event {
                Event::Send(data) => self.sent.push(data),
                told => self.told.push(told),
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let bytes = bytes.to_vec();
        self.act(|client, step| {
            client.on_message(step, &bytes).map(|(from, data)| (from, data.to_vec()))
        })
    }

    fn send(&mut self, to: &str, data: &[u8]) {
        self.act(|client, step| client.send(step, address(to), data));
    }

    fn wait(&mut self, span: Duration) {
        self.now += span;
        self.act(TurnClient::on_timeout);
    }

    /// The last message that was sent.
    fn last(&self) -> Message<'_> {
        Message::parse(self.sent.last().unwrap()).unwrap()
    }

    fn success(&self) -> Writer {
        Writer::new(Class::Success, self.last().method, self.last().id)
    }

    fn error(&self, code: u16) -> Writer {
        let [class, number] = [(code / 100) as u8, (code % 100) as u8];
        let writer = Writer::new(Class::Error, self.last().method, self.last().id);
        writer.attribute(attribute::ERROR_CODE, &[0, 0, class, number])
    }

    fn challenge(&mut self, code: u16, nonce: &str) {
        let writer = self.error(code).attribute(attribute::REALM, b"realm");
        self.hear(&writer.attribute(attribute::NONCE, nonce.as_bytes()).finish());
    }

    fn grant(&mut self) {
        let answer = self.success().signed(&key()).finish();
        self.hear(&answer);
    }
}

#[test]
fn the_first_request_is_unsigned_and_the_second_answers_the_challenge() {
    let mut desk = Desk::new(Transport::Udp);
    assert!(!desk.last().is_signed());
    assert_eq!(desk.last().attribute(attribute::REQUESTED_TRANSPORT), Some(&[17, 0, 0, 0][..]));
    let first = desk.last().id;
    desk.challenge(401, "nonce");
    let second = desk.last();
    assert!(second.is_signed_with(&key()));
    assert_eq!(second.text(attribute::NONCE), Some("nonce"));
    assert_eq!(second.text(attribute::USERNAME), Some("user"));
    assert_ne!(second.id, first);
}

#[test]
fn a_success_that_is_not_signed_by_the_server_is_not_believed() {
    let mut desk = Desk::new(Transport::Udp);
    desk.challenge(401, "nonce");
    let success = |desk: &Desk| {
        desk.success().address(attribute::XOR_RELAYED_ADDRESS, address("203.0.113.1:7"))
    };
    let unsigned = success(&desk).finish();
    let by_another = success(&desk).signed(&Key::new("user", "realm", "guessed")).finish();
    let mut changed = success(&desk).signed(&key()).finish();
    changed[27] ^= 1;
    for forgery in [unsigned, by_another, changed] {
        desk.hear(&forgery);
    }
    assert_eq!((desk.client.relayed(), desk.client.forged()), (None, 3));
    let honest = success(&desk).signed(&key()).finish();
    desk.hear(&honest);
    assert_eq!(desk.client.relayed(), Some(address("203.0.113.1:7")));
}

#[test]
fn a_refusal_that_is_badly_signed_or_for_another_request_is_not_believed() {
    let mut desk = Desk::new(Transport::Udp);
    desk.challenge(401, "nonce");
    let forged = desk.error(486).signed(&Key::new("user", "realm", "guessed")).finish();
    desk.hear(&forged);
    let other = Writer::new(Class::Error, Method::Allocate, [7; 12]);
    let other = other.attribute(attribute::ERROR_CODE, &[0, 0, 4, 86]).finish();
    desk.hear(&other);
    let method = Writer::new(Class::Error, Method::Refresh, desk.last().id);
    let method = method.attribute(attribute::ERROR_CODE, &[0, 0, 4, 86]).finish();
    desk.hear(&method);
    assert_eq!((desk.told.len(), desk.client.forged()), (0, 3));
    let honest = desk.error(486).signed(&key()).finish();
    desk.hear(&honest);
    assert_eq!(desk.told, [Event::Ended(ServerFault::QuotaReached)]);
}

#[test]
fn a_challenge_without_nonce_is_nonsense_and_challenges_without_end_are_given_up() {
    let mut desk = Desk::new(Transport::Udp);
    let answer = desk.error(401).finish();
    desk.hear(&answer);
    assert_eq!(desk.told, [Event::Ended(ServerFault::Nonsense)]);
    let mut desk = Desk::new(Transport::Udp);
    desk.challenge(401, "0");
    for nonce in 1..100 {
        desk.challenge(438, &nonce.to_string());
    }
    assert_eq!(desk.told, [Event::Ended(ServerFault::StaleNonce)]);
    assert!(desk.sent.len() < 8, "{} requests", desk.sent.len());
}

#[test]
fn nonces_and_realms_beyond_their_length_are_refused() {
    let mut desk = Desk::new(Transport::Udp);
    desk.challenge(401, &"n".repeat(764));
    assert_eq!(desk.told, [Event::Ended(ServerFault::Nonsense)]);
}

#[test]
fn packets_wait_for_their_permission_and_only_a_few_of_them() {
    let mut desk = Desk::allocated(Transport::Udp);
    let before = desk.sent.len();
    for n in 0..100 {
        desk.send("203.0.113.5:9", &[0, n]);
    }
    assert_eq!(desk.sent.len(), before + 1, "one request");
    assert_eq!(desk.last().method, Method::CreatePermission);
    desk.grant();
    assert_eq!(desk.sent.len(), before + 1 + MAX_HELD);
    assert_eq!(desk.last().method, Method::Send);
}

#[test]
fn media_goes_by_a_channel_once_it_is_bound() {
    let mut desk = Desk::allocated(Transport::Udp);
    desk.send("203.0.113.5:9", &[0, 1]);
    desk.grant();
    desk.send("203.0.113.5:9", &[0x80, 1]);
    assert_eq!(desk.last().method, Method::Send);
    let bind = desk.sent.iter().filter_map(|sent| Message::parse(sent));
    let bind = bind.filter(|sent| sent.method == Method::ChannelBind).map(|sent| sent.id);
    let ids: Vec<_> = bind.collect();
    assert_eq!(ids.len(), 1);
    let answer = Writer::new(Class::Success, Method::ChannelBind, ids[0]).signed(&key());
    desk.hear(&answer.finish());
    desk.send("203.0.113.5:9", &[0x80, 2, 3]);
    assert_eq!(desk.sent.last().unwrap(), &[0x40, 0, 0, 3, 0x80, 2, 3]);
    let heard = desk.hear(&[0x40, 0, 0, 2, 0x80, 7]);
    assert_eq!(heard, Some((address("203.0.113.5:9"), vec![0x80, 7])));
    for broken in [&[0x40, 0][..], &[0x40, 0, 0, 9, 1], &[0x40, 1, 0, 1, 5]] {
        assert_eq!(desk.hear(broken), None);
    }
    assert_eq!(desk.client.forged(), 3);
}

#[test]
fn data_of_a_stranger_is_not_delivered() {
    let mut desk = Desk::allocated(Transport::Udp);
    let data = |from: &str| {
        let writer = Writer::new(Class::Indication, Method::Data, [3; 12]);
        let writer = writer.address(attribute::XOR_PEER_ADDRESS, address(from));
        writer.attribute(attribute::DATA, &[1, 2]).finish()
    };
    assert_eq!(desk.hear(&data("203.0.113.5:9")), None);
    desk.send("203.0.113.5:9", &[0, 1]);
    desk.grant();
    let heard = desk.hear(&data("203.0.113.5:10"));
    assert_eq!(heard, Some((address("203.0.113.5:10"), vec![1, 2])));
    assert_eq!(desk.hear(&data("203.0.113.6:9")), None);
}

#[test]
fn on_a_stream_channel_data_is_padded_and_nothing_is_sent_twice() {
    let mut desk = Desk::allocated(Transport::Tcp);
    desk.send("203.0.113.5:9", &[0, 1]);
    desk.grant();
    desk.send("203.0.113.5:9", &[0x80, 1]);
    let count = desk.sent.len();
    let bind = Message::parse(&desk.sent[count - 2]).unwrap();
    let answer = Writer::new(Class::Success, Method::ChannelBind, bind.id).signed(&key());
    desk.hear(&answer.finish());
    desk.send("203.0.113.5:9", &[0x80]);
    assert_eq!(desk.sent.last().unwrap(), &[0x40, 0, 0, 1, 0x80, 0, 0, 0]);
    let count = desk.sent.len();
    desk.wait(Duration::from_secs(3));
    assert_eq!(desk.sent.len(), count);
}

#[test]
fn an_address_of_the_other_family_is_not_asked_for() {
    let mut desk = Desk::allocated(Transport::Udp);
    let count = desk.sent.len();
    desk.send("[2001:db8::1]:9", &[0, 1]);
    assert_eq!(desk.sent.len(), count);
}

#[test]
fn a_refused_permission_is_told_and_asked_for_no_more() {
    let mut desk = Desk::allocated(Transport::Udp);
    desk.send("203.0.113.5:9", &[0, 1]);
    let answer = desk.error(403).signed(&key()).finish();
    desk.hear(&answer);
    assert_eq!(desk.told.last(), Some(&Event::Refused(ServerFault::Forbidden)));
    let count = desk.sent.len();
    desk.send("203.0.113.5:9", &[0, 1]);
    assert_eq!(desk.sent.len(), count);
    assert_eq!(desk.client.relayed(), Some(address(RELAYED)));
}

#[test]
fn permissions_are_bounded() {
    let mut desk = Desk::allocated(Transport::Udp);
    let count = desk.sent.len();
    for n in 0..500_u16 {
        let ip = IpAddr::from([203, 0, (n / 250) as u8, (n % 250) as u8]);
        desk.act(|client, step| client.permit(step, ip));
    }
    assert_eq!(desk.sent.len() - count, peers::MAX_PERMISSIONS);
}

#[test]
fn an_allocation_is_refreshed_before_its_end_and_lost_after_it() {
    let mut desk = Desk::allocated(Transport::Udp);
    let count = desk.sent.len();
    desk.wait(Duration::from_secs(539));
    assert_eq!(desk.sent.len(), count);
    desk.wait(Duration::from_secs(1));
    assert_eq!(desk.last().method, Method::Refresh);
    while desk.told.len() == 1 {
        let due = desk.client.deadline().unwrap();
        desk.wait(due - desk.now);
    }
    assert_eq!(desk.told[1], Event::Ended(ServerFault::Lost));
    assert_eq!(desk.client.deadline(), None);
    assert!(desk.sent.len() - count < 60, "{} refreshes in a minute", desk.sent.len() - count);
}

#[test]
fn a_relayed_address_that_is_none_is_nonsense() {
    for relayed in [None, Some("0.0.0.0:5"), Some("192.0.2.1:0")] {
        let mut desk = Desk::new(Transport::Udp);
        desk.challenge(401, "nonce");
        let mut answer = desk.success();
        if let Some(relayed) = relayed {
            answer = answer.address(attribute::XOR_RELAYED_ADDRESS, address(relayed));
        }
        desk.hear(&answer.signed(&key()).finish());
        assert_eq!(desk.told, [Event::Ended(ServerFault::Nonsense)]);
    }
}

#[test]
fn lifetimes_of_nothing_and_of_for_ever_make_no_storm() {
    for (seconds, refreshed) in [(0_u32, 7_500), (u32::MAX, 3_540_000)] {
        let mut desk = Desk::new(Transport::Udp);
        desk.challenge(401, "nonce");
        let answer = desk.success().address(attribute::XOR_RELAYED_ADDRESS, address(RELAYED));
        let answer = answer.attribute(attribute::LIFETIME, &seconds.to_be_bytes());
        desk.hear(&answer.signed(&key()).finish());
        let due = desk.client.deadline().unwrap() - desk.now;
        assert_eq!(due, Duration::from_millis(refreshed));
    }
}

#[test]
fn a_closed_allocation_is_over_when_the_server_says_so_or_is_silent() {
    let mut desk = Desk::allocated(Transport::Udp);
    desk.act(TurnClient::close);
    assert_eq!(desk.last().number(attribute::LIFETIME), Some(0));
    assert!(!desk.client.is_over());
    desk.grant();
    assert!(desk.client.is_over());

    let mut desk = Desk::allocated(Transport::Udp);
    desk.act(TurnClient::close);
    desk.challenge(438, "second");
    assert_eq!(desk.last().number(attribute::LIFETIME), Some(0), "asked again");
    while let Some(due) = desk.client.deadline() {
        desk.wait(due - desk.now);
    }
    assert!(desk.client.is_over());
}

/// Who hangs up early is not told of wrong credentials: the challenge is how every allocation begins.
#[test]
fn closed_before_anything_was_granted_it_is_over_without_a_fault() {
    let mut desk = Desk::new(Transport::Udp);
    desk.act(TurnClient::close);
    desk.challenge(401, "first");
    assert!(desk.client.is_over());
    assert_eq!((desk.sent.len(), desk.told), (1, Vec::new()));
}
