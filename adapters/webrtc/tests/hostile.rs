//! What a remote party may send: descriptions and candidates that are odd, wrong or garbage. Each is
//! taken or refused with a reason; the connection lives on and makes its next call.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use common::{Side, side};
use matrix_voip::{
    host::WebRtc,
    id::PeerId,
    machine::io::{Candidate, Description, Fault, MediaKind, PeerNews, PeerState, SdpKind},
};
use testkit::studio::{offer, until};
use testkit::{video, voice};

const PEER: PeerId = PeerId(1);

async fn pair() -> (Side, Side) {
    let (a, b) = (side(440.0), side(880.0));
    a.open(1).await;
    b.open(1).await;
    (a, b)
}

fn described(kind: SdpKind, sdp: &str) -> Description {
    Description { kind, sdp: sdp.into() }
}

/// Gives an offer to a peer and has it answered.
async fn answered(side: &Side, offer: &str) -> Result<Description, Fault> {
    side.engine.set_remote(PEER, described(SdpKind::Offer, offer)).await?;
    let answer = side.engine.answer(PEER, video(3, "theirs")).await?;
    side.engine.set_local(PEER, answer).await?;
    side.engine.local_description(PEER).await
}

/// Without the lines that begin so.
fn cut(sdp: &str, prefixes: &[&str]) -> String {
    let kept = sdp.lines().filter(|line| !prefixes.iter().any(|prefix| line.starts_with(prefix)));
    kept.flat_map(|line| [line, "\r\n"]).collect()
}

async fn assert_connects(a: &mut Side, b: &mut Side, offer: &str) {
    a.engine.set_remote(PEER, answered(b, offer).await.unwrap()).await.unwrap();
    a.until_state(PeerState::Connected).await;
    b.until_state(PeerState::Connected).await;
}

#[tokio::test]
async fn odd_offers_that_can_work_do_work() {
    type Change = fn(&str) -> String;
    let odd: [(&str, Change); 11] = [
        ("no msid", |sdp| cut(sdp, &["a=msid"])),
        ("no sources", |sdp| cut(sdp, &["a=msid", "a=ssrc"])),
        ("no setup", |sdp| cut(sdp, &["a=setup"])),
        ("no rtcp-mux", |sdp| cut(sdp, &["a=rtcp-mux"])),
        ("setup passive", |sdp| sdp.replace("actpass", "passive")),
        ("setup active", |sdp| sdp.replace("actpass", "active")),
        ("two fingerprints", |sdp| {
            let old = format!("a=fingerprint:sha-1 {}", ["AB"; 20].join(":"));
            sdp.replace("a=fingerprint", &format!("{old}\r\na=fingerprint"))
        }),
        ("LF only", |sdp| sdp.replace("\r\n", "\n")),
        ("unknown attribute", |sdp| sdp.replace("a=rtcp-mux", "a=frobnicate:7 x\r\na=rtcp-mux")),
        ("candidate of an mDNS name", |sdp| {
            let name = "a=candidate:1 1 udp 2113937151 0c5f.local 50000 typ host";
            sdp.replacen("a=rtcp-mux", &format!("{name}\r\na=rtcp-mux"), 1)
        }),
        ("simulcast", |sdp| {
            let layers = "a=rid:h send\r\na=rid:l send\r\na=simulcast:send h;l";
            sdp.replace("a=rtcp-mux", &format!("{layers}\r\na=rtcp-mux"))
        }),
    ];
    for (name, change) in odd {
        println!("{name}");
        let (mut a, mut b) = pair().await;
        a.capture(&video(1, "ours")).await;
        let made = offer(&a, video(1, "ours")).await;
        assert_connects(&mut a, &mut b, &change(made.sdp.expose())).await;
        until("sound", || b.heard(MediaKind::Audio).len() > 5).await;
        until("pictures", || b.heard(MediaKind::Video).len() > 5).await;
    }
}

