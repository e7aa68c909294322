//! Tones of a telephone (RFC 4733) between two peers: what is agreed, what arrives, under loss and
//! beside sound.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::time::Duration;

use matrix_voip::{
    id::TrackId,
    machine::io::{
        Description, Direction, Fault, PeerOp, PeerState, Plan, Reply, SdpKind, Slot, Tones,
    },
};
use matrix_voip_str0m::{
    PeerError,
    peer::ToneReport,
    sim::{Link, Node, World},
};
use testkit::{Tone, description, line, values, voice};

const MILLI: Duration = Duration::from_millis(1);

/// Two peers with sound; the answer (the offer) may be changed on its way.
fn call(link: Link, change: impl Fn(&str) -> String) -> (World, Node, Node) {
    let mut world = World::new(7, link);
    let a = world.open("10.0.0.1:5000".parse().unwrap());
    let b = world.open("10.0.0.2:5000".parse().unwrap());
    let offer = description(world.perform(a, PeerOp::Offer(voice(1, "a"))).unwrap());
    world.perform(a, PeerOp::SetLocal(offer.clone())).unwrap();
    let sent = Description { kind: SdpKind::Offer, sdp: change(offer.sdp.expose()).into() };
    world.perform(b, PeerOp::SetRemote(sent)).unwrap();
    let answer = description(world.perform(b, PeerOp::Answer(voice(1, "b"))).unwrap());
    world.perform(b, PeerOp::SetLocal(answer.clone())).unwrap();
    world.perform(a, PeerOp::SetRemote(answer)).unwrap();
    for node in [a, b] {
        let mut tone = Tone::new(440.0);
        world.feed(node, TrackId(1), 20 * MILLI, move |n| tone.frame(n));
    }
    let connected = |world: &World| {
        [a, b].into_iter().all(|node| world.state(node) == Some(PeerState::Connected))
    };
    assert!(world.run_until(Duration::from_secs(20), connected));
    world.run(500 * MILLI);
    (world, a, b)
}

fn unchanged(sdp: &str) -> String {
    sdp.to_owned()
}

fn dial(world: &mut World, node: Node, tones: &str) -> Result<(), Fault> {
    world.dial(node, TrackId(1), &Tones::parse(tones).unwrap())
}

/// The reports, by tone.
fn tones(world: &World, node: Node) -> Vec<Vec<(Duration, ToneReport)>> {
    let reports = world.tones(node);
    let same =
        |a: &(Duration, ToneReport), b: &(Duration, ToneReport)| a.1.timestamp == b.1.timestamp;
    reports.chunk_by(same).map(<[_]>::to_vec).collect()
}

#[test]
fn descriptions_offer_tones_on_the_clock_of_the_sound() {
    let mut world = World::new(1, Link::default());
    let a = world.open("10.0.0.1:5000".parse().unwrap());
    let b = world.open("10.0.0.2:5000".parse().unwrap());
    let offer = description(world.perform(a, PeerOp::Offer(testkit::video(1, "a"))).unwrap());
    world.perform(b, PeerOp::SetRemote(offer.clone())).unwrap();
    let answer = description(world.perform(b, PeerOp::Answer(testkit::video(1, "b"))).unwrap());
    for sdp in [offer.sdp.expose(), answer.sdp.expose()] {
        let maps = values(sdp, "a=rtpmap:");
        assert!(maps[&1].contains(&"110 telephone-event/48000".to_owned()), "{maps:?}");
        assert!(!maps[&2].iter().any(|map| map.contains("telephone-event")), "no picture has them");
        assert!(values(sdp, "a=fmtp:")[&1].contains(&"110 0-15".to_owned()));
    }
}

/// The offer with these formats of tones in place of ours.
fn with_tones(offer: &str, formats: &[(u8, u32)]) -> String {
    let numbers: String = formats.iter().map(|(number, _)| format!(" {number}")).collect();
    let maps: String = formats
        .iter()
        .map(|(number, clock)| format!("a=rtpmap:{number} telephone-event/{clock}\r\n"))
        .collect();
    let text = offer.replace("a=rtpmap:110 telephone-event/48000\r\n", &maps);
    let text: String = text.lines().filter(|line| !line.starts_with("a=fmtp:110 ")).fold(
        String::new(),
        |text, line| match line.strip_suffix(" 110") {
            Some(media) if line.starts_with("m=audio") => text + media + &numbers + "\r\n",
            Some(_) | None => text + line + "\r\n",
        },
    );
    assert_eq!(text.matches("telephone-event").count(), formats.len(), "{text}");
    text
}

