//! What comes in, taken off the crate's chain of interceptors (correction F).
//!
//! RTCP never reaches a track of the crate, and RTP only while its receivers agree with it about
//! sources; so one interceptor next to the network reads feedback, and one at the end of the chain
//! takes every packet of sound and picture. What cannot be taken at once is lost, as on a network
//! that is too slow.

use std::{collections::VecDeque, time::Instant};

use rtc::{
    interceptor::{Interceptor, Packet, Slot, StreamInfo, TaggedPacket},
    rtcp::{
        payload_feedbacks::{
            full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication,
        },
        receiver_report::ReceiverReport,
        reception_report::ReceptionReport,
        sender_report::SenderReport,
    },
    sansio::Protocol,
    shared::error::Error,
};
use tokio::sync::mpsc;
use webrtc::peer_connection::Registry;

/// Packets that may wait for the connection's task: half a second of sound and picture.
pub(crate) const MAX_WAITING: usize = 1024;

/// The first and the last place of the chain.
const NEXT_TO_THE_NETWORK: Slot = Slot::Custom(1);
const AT_THE_END: Slot = Slot::Custom(100_000);

/// Something that came in.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// Sound or picture.
    Rtp { packet: rtc::rtp::Packet, at: Instant },
    /// The other side wants a key frame of this source.
    KeyFrame(u32),
    /// The other side says how it receives this source.
    Report(ReceptionReport),
}

/// The way from the crate's chain to the connection's task.
#[derive(Debug, Clone)]
pub(crate) struct Tap(mpsc::Sender<Arrived>);

impl Tap {
    /// A tap and what comes out of it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Arrived>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Self(sender), receiver)
    }

    /// Puts both ends of it into a chain.
    pub(crate) fn register(&self, chain: Registry) -> Registry {
        let at = |takes| End { tap: self.clone(), takes, ..End::of(self) };
        chain.with(NEXT_TO_THE_NETWORK, at(Takes::Feedback)).with(AT_THE_END, at(Takes::Media))
    }

    fn tell(&self, arrived: Arrived) {
        // Full: the task does not follow. Closed: the connection is.
        drop(self.0.try_send(arrived));
    }

    fn tell_feedback(&self, packet: &dyn rtc::rtcp::Packet) {
        let packet = packet.as_any();
        if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
            self.tell(Arrived::KeyFrame(pli.media_ssrc));
        } else if let Some(fir) = packet.downcast_ref::<FullIntraRequest>() {
            fir.fir.iter().for_each(|entry| self.tell(Arrived::KeyFrame(entry.ssrc)));
        } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
            report.reports.iter().for_each(|report| self.tell(Arrived::Report(report.clone())));
        } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
            report.reports.iter().for_each(|report| self.tell(Arrived::Report(report.clone())));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Reads RTCP and passes everything on.
    Feedback,
    /// Keeps RTP; nobody is behind it.
    Media,
}

/// One end of a tap, as an interceptor.
struct End {
    tap: Tap,
    takes: Takes,
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl End {
    fn of(tap: &Tap) -> Self {
        let (read, write) = Default::default();
        Self { tap: tap.clone(), takes: Takes::Feedback, read, write }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for End {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, tagged: TaggedPacket) -> Result<(), Error> {
        if let (Takes::Feedback, Packet::Rtcp(packets)) = (self.takes, &tagged.message.packet) {
            packets.iter().for_each(|packet| self.tap.tell_feedback(packet.as_ref()));
        }
        match (self.takes, tagged.message.packet) {
            (Takes::Media, Packet::Rtp(packet)) => {
                self.tap.tell(Arrived::Rtp { packet, at: tagged.now });
            }
            (_, packet) => {
                let message = rtc::interceptor::AttributedPacket { packet, ..tagged.message };
                self.read.push_back(TaggedPacket { message, ..tagged });
            }
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, tagged: TaggedPacket) -> Result<(), Error> {
        self.write.push_back(tagged);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }
}

impl Interceptor for End {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc::{
        interceptor::AttributedPacket, rtcp::payload_feedbacks::full_intra_request::FirEntry,
        shared::TransportContext,
    };

    /// What comes out of the tap when this comes in.
    fn tapped(packet: Packet) -> Vec<Arrived> {
        let (tap, mut arrived) = Tap::new();
        let mut end = End::of(&tap);
        #[expect(clippy::disallowed_methods, reason = "when it came in says nothing here")]
        let now = Instant::now();
        let message = AttributedPacket::new(packet);
        let transport = TransportContext::default();
        end.handle_read(TaggedPacket { now, transport, message }).unwrap();
        assert!(end.poll_read().is_some(), "feedback goes on to the crate");
        std::iter::from_fn(|| arrived.try_recv().ok()).collect()
    }

    /// Correction F: neither of the requests for a key frame comes to a track of the crate.
    #[test]
    fn both_requests_for_a_key_frame_are_heard() {
        let entry = |ssrc| FirEntry { ssrc, sequence_number: 1 };
        let fir = FullIntraRequest { sender_ssrc: 1, media_ssrc: 0, fir: vec![entry(7), entry(8)] };
        let pli = PictureLossIndication { sender_ssrc: 1, media_ssrc: 9 };
        let asked = tapped(Packet::Rtcp(vec![Box::new(fir), Box::new(pli)]));
        let asked: Vec<u32> = asked
            .iter()
            .filter_map(|one| if let Arrived::KeyFrame(ssrc) = one { Some(*ssrc) } else { None })
            .collect();
        assert_eq!(asked, [7, 8, 9]);
    }

    /// Correction F: how the other side receives stands in both kinds of reports.
    #[test]
    fn reports_are_heard_from_those_who_send_and_from_those_who_do_not() {
        let report = |ssrc| ReceptionReport { ssrc, ..ReceptionReport::default() };
        let receiver = ReceiverReport { reports: vec![report(7)], ..ReceiverReport::default() };
        let sender = SenderReport { reports: vec![report(8)], ..SenderReport::default() };
        let told = tapped(Packet::Rtcp(vec![Box::new(receiver), Box::new(sender)]));
        let told: Vec<u32> = told
            .iter()
            .filter_map(
                |one| if let Arrived::Report(report) = one { Some(report.ssrc) } else { None },
            )
            .collect();
        assert_eq!(told, [7, 8]);
    }
}
