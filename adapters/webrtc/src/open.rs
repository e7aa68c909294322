//! Making a connection of the crate's.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use matrix_voip::machine::io::Fault;
use tokio::sync::mpsc;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, RTCConfigurationBuilder, RTCIceTransportPolicy,
};

use crate::{
    codecs,
    handler::{Handler, Said},
    tap::{Arrived, Tap},
};

/// A connection of the crate's and what comes out of it.
pub(crate) struct Opened {
    pub(crate) pc: Arc<dyn PeerConnection>,
    pub(crate) closer: Closer,
    pub(crate) arrived: mpsc::Receiver<Arrived>,
    pub(crate) said: mpsc::UnboundedReceiver<Said>,
}

/// Closes a connection of the crate's, also for whoever does not come so far as to do it himself:
/// dropped, it would go on for ever.
pub(crate) struct Closer(Option<Arc<dyn PeerConnection>>);

impl Closer {
    /// Closes it and waits for that.
    pub(crate) async fn close(mut self) {
        // Should nobody wait any more, it is left to the drop.
        if let Some(pc) = self.0.clone() {
            drop(pc.close().await);
        }
        self.0 = None;
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        let Some(pc) = self.0.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { drop(pc.close().await) });
        }
    }
}

/// Opens sockets on these addresses; nothing is asked or sent yet.
///
/// # Errors
/// [`Fault::Unreachable`] when no socket can be had.
pub(crate) async fn open(
    addresses: &[IpAddr],
    servers: RTCConfigurationBuilder,
    relay_only: bool,
) -> Result<Opened, Fault> {
    let (tap, arrived) = Tap::new();
    let (says, said) = mpsc::unbounded_channel();
    let (media, registry) = codecs::engine(&tap).map_err(|error| failed(&error))?;
    let policy = if relay_only { RTCIceTransportPolicy::Relay } else { RTCIceTransportPolicy::All };
    let configuration = servers.with_ice_transport_policy(policy).build();
    let building = PeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_setting_engine(codecs::settings(relay_only))
        .with_handler(Arc::new(Handler(says)))
        .with_udp_addrs(bindings(addresses))
        .build();
    // In a task of its own: half built and dropped for being too late, nobody could close it.
    let built = tokio::spawn(async move {
        let pc: Arc<dyn PeerConnection> = Arc::new(building.await?);
        let closer = Closer(Some(pc.clone()));
        Ok::<_, rtc::shared::error::Error>(Opened { pc, closer, arrived, said })
    });
    let built = built.await.map_err(|_| Fault::Panicked)?;
    built.map_err(|error| {
        tracing::debug!(%error, "no connection");
        Fault::Unreachable
    })
}

/// Where sockets are opened. "Every interface" is said as such where that is meant: the crate looks
/// again which there are when ICE restarts, and dies of an address that is gone.
fn bindings(addresses: &[IpAddr]) -> Vec<SocketAddr> {
    let is_loopback = addresses.iter().all(IpAddr::is_loopback);
    if is_loopback {
        return addresses.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
    }
    let v4 = addresses.iter().any(IpAddr::is_ipv4).then_some(Ipv4Addr::UNSPECIFIED.into());
    let v6 = addresses.iter().any(IpAddr::is_ipv6).then_some(Ipv6Addr::UNSPECIFIED.into());
    v4.into_iter().chain(v6).map(|ip| SocketAddr::new(ip, 0)).collect()
}

fn failed(error: &rtc::shared::error::Error) -> Fault {
    tracing::debug!(%error, "no connection");
    Fault::Failed("the engine cannot be set up".to_owned())
}