/// Chromium offers several clocks, Firefox and many gateways only 8 kHz. What is no clock of a
/// sound of ours is not agreed on (RFC 4733 §2.1).
#[test]
fn of_the_clocks_that_are_offered_only_that_of_our_sound_is_taken() {
    let chromium = vec![(126, 8_000), (113, 16_000), (112, 32_000), (97, 48_000)];
    let firefox = vec![(101, 8_000)];
    let cases = [
        (chromium, Some("97 telephone-event/48000")),
        (firefox, None),
        (vec![(101, 8_000), (100, 16_000)], None),
    ];
    for (formats, agreed) in cases {
        let (mut world, _, b) = call(Link::default(), |offer| with_tones(offer, &formats));
        let Ok(Reply::Description(answer)) = world.perform(b, PeerOp::LocalDescription) else {
            panic!("no answer")
        };
        let maps = values(answer.sdp.expose(), "a=rtpmap:");
        let tones = maps[&1].iter().filter(|map| map.contains("telephone-event"));
        assert_eq!(tones.map(String::as_str).collect::<Vec<_>>(), Vec::from_iter(agreed));
        assert_eq!(
            matrix_voip::sdp::has_telephone_events(answer.sdp.expose()),
            agreed.is_some(),
            "what the machine reads `m.call.dtmf` from"
        );
        match agreed {
            Some(_) => {
                dial(&mut world, b, "7").unwrap();
                world.run(500 * MILLI);
            }
            None => assert_eq!(dial(&mut world, b, "7"), Err(Fault::Unsupported)),
        }
    }
}

#[test]
fn each_tone_arrives_as_one_event_that_grows_and_ends_three_times() {
    let (mut world, a, b) = call(Link::default(), unchanged);
    dial(&mut world, a, "15*#AD").unwrap();
    let begin = world.now();
    world.run(Duration::from_secs(2));
    let tones = tones(&world, b);
    let events: Vec<u8> = tones.iter().map(|tone| tone[0].1.event).collect();
    assert_eq!(events, [1, 5, 10, 11, 12, 15]);
    for (number, tone) in tones.iter().enumerate() {
        let (first, last) = (tone[0], tone.last().unwrap().1);
        assert!(tone.iter().all(|(_, report)| report.volume == 10 && report.event == last.event));
        assert!(tone.windows(2).all(|pair| pair[1].1.duration >= pair[0].1.duration));
        assert_eq!(tone.iter().filter(|(_, report)| report.is_end).count(), 3);
        assert_eq!((last.duration, last.is_end), (100 * MILLI, true));
        // The first update goes out 20 ms after the tone has begun.
        let due = begin + 25 * MILLI + 20 * MILLI + number as u32 * 170 * MILLI;
        assert!((due..due + 21 * MILLI).contains(&first.0), "{number}: {:?}, due {due:?}", first.0);
    }
    let starts: Vec<u64> = tones.iter().map(|tone| tone[0].1.timestamp).collect();
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 170 * 48), "{starts:?}");
    assert!(world.tones(a).is_empty(), "nothing comes back");
}

#[test]
fn sound_pauses_for_a_tone_and_its_time_and_sequence_go_on() {
    let (mut world, a, b) = call(Link::default(), unchanged);
    dial(&mut world, a, "1").unwrap();
    let before = world.frames(b).len();
    world.run(Duration::from_secs(1));
    let frames = &world.frames(b)[before - 1..];
    let stamps: Vec<u64> = frames.iter().map(|received| received.frame.timestamp).collect();
    let gaps: Vec<u64> = stamps.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let paused: Vec<u64> = gaps.iter().copied().filter(|gap| *gap != 960).collect();
    assert_eq!(paused.len(), 1, "{gaps:?}");
    assert!((5 * 960..=7 * 960).contains(&paused[0]), "{paused:?}");
    let tone = world.tones(b)[0].1.timestamp;
    let place = stamps.iter().position(|stamp| *stamp > tone).unwrap();
    assert!(stamps[place - 1] <= tone, "the tone stands in the time of the sound");
    let Ok(Reply::Stats(stats)) = world.perform(b, PeerOp::Stats) else { panic!("no stats") };
    assert_eq!(stats.inbound[0].lost, Some(0), "packets of tones are not missing sound");
    assert_eq!(stats.inbound[0].codec, "audio/opus");
}

