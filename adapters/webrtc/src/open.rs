//! Making a connection of the crate's.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use matrix_voip::machine::io::Fault;
use tokio::sync::mpsc;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, RTCBundlePolicy, RTCConfigurationBuilder,
    RTCIceTransportPolicy,
};

use crate::{
    codecs,
    handler::{Handler, Said},
    tap::{Arrived, Tap},
};

/// A connection of the crate's and what comes out of it.
pub(crate) struct Opened {
    pub(crate) pc: Arc<dyn PeerConnection>,
    pub(crate) arrived: mpsc::Receiver<Arrived>,
    pub(crate) said: mpsc::UnboundedReceiver<Said>,
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
    let configuration = servers
        .with_ice_transport_policy(policy)
        .with_bundle_policy(RTCBundlePolicy::MaxBundle)
        .build();
    let built = PeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_setting_engine(codecs::settings(relay_only))
        .with_handler(Arc::new(Handler(says)))
        .with_udp_addrs(bindings(addresses))
        .build()
        .await;
    let pc = built.map_err(|error| {
        tracing::debug!(%error, "no connection");
        Fault::Unreachable
    })?;
    Ok(Opened { pc: Arc::new(pc), arrived, said })
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
