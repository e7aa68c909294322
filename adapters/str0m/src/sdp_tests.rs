//! Descriptions read and rewritten.

use super::*;

const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
    a=msid-semantic: WMS cam\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
    a=fingerprint:sha-256 AA:BB\r\na=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\na=sendrecv\r\n\
    a=msid:cam mic\r\na=ssrc:7 cname:x\r\na=ssrc:7 msid:cam mic\r\n\
    m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=recvonly\r\n\
    m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=sendonly\r\na=ssrc:8 msid:old track\r\n";

fn msid(stream: &str) -> Option<Msid> {
    Some(Msid { stream: stream.to_owned(), track: "t".to_owned() })
}

#[test]
fn lines_are_read_with_direction_stream_and_rejection() {
    let lines = read(OFFER);
    assert_eq!(lines.len(), 3);
    assert_eq!((lines[0].direction, lines[0].rejected), (Direction::SendRecv, false));
    assert_eq!(lines[0].stream.as_ref().map(StreamId::as_str), Some("cam"));
    assert_eq!((lines[1].direction, lines[1].rejected), (Direction::RecvOnly, false));
    assert_eq!((lines[2].direction, lines[2].rejected), (Direction::SendOnly, true));
    assert_eq!(lines[2].stream.as_ref().map(StreamId::as_str), Some("old"));
}

#[test]
fn our_ids_replace_those_that_str0m_repeats() {
    let ours = claim(OFFER, |line| if line.mid == "0" { msid("mine") } else { None });
    assert!(ours.contains("a=msid:mine t\r\n"));
    assert!(ours.contains("a=ssrc:7 msid:mine t\r\n"));
    assert!(ours.contains("a=ssrc:7 cname:x\r\n"));
    assert!(!ours.contains("msid:cam"));
    assert!(!ours.contains("a=ssrc:8"), "a line that sends nothing names no source");
    assert!(ours.contains("a=msid-semantic: WMS *\r\n"));
}

#[test]
fn an_offer_is_narrowed_to_what_we_want() {
    let narrow = restrict(OFFER, |_| Direction::Inactive);
    assert!(read(&narrow).iter().all(|line| line.direction == Direction::Inactive));
    assert_eq!(narrow.matches("a=inactive").count(), 3);
}

#[test]
fn missing_candidates_are_added_once_to_the_first_line() {
    let held = "candidate:1 1 udp 1 10.0.0.1 5 typ host";
    let new = "candidate:2 1 udp 1 10.0.0.2 5 typ host";
    let text = with_candidates(OFFER, [held, new].into_iter());
    let again = with_candidates(&text, [held, new].into_iter());
    assert_eq!(text, again);
    assert_eq!(candidates(&text).collect::<Vec<_>>(), [held, new]);
    let first = text.split("m=video").next().unwrap();
    assert!(first.ends_with("a=end-of-candidates\r\n"));
}

#[test]
fn what_str0m_could_not_survive_is_refused_before() {
    let no_fingerprint = OFFER.replace("a=fingerprint:sha-256 AA:BB\r\n", "");
    assert_eq!(check(OFFER), Ok(()));
    assert_eq!(check(&no_fingerprint), Err(PeerError::NoFingerprint));
    assert_eq!(check(&OFFER.replace("a=mid:1\r\n", "")), Err(PeerError::BadMid));
    assert_eq!(check(&OFFER.replace("a=mid:1\r\n", "a=mid:a-b\r\n")), Err(PeerError::BadMid));
    assert_eq!(check(""), Err(PeerError::NoLines));
    let many: String = (0..40).map(|n| format!("m=audio 9 x 0\r\na=mid:{n}\r\n")).collect();
    assert_eq!(check(&many), Err(PeerError::TooManyLines));
    assert_eq!(check(&"x".repeat(MAX_SDP_BYTES + 1)), Err(PeerError::TooLong));
}

#[test]
fn directions_compose_of_two_halves() {
    for (sending, receiving) in [(true, true), (true, false), (false, true), (false, false)] {
        let one = direction(sending, receiving);
        assert_eq!((sends(one), receives(one)), (sending, receiving));
    }
}