#[test]
fn tones_survive_loss() {
    let (mut world, a, b) = call(Link { loss: 0.2, ..Link::default() }, unchanged);
    let digits = "0123456789*#ABCD";
    dial(&mut world, a, digits).unwrap();
    world.run(Duration::from_secs(4));
    let events: Vec<u8> = tones(&world, b).iter().map(|tone| tone[0].1.event).collect();
    assert_eq!(events, (0..16).collect::<Vec<u8>>());
}

#[test]
fn two_requests_follow_each_other_and_their_number_is_bounded() {
    let (mut world, a, b) = call(Link::default(), unchanged);
    dial(&mut world, a, "12").unwrap();
    dial(&mut world, a, "34").unwrap();
    world.run(Duration::from_secs(1));
    let events: Vec<u8> = tones(&world, b).iter().map(|tone| tone[0].1.event).collect();
    assert_eq!(events, [1, 2, 3, 4]);
    let many = "1".repeat(64);
    let full = (0..10).find_map(|_| dial(&mut world, a, &many).err());
    assert_eq!(full, Some(Fault::Failed(PeerError::TooManyTones.to_string())));
}

#[test]
fn a_line_on_hold_and_a_peer_without_tones_say_so() {
    let without = |sdp: &str| {
        let keep = |line: &&str| !line.contains(":110 ");
        let text: String = sdp.lines().filter(keep).flat_map(|line| [line, "\r\n"]).collect();
        text.replace(" 110\r\n", "\r\n").replace(" 110 ", " ")
    };
    let (mut world, a, b) = call(Link::default(), without);
    for node in [a, b] {
        assert_eq!(dial(&mut world, node, "1"), Err(Fault::Unsupported));
    }
    let (mut world, a, b) = call(Link::default(), unchanged);
    let hold = Plan { lines: vec![line(Slot::Audio, Direction::Inactive, 1, "a")] };
    let offer = description(world.perform(a, PeerOp::Offer(hold)).unwrap());
    world.perform(a, PeerOp::SetLocal(offer.clone())).unwrap();
    world.perform(b, PeerOp::SetRemote(offer)).unwrap();
    let answer = description(world.perform(b, PeerOp::Answer(voice(1, "b"))).unwrap());
    world.perform(a, PeerOp::SetRemote(answer)).unwrap();
    let held = Err(Fault::Failed(PeerError::NotSending.to_string()));
    assert_eq!(dial(&mut world, a, "1"), held);
    assert_eq!(world.dial(a, TrackId(9), &Tones::parse("1").unwrap()), held);
}

/// A plain str0m that shows packets as they come, and one of our peers that sends to it.
mod packets {
    use std::{net::SocketAddr, sync::Arc, time::Instant};

    use matrix_voip_str0m::{
        Peer, PeerSetup,
        peer::{Input, Output},
    };
    use str0m::{
        Candidate, Event, Rtc,
        change::SdpOffer,
        format::{Codec, FormatParams},
        media::{Frequency, Mid},
        net::{Protocol, Receive},
        rtp::{RtpPacket, RtpWrite},
    };

    use super::*;

    const OURS: &str = "10.0.0.1:1";
    const THEIRS: &str = "10.0.0.1:2";

