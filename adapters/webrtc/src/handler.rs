//! What the crate says, on its way to the connection's task.

use tokio::sync::mpsc;
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCIceConnectionState, RTCIceGatheringState,
    RTCPeerConnectionIceEvent, RTCPeerConnectionState,
};

/// Something the crate said.
#[derive(Debug)]
pub(crate) enum Said {
    /// A local candidate, and the server that it comes from.
    Candidate { line: String, server: String },
    /// There will be no more of them.
    GatheringDone,
    /// ICE and DTLS together changed.
    State(RTCPeerConnectionState),
    /// Whether there is a path: with it the handshake begins, or goes on.
    Path(bool),
}

/// Passes on what the crate says. It says a few things in a negotiation and no more: nothing of it
/// is the other side's to cause without end.
pub(crate) struct Handler(pub(crate) mpsc::UnboundedSender<Said>);

impl Handler {
    fn tell(&self, said: Said) {
        // The task is gone: so is the connection, in a moment.
        drop(self.0.send(said));
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let Ok(candidate) = event.candidate.to_json() else { return };
        self.tell(Said::Candidate { line: candidate.candidate, server: event.url });
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.tell(Said::GatheringDone);
        }
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        match state {
            RTCIceConnectionState::Connected | RTCIceConnectionState::Completed => {
                self.tell(Said::Path(true));
            }
            // As after a restart. `Disconnected` says too little: so it ends when the other side was
            // content with nothing in the handshake and fell silent.
            RTCIceConnectionState::Checking | RTCIceConnectionState::Failed => {
                self.tell(Said::Path(false));
            }
            _ => {}
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.tell(Said::State(state));
    }
}
