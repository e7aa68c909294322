//! The other WebRTC engine of `matrix-voip`, over the crates
//! [`webrtc`](https://docs.rs/webrtc) and [`rtc`](https://docs.rs/rtc) 0.21.1: peer connections with
//! ICE, DTLS-SRTP, Opus, VP8 and H.264, without any C++.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use matrix_voip::host::Media;
//! # fn example(media: Arc<dyn Media>) {
//! let engine = matrix_voip_webrtc::Webrtc::builder(media).build();
//! # let _ = engine;
//! # }
//! ```
//!
//! [`Webrtc`] implements [`matrix_voip::host::WebRtc`]. Sound and picture come from and go to an
//! implementation of [`matrix_voip::host::Media`], as encoded frames; `matrix-voip-media` has
//! sources and sinks. What is not WebRTC (captures, mute, addresses, TLS) is `matrix-voip-engine`'s.
//!
//! # The house
//!
//! | module | is |
//! | --- | --- |
//! | `delegate` | [`Webrtc`], [`Builder`]: the trait's methods as requests to tasks |
//! | `life`, `connection`, `perform` | the task of one connection: from its opening to its end; what it is asked |
//! | `open`, `codecs`, `handler` | a connection of the crate's: sockets, codecs, timers, its news |
//! | `negotiate`, `lines`, `sdp` | plan → m-lines; what goes into the crate and what comes out of it |
//! | `gather`, `candidates` | our candidates; theirs |
//! | `tap`, `inbound`, `receive` | packets off the crate's chain, to their lines, to frames |
//! | `send` | frames → packets |
//! | `servers`, `forward` | STUN and TURN servers; TURN over TCP and TLS |
//! | `stats` | measurements |
//!
//! # What is corrected
//!
//! The crate is used for ICE, DTLS, SRTP, RTCP and the format of SDP. What flows which way is
//! decided here: to the crate every m-line is `sendrecv` for ever, and every packet that comes in
//! is taken off its chain of interceptors. The letters are those of the comments at the code and of the
//! tests: `tests/corrections.rs` for A to G, `tests/coturn.rs` for H with a server, `tests/hostile.rs` for
//! I and M, a cell of the conformance suite for L, and those beside the code.
//!
//! | | defect of 0.21.1 | here |
//! | --- | --- | --- |
//! | A | answers every re-offer with `a=setup:active` | `sdp`: the part that is ours |
//! | B | answers `sendonly` with `sendrecv`; stops a line that is offered `inactive` | `negotiate`: directions are ours |
//! | C | `replace_track` says yes and sends nothing any more | `send`: one track for ever, other frames |
//! | D | candidates name no m-line | `gather` |
//! | E | no negotiation after a restart, no implicit rollback | `negotiate`: explicit |
//! | F | RTCP never comes to a track | `tap` |
//! | G | header extensions get numbers that collide with Chromium's | `codecs` |
//! | H | relayed candidates tell the local address (`raddr`) | `sdp`, `gather` |
//! | I | a description with lines that name no `ssrc` is refused | `sdp`: they get one |
//! | J | VP8 packets of less than four bytes are refused, and with them their frame | `receive` |
//! | K | an H.264 aggregate that ends in half a length is read behind its end | `receive` |
//! | L | other servers are refused unless what stays is said again | `servers` |
//! | M | makes no offer any more once a line was refused without naming a codec of ours | `sdp`: it gets ours |
//!
//! # Supported
//!
//! Host candidates on every interface, server-reflexive ones by STUN, relayed ones by TURN over UDP,
//! TCP and TLS; trickle both ways, ICE restart in offers and answers, several audio and video lines,
//! retransmission on the same source, statistics. Not: tones of a telephone
//! ([`Fault::Unsupported`](matrix_voip::machine::io::Fault), and no `telephone-event` in any
//! description), retransmission on a source of its own (RTX), bandwidth estimation, simulcast, data
//! channels, the reason why a TURN server over UDP failed (of one over TCP or TLS it is known as far as
//! the way to it goes).
//!
//! # What is not corrected
//!
//! - `write_rtp` answers `Ok` also for a packet that the crate's driver drops: what
//!   [`StreamStats`](matrix_voip::machine::io::StreamStats) counts as sent is what was handed over.
//! - The crate leaves the old path when an offer that restarts ICE is put into force: nothing flows until it
//!   is answered and a new path is there, and after a rollback until the next offer.
//! - The crate says nothing of a handshake that fails, for a wrong certificate above all: it counts as
//!   failed fifteen seconds after there was a path.
//! - The crate reads SRTP's source before it knows whether a packet is genuine, and keeps a state of some
//!   228 bytes for each that anybody sends as, until the connection ends.
//! - The crates below log for themselves: addresses, and at DEBUG the other side's ICE password. Let no
//!   subscriber take their targets: `webrtc=off,rtc=off,rtc_ice=off,rtc_turn=off`.
//! - When [`close`](matrix_voip::host::WebRtc::close) answers, no task of the connection, no sink and no
//!   socket of the crate's is left, but where the crate's own task cannot end within a tenth of a second:
//!   then it is aborted, and its sockets go with it a moment later. A way to a TURN server over TCP or TLS
//!   is open for a second more, so that allocations are given back.
//! - The crate forgets no line. One in whose place the other side has put another (RFC 8829 §5.2.2) is named
//!   no more, but counts: of all that there ever were, no more than
//!   [`MAX_MEDIA_LINES`](matrix_voip::sdp::MAX_MEDIA_LINES) are taken. Our own new lines come behind the
//!   others; one that was refused is not offered again before the other side offers one of its kind.

#![forbid(unsafe_code)]

mod candidates;
mod codecs;
mod connection;
mod delegate;
mod error;
mod forward;
mod gather;
mod handler;
mod inbound;
mod life;
mod lines;
mod negotiate;
mod open;
mod perform;
mod receive;
mod sdp;
mod send;
mod servers;
mod stats;
mod tap;

pub use delegate::{Builder, Webrtc};
pub use matrix_voip_engine::{BadCertificate, Interfaces, TrustedRoots};