    pub(super) struct Line {
        now: Instant,
        peer: Peer,
        wakes: Instant,
        rtc: Rtc,
        rtc_wakes: Instant,
        unsent: Vec<Vec<u8>>,
        made: u64,
        written: u64,
        mid: String,
        pub(super) packets: Vec<RtpPacket>,
        /// What our peer heard of tones.
        pub(super) reports: Vec<ToneReport>,
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    impl Line {
        pub(super) fn new() -> Self {
            Self::answered(unchanged)
        }

        /// A call, of which the answer may be changed on its way to our peer.
        pub(super) fn answered(change: impl Fn(&str) -> String) -> Self {
            #[expect(clippy::disallowed_methods, reason = "only differences from it are used")]
            let now = Instant::now();
            let mut peer = Peer::new(now, PeerSetup::new(now, vec![at(OURS)]));
            let mut config = Rtc::builder()
                .clear_codecs()
                .enable_opus(true, false)
                .set_rtp_mode(true)
                .set_crypto_provider(Arc::new(str0m_aws_lc_rs::default_provider()));
            let (clock, format) = (Frequency::FORTY_EIGHT_KHZ, FormatParams::default());
            let codecs = config.codec_config();
            codecs.add_config(110.into(), None, Codec::Tele, clock, None, format);
            let mut rtc = config.build(now);
            rtc.add_local_candidate(Candidate::host(at(THEIRS), "udp").unwrap());
            let offer = description(peer.perform(now, PeerOp::Offer(voice(1, "a"))).unwrap());
            let offer = SdpOffer::from_sdp_string(offer.sdp.expose()).unwrap();
            let answer = rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
            let mid = values(&answer, "a=mid:")[&1][0].clone();
            let answer = Description { kind: SdpKind::Answer, sdp: change(&answer).into() };
            peer.perform(now, PeerOp::SetRemote(answer)).unwrap();
            Self {
                now,
                peer,
                wakes: now,
                rtc,
                rtc_wakes: now,
                unsent: Vec::new(),
                made: 0,
                written: 0,
                mid,
                packets: Vec::new(),
                reports: Vec::new(),
            }
        }

        pub(super) fn dial(&mut self, tones: &str) {
            self.peer.dial(self.now, TrackId(1), &Tones::parse(tones).unwrap()).unwrap();
            self.exchange();
        }

        /// A packet of any kind for our peer, numbered so much `later` than the last one.
        pub(super) fn write(&mut self, payload_type: u8, later: i64, time: u32, payload: &[u8]) {
            self.written = self.written.strict_add_signed(later);
            let number = (1000 + self.written).into();
            let packet = RtpWrite::new(payload_type.into(), number, time, self.now, payload);
            let mid = Mid::from(self.mid.as_str());
            let mut api = self.rtc.direct_api();
            api.stream_tx_by_mid(mid, None).unwrap().write_rtp(packet);
            self.rtc.handle_input(str0m::Input::Timeout(self.now)).unwrap();
            self.exchange();
        }

        /// How much our peer could not use.
        pub(super) fn skipped(&self) -> u64 {
            self.peer.skipped()
        }

        /// Five milliseconds after the other; sound every twenty.
        pub(super) fn run(&mut self, tone: &mut Tone, steps: u64) {
            for step in 0..steps {
                self.now += 5 * MILLI;
                if step % 4 == 0 {
                    let frame = &tone.frame(self.made);
                    self.made += 1;
                    self.peer.handle(self.now, Input::Frame { track: TrackId(1), frame });
                }
                if self.wakes <= self.now {
                    self.peer.handle(self.now, Input::Timeout);
                }
                if self.rtc_wakes <= self.now {
                    self.rtc.handle_input(str0m::Input::Timeout(self.now)).unwrap();
                }
                self.exchange();
            }
        }

        fn exchange(&mut self) {
            while self.carry_out() | self.carry_in() {}
        }

        fn carry_out(&mut self) -> bool {
            let mut any = false;
            loop {
                match self.peer.poll() {
                    Output::Timeout(wakes) => {
                        self.wakes = wakes;
                        return any;
                    }
                    Output::Datagram { data, .. } => {
                        any = true;
                        let packet = Receive::new(Protocol::Udp, at(OURS), at(THEIRS), &data);
                        let input = str0m::Input::Receive(self.now, packet.unwrap());
                        self.rtc.handle_input(input).unwrap();
                        self.unsent = self.read();
                    }
                    Output::Tone { report, .. } => self.reports.push(report),
                    _ => {}
                }
            }
        }

        fn carry_in(&mut self) -> bool {
            let sent = self.read();
            for data in &sent {
                let (local, from) = (at(OURS), at(THEIRS));
                self.peer.handle(self.now, Input::Datagram { local, from, data });
            }
            !sent.is_empty()
        }

        fn read(&mut self) -> Vec<Vec<u8>> {
            let mut sent = std::mem::take(&mut self.unsent);
            loop {
                match self.rtc.poll_output().unwrap() {
                    str0m::Output::Timeout(wakes) => {
                        self.rtc_wakes = wakes;
                        return sent;
                    }
                    str0m::Output::Transmit(transmit) => sent.push(transmit.contents.to_vec()),
                    str0m::Output::Event(Event::RtpPacket(packet)) => self.packets.push(packet),
                    str0m::Output::Event(_) => {}
                }
            }
        }
    }
}

#[test]
fn on_the_wire_a_tone_is_what_rfc_4733_says() {
    let mut line = packets::Line::new();
    let mut tone = Tone::new(440.0);
    line.run(&mut tone, 200);
    let before = line.packets.len();
    assert!(before > 20, "sound comes");
    line.dial("5#");
    line.run(&mut tone, 120);
    let packets = &line.packets[before..];
    let numbers: Vec<u64> = packets.iter().map(|packet| *packet.seq_no).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "one sequence for all");
    let events: Vec<_> =
        packets.iter().filter(|packet| *packet.header.payload_type == 110).collect();
    let same = |a: &&str0m::rtp::RtpPacket, b: &&str0m::rtp::RtpPacket| {
        a.header.timestamp == b.header.timestamp
    };
    let tones: Vec<_> = events.chunk_by(same).collect();
    assert_eq!(tones.len(), 2);
    for (tone, digit) in tones.iter().zip([5, 11]) {
        let marks: Vec<bool> = tone.iter().map(|packet| packet.header.marker).collect();
        assert!(marks[0] && marks[1..].iter().all(|mark| !mark), "{marks:?}");
        let payloads: Vec<&[u8]> = tone.iter().map(|packet| &packet.payload[..]).collect();
        assert!(payloads.iter().all(|payload| payload.len() == 4 && payload[0] == digit));
        let durations: Vec<u16> =
            payloads.iter().map(|payload| u16::from_be_bytes([payload[2], payload[3]])).collect();
        assert_eq!(durations, [960, 1920, 2880, 3840, 4800, 4800, 4800]);
        let flags: Vec<u8> = payloads.iter().map(|payload| payload[1]).collect();
        assert_eq!(flags, [10, 10, 10, 10, 0x8a, 0x8a, 0x8a], "volume 10, three ends");
    }
    let gap = tones[1][0].header.timestamp.wrapping_sub(tones[0][0].header.timestamp);
    assert_eq!(gap, 170 * 48, "100 ms of tone, 70 ms of silence");
}