#[tokio::test]
async fn offers_that_cannot_work_are_refused_and_the_next_one_is_taken() {
    let (mut a, mut b) = pair().await;
    let good = offer(&a, video(1, "ours")).await.sdp.expose().to_owned();
    let many_lines: String = (0..80).map(|n| format!("m=audio 9 x 0\r\na=mid:{n}\r\n")).collect();
    let text_line = format!("{good}m=text 9 UDP/TLS/RTP/SAVPF 98\r\na=mid:t\r\n");
    let refused = [
        ("empty", String::new(), Some("not a session description")),
        ("no session part", good.split_once("m=audio").unwrap().1.into(), None),
        ("too long", format!("{good}a=x:{}\r\n", "x".repeat(70_000)), None),
        ("too many lines", format!("{good}{many_lines}"), None),
        ("no fingerprint", cut(&good, &["a=fingerprint"]), None),
        ("no ICE credentials", cut(&good, &["a=ice-ufrag", "a=ice-pwd"]), None),
        ("no mid", cut(&good, &["a=mid"]), Some("an m-line has no usable mid")),
        ("a mid of two lines", good.replace("a=mid:", "a=mid:X\r\na=was:"), None),
        ("a line of text", text_line, Some("the description does not fit the session")),
        (
            "garbage in the fingerprint",
            good.replace("a=fingerprint:sha-256", "a=fingerprint:"),
            None,
        ),
        (
            "unknown hash",
            good.replace("sha-256", "rot13"),
            Some("the description has no usable fingerprint"),
        ),
        ("not even text", "\u{0}\u{1}\u{fffd}".repeat(40), None),
    ];
    for (name, sdp, expected) in refused {
        match answered(&b, &sdp).await {
            Err(Fault::Failed(reason)) => {
                println!("{name}: {reason}");
                if let Some(expected) = expected {
                    assert_eq!(reason, expected, "{name}");
                }
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_connects(&mut a, &mut b, &good).await;
}

#[tokio::test]
async fn an_offer_without_a_common_codec_is_answered_with_nothing() {
    let (a, b) = pair().await;
    let good = offer(&a, video(1, "ours")).await.sdp.expose().to_owned();
    let none = good.replace("VP8", "XX8").replace("H264", "X264");
    let answer = answered(&b, &none).await.unwrap();
    let lines = matrix_voip::sdp::media_lines(answer.sdp.expose());
    assert!(!lines[0].off && lines[1].off, "{lines:?}");
    let none = none.replace("opus", "xpus");
    let (_, c) = pair().await;
    let answer = answered(&c, &none).await.unwrap();
    let lines = matrix_voip::sdp::media_lines(answer.sdp.expose());
    assert!(lines.len() == 2 && lines.iter().all(|line| line.off), "{lines:?}");
}

#[tokio::test]
async fn a_wrong_fingerprint_never_connects() {
    let (a, mut b) = pair().await;
    let good = offer(&a, voice(1, "ours")).await.sdp.expose().to_owned();
    let line = good.lines().find(|line| line.starts_with("a=fingerprint:")).unwrap();
    let digit = if line.ends_with('0') { "1" } else { "0" };
    let wrong = good.replace(line, &format!("{}{digit}", &line[..line.len() - 1]));
    let answer = answered(&b, &wrong).await.unwrap();
    a.engine.set_remote(PEER, answer).await.unwrap();
    b.until_state(PeerState::Failed).await;
    let connected = |(_, news): &(PeerId, PeerNews)| *news == PeerNews::State(PeerState::Connected);
    assert!(!b.news.iter().any(connected));
    assert_eq!(b.engine.close(PEER).await, Ok(()));
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_refused_and_a_new_offer_works() {
    let (mut a, mut b) = pair().await;
    let first = offer(&a, video(1, "ours")).await;
    let good = answered(&b, first.sdp.expose()).await.unwrap();
    for wrong in [
        good.sdp.expose().replace("a=mid:", "a=mid:z"),
        good.sdp.expose().split("m=video").next().unwrap().to_owned(),
        good.sdp.expose().replace("m=video", "m=audio"),
    ] {
        let refused = a.engine.set_remote(PEER, described(SdpKind::Answer, &wrong)).await;
        assert!(matches!(refused, Err(Fault::Failed(_))), "{refused:?}");
    }
    a.engine.set_remote(PEER, good).await.unwrap();
    a.until_state(PeerState::Connected).await;
    b.until_state(PeerState::Connected).await;
}

#[tokio::test]
async fn an_offer_in_which_a_line_is_of_another_kind_is_refused_and_the_waiting_one_answered() {
    let (mut a, mut b) = pair().await;
    a.capture(&video(1, "ours")).await;
    let first = offer(&a, video(1, "ours")).await;
    assert_connects(&mut a, &mut b, first.sdp.expose()).await;
    let second = offer(&a, video(1, "ours")).await;
    b.engine.set_remote(PEER, second.clone()).await.unwrap();
    let text = second.sdp.expose();
    let swapped = text.replace("m=video", "m=x").replace("m=audio", "m=video");
    let refused = described(SdpKind::Offer, &swapped.replace("m=x", "m=audio"));
    assert!(matches!(b.engine.set_remote(PEER, refused).await, Err(Fault::Failed(_))));
    let made = b.engine.answer(PEER, video(3, "theirs")).await.unwrap();
    a.engine.set_remote(PEER, made).await.unwrap();
    until("sound goes on", || b.heard(MediaKind::Audio).len() > 20).await;
}

/// The offer of two lines with its second one in another state: of this kind, port and name.
fn with_second(offer: &str, kind: &str, port: u16, mid: &str) -> String {
    let (first, second) = offer.split_once("m=video 9").unwrap();
    let first = first.replace("a=group:BUNDLE 0 1", &format!("a=group:BUNDLE 0 {mid}"));
    let second = second.replace("a=mid:1", &format!("a=mid:{mid}"));
    format!("{first}m={kind} {port}{second}")
}

fn lines_of(sdp: &Description) -> Vec<(String, bool)> {
    let lines = matrix_voip::sdp::media_lines(sdp.sdp.expose());
    lines.iter().map(|line| (line.mid.unwrap_or_default().to_owned(), line.off)).collect()
}

/// RFC 8829 §5.2.2, which Chromium makes use of.
#[tokio::test]
async fn a_new_line_takes_the_place_of_one_that_is_off() {
    let (a, b) = pair().await;
    let good = offer(&a, video(1, "ours")).await.sdp.expose().to_owned();
    let on = |mid: &str| (mid.to_owned(), false);
    let off = |mid: &str| (mid.to_owned(), true);
    let refused = good.replace("VP8", "XX8").replace("H264", "X264");
    assert_eq!(lines_of(&answered(&b, &refused).await.unwrap()), [on("0"), off("1")]);
    for again in ["once", "and in every later offer"] {
        let answer = answered(&b, &with_second(&good, "video", 9, "2")).await.unwrap();
        assert_eq!(lines_of(&answer), [on("0"), on("2")], "{again}");
    }
    let unfit = answered(&b, &with_second(&good, "video", 9, "1")).await;
    assert!(matches!(unfit, Err(Fault::Failed(_))), "{unfit:?}");
    // Our own offer has them as they are now, and without the one that is gone.
    let made = offer(&b, video(3, "theirs")).await;
    assert_eq!(lines_of(&made), [on("0"), on("2")]);
    let named = made.sdp.expose().lines().find(|line| line.starts_with("a=group:BUNDLE"));
    assert_eq!(named, Some("a=group:BUNDLE 0 2"));
    // Which the other engine takes as well: a new connection begins with it.
    let answer = a_fresh_answer(&made).await;
    b.engine.set_remote(PEER, answer).await.unwrap();
    let answer = answered(&b, &with_second(&good, "video", 9, "2")).await.unwrap();
    assert_eq!(lines_of(&answer), [on("0"), on("2")]);
    // Over, and a line of the other kind in the same place.
    let answer = answered(&b, &with_second(&good, "video", 0, "2")).await.unwrap();
    assert_eq!(lines_of(&answer), [on("0"), off("2")]);
    let answer = answered(&b, &with_sound_second(&good)).await.unwrap();
    assert_eq!(lines_of(&answer), [on("0"), on("3")]);
}

/// The offer with a line of sound in the place of its second one.
fn with_sound_second(offer: &str) -> String {
    let (session, first) = offer.split_once("m=audio").unwrap();
    let (first, _) = first.split_once("m=video").unwrap();
    let second = first.replace("a=mid:0", "a=mid:3").replace("a=ssrc:", "a=ssrc:1");
    let session = session.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 3");
    format!("{session}m=audio{first}m=audio{second}")
}

/// What another connection says to an offer.
async fn a_fresh_answer(offer: &Description) -> Description {
    let c = side(660.0);
    c.open(1).await;
    answered(&c, offer.sdp.expose()).await.unwrap()
}

#[tokio::test]
async fn a_line_that_was_refused_is_not_offered_again_and_again() {
    let (a, b) = pair().await;
    for round in 0..5 {
        let made = offer(&a, video(1, "ours")).await;
        assert_eq!(lines_of(&made).len(), 2, "round {round}");
        let voice_only = made.sdp.expose().replace("VP8", "XX8").replace("H264", "X264");
        let answer = answered(&b, &voice_only).await.unwrap();
        assert!(lines_of(&answer)[1].1, "{answer:?}");
        a.engine.set_remote(PEER, answer).await.unwrap();
    }
    // Should they want pictures themselves, they get them.
    let theirs = offer(&b, video(3, "theirs")).await;
    let answer = answered(&a, theirs.sdp.expose()).await.unwrap();
    let lines = lines_of(&answer);
    assert!(lines.len() == 3 && lines[1].1 && !lines[2].1, "{lines:?}");
    let answer = matrix_voip::sdp::media_lines(answer.sdp.expose())[2].direction;
    assert!(answer.sends() && answer.receives(), "{answer:?}");
}

#[tokio::test]
async fn a_line_that_rests_from_the_beginning_keeps_its_kind_and_its_place() {
    let (a, b) = pair().await;
    let good = offer(&a, video(1, "ours")).await.sdp.expose().to_owned();
    let (first, second) = good.split_once("m=video").unwrap();
    let rests = format!("{first}m=video{}", second.replace("a=sendrecv", "a=inactive"));
    answered(&b, &rests).await.unwrap();
    let (session, audio) = first.split_once("m=audio").unwrap();
    let swapped = format!("{session}m=video{second}m=audio{audio}");
    let other_kind = format!("{first}m=audio{}", audio.replace("a=mid:0", "a=mid:1"));
    for wrong in [other_kind, swapped] {
        let refused = answered(&b, &wrong).await;
        assert!(matches!(refused, Err(Fault::Failed(_))), "{refused:?}");
    }
    assert_eq!(lines_of(&answered(&b, &good).await.unwrap()).len(), 2);
    assert_eq!(lines_of(&offer(&b, video(3, "theirs")).await).len(), 2, "no line for nobody");
}

/// Changes a text at random: bytes, lines gone, twice, swapped, cut off.
fn mutate(random: &mut fastrand::Rng, text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(0..lines.len());
        match random.u8(0..6) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[random.usize(0..lines.len())].clone()),
            2 => lines.swap(at, 0),
            3 => lines[at] = lines[at].chars().take(random.usize(0..20)).collect(),
            4 => lines[at].push_str(&random.u64(..).to_string()),
            _ => {
                let mut bytes = lines[at].clone().into_bytes();
                if let Some(byte) = bytes.get_mut(random.usize(0..40)) {
                    *byte = random.u8(32..127);
                }
                lines[at] = String::from_utf8(bytes).unwrap_or_default();
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect()
}

#[tokio::test]
async fn no_mangled_description_makes_a_connection_panic() {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..40 {
        let (a, b) = pair().await;
        let good = offer(&a, video(1, "ours")).await.sdp.expose().to_owned();
        for _ in 0..10 {
            match answered(&b, &mutate(&mut random, &good)).await {
                Ok(answer) => {
                    taken += 1;
                    let mangled = mutate(&mut random, answer.sdp.expose());
                    let answer = described(SdpKind::Answer, &mangled);
                    let result = a.engine.set_remote(PEER, answer).await;
                    assert!(matches!(result, Ok(()) | Err(Fault::Failed(_))), "{result:?}");
                    let again = a.engine.offer(PEER, video(1, "ours")).await;
                    assert!(matches!(again, Ok(_) | Err(Fault::Failed(_))), "{again:?}");
                }
                Err(Fault::Failed(_)) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        for side in [&a, &b] {
            side.engine.close(PEER).await.unwrap();
        }
    }
    println!("{taken} mangled offers taken, {refused} refused");
    assert!(taken > 20 && refused > 20);
}

#[tokio::test]
async fn garbage_on_the_socket_does_not_disturb_a_call() {
    let (a, mut b) = pair().await;
    a.capture(&voice(1, "ours")).await;
    let good = offer(&a, voice(1, "ours")).await.sdp.expose().to_owned();
    let answer = answered(&b, &good).await.unwrap();
    let mut ports = Vec::new();
    b.until(|news| *news == PeerNews::GatheringDone).await;
    for (_, news) in &b.news {
        let PeerNews::Candidate(candidate) = news else { continue };
        let words: Vec<_> = candidate.candidate.expose().split(' ').map(str::to_owned).collect();
        ports.extend((words[4] == "127.0.0.1").then(|| words[5].parse::<u16>().unwrap()));
    }
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut flood = || {
        for _ in 0..200 {
            let length = random.usize(0..200);
            let mut data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            // DTLS handshake, alert, STUN, RTP: the first byte says what it claims to be.
            if let Some(first) = data.first_mut() {
                *first = random.choice([0, 1, 21, 22, 23, 128, 144, 200]).unwrap();
            }
            stranger.send_to(&data, ("127.0.0.1", ports[0])).unwrap();
        }
    };
    flood();
    a.engine.set_remote(PEER, answer).await.unwrap();
    flood();
    b.until_state(PeerState::Connected).await;
    for heard in [20, 40, 60] {
        flood();
        until("sound", || b.heard(MediaKind::Audio).len() > heard).await;
    }
    let failed = |(_, news): &(PeerId, PeerNews)| *news == PeerNews::State(PeerState::Failed);
    assert!(!b.news.iter().any(failed));
}

#[tokio::test]
async fn garbage_among_the_candidates_does_not_disturb_a_call() {
    let (mut a, mut b) = pair().await;
    a.capture(&voice(1, "ours")).await;
    let line = |text: &str| Candidate { candidate: text.into(), ..Candidate::end() };
    let useless = [
        "",
        "candidate:",
        "\u{0}",
        "candidate:1 1 udp x y z typ host",
        "a=b",
        "candidate:1 1 udp 99999999999999 10.0.0.1 1 typ host",
        "candidate:1 1 udp 1 10.0.0.1 1 typ relay raddr",
        "candidate:1 1 tcp 1 10.0.0.1 9 typ host",
    ];
    b.engine.candidates(PEER, useless.map(line).to_vec()).await.unwrap();
    let good = offer(&a, voice(1, "ours")).await.sdp.expose().to_owned();
    assert_connects(&mut a, &mut b, &good).await;
    b.engine.candidates(PEER, useless.map(line).to_vec()).await.unwrap();
    until("sound", || b.heard(MediaKind::Audio).len() > 30).await;
    assert!(b.engine.stats(PEER).await.unwrap().unusable_candidates >= 10);
}