/// The call goes on: sound of theirs is still sent, a good tone still arrives.
fn assert_hears(line: &mut packets::Line, time: u32) {
    let before = line.reports.len();
    line.write(110, 1, time, &[7, 0x8a, 0x12, 0xc0]);
    let [heard] = line.reports[before..] else { panic!("{:?}", &line.reports[before..]) };
    assert_eq!((heard.event, heard.is_end, heard.volume), (7, true, 10));
    assert_eq!(heard.duration, 100 * MILLI);
    let (mut tone, before) = (Tone::new(440.0), line.packets.len());
    line.run(&mut tone, 20);
    assert!(line.packets.len() > before, "our sound goes on");
}

#[test]
fn malformed_reports_of_tones_are_counted_and_nothing_else() {
    let mut line = packets::Line::new();
    line.run(&mut Tone::new(440.0), 200);
    assert_hears(&mut line, 1000);
    let good = line.reports.len();
    let no_reports: [&[u8]; 6] =
        [&[5], &[5, 0x0a], &[5, 0x0a, 3], &[5, 0x0a, 3, 0x20, 6], &[5; 7], &[0xff; 1199]];
    let unknown: [&[u8]; 3] = [&[16, 0x0a, 3, 0x20], &[96, 0x8a, 0, 0], &[255, 0xff, 0xff, 0xff]];
    for (number, payload) in no_reports.into_iter().chain(unknown).cycle().take(900).enumerate() {
        let before = line.skipped();
        line.write(110, 1, 10_000 + number as u32, payload);
        assert_eq!(line.skipped(), before + 1, "{payload:?}");
    }
    assert_eq!(line.reports.len(), good, "none of them is a tone");
    assert_hears(&mut line, 100_000);
}

#[test]
fn odd_reports_of_tones_say_what_can_be_read() {
    let mut line = packets::Line::new();
    line.run(&mut Tone::new(440.0), 200);
    assert_hears(&mut line, 1000);
    let mut heard = |later: i64, time: u32, payload: &[u8]| {
        let before = line.reports.len();
        line.write(110, later, time, payload);
        let reports = line.reports[before..].iter();
        reports.map(|report| (report.event, report.volume, report.is_end)).collect::<Vec<_>>()
    };
    let ended = [1, 0x8a, 3, 0x20];
    for _ in 0..20 {
        assert_eq!(heard(1, 5000, &ended), [(1, 10, true)], "the end again: told, not a new tone");
    }
    assert_eq!(heard(1, 5000, &[1, 0x0a, 0, 0]), [(1, 10, false)], "it shrinks and goes on");
    assert_eq!(
        heard(1, 6000, &[2, 0x4a, 3, 0x20]),
        [(2, 10, false)],
        "reserved bit: not looked at"
    );
    assert_eq!(heard(1, 7000, &[3, 0x3f, 3, 0x20]), [(3, 63, false)], "the weakest");
    assert_eq!(heard(1, 8000, &[4, 0x80, 0xff, 0xff]), [(4, 0, true)], "the longest, the loudest");
    assert_eq!(heard(1, 0, &[5, 0x0a, 3, 0x20]), [(5, 10, false)], "back in time");
    assert_eq!(heard(1, u32::MAX, &[6, 0x0a, 3, 0x20]), [(6, 10, false)], "far ahead");
    assert_eq!(heard(30_000, 9000, &[7, 0x0a, 3, 0x20]), [(7, 10, false)], "after a great loss");
    assert_eq!(heard(2, 9000, &[7, 0x0a, 6, 0x40]).len(), 1);
    assert_eq!(heard(-1, 9000, &[7, 0x0a, 3, 0x20]), [(7, 10, false)], "late: the shorter one");
    assert_eq!(heard(1, 9000, &[7, 0x0a, 6, 0x40]), [], "the same packet again");
    // Several in one packet (RFC 4733 §2.5.1.5), as many as fit.
    let packed: Vec<u8> = [8, 0x8a, 3, 0x20].repeat(290);
    assert_eq!(heard(1, 20_000, &packed).len(), 290, "as many as were sent");
    let mixed = [[9, 0x8a, 3, 0x20], [77, 0x8a, 3, 0x20], [0, 0x0a, 3, 0x20]].concat();
    assert_eq!(heard(1, 400_000, &mixed), [(9, 10, true), (0, 10, false)]);
    assert_eq!(line.reports.last().unwrap().duration, Duration::from_nanos(16_666_667));
    assert_hears(&mut line, 500_000);
}

#[test]
fn tones_on_a_line_that_never_agreed_on_them_are_counted_only() {
    let without = |sdp: &str| {
        let kept = sdp.lines().filter(|line| !line.contains(":110 "));
        let kept: String = kept.flat_map(|line| [line, "\r\n"]).collect();
        assert!(kept.contains(" 110\r\n"), "{kept}");
        kept.replace(" 110\r\n", "\r\n")
    };
    let mut line = packets::Line::answered(without);
    let mut tone = Tone::new(440.0);
    line.run(&mut tone, 200);
    let before = line.skipped();
    for number in 0..100 {
        line.write(110, 1, 960 * number, &[5, 0x0a, 3, 0x20]);
    }
    assert!(line.reports.is_empty(), "{:?}", line.reports);
    assert_eq!(line.skipped(), before + 100);
    let sent = line.packets.len();
    line.run(&mut tone, 20);
    assert!(line.packets.len() > sent, "our sound goes on");
}
