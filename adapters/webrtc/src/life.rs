//! The life of one connection, from the request to open it to the end of its last socket.
//!
//! It is one task, so that there is something to wait for: whoever closes a connection waits until the
//! task has let go of its requests, which it does last.

use std::{net::IpAddr, sync::Arc, time::Duration};

use matrix_voip::machine::io::{Fault, IceServer};
use matrix_voip_engine::{Tls, track::Outgoing};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    connection::{Connection, Place, Request, Ways},
    open::{self, Opened},
    servers::Servers,
};

/// How long a connection may take to be made: its sockets are opened and nothing is asked.
const OPENING: Duration = Duration::from_secs(10);

/// What a connection is to be, and the ways into its task.
pub(crate) struct Asked {
    /// Of this machine: sockets are opened on them.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) servers: Vec<IceServer>,
    pub(crate) relay_only: bool,
    pub(crate) tls: Arc<Tls>,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) frames: mpsc::Receiver<Outgoing>,
}

/// Makes the connection, says what came of it, and runs it to its end.
pub(crate) async fn live(place: Place, asked: Asked, opened: oneshot::Sender<Result<(), Fault>>) {
    let Asked { addresses, servers, relay_only, tls, requests, closing, frames } = asked;
    let making = timeout(OPENING, make(&addresses, Servers::new(tls, relay_only), &servers));
    // Not cut short by a closing: it takes milliseconds, and what is half built cannot be closed.
    let (servers, Opened { pc, closer, arrived, said }) = match making.await {
        Ok(Ok(made)) => made,
        Ok(Err(fault)) => return drop(opened.send(Err(fault))),
        Err(_) => return drop(opened.send(Err(Fault::Timeout))),
    };
    if is_over(&closing) {
        closer.close().await;
        return drop(opened.send(Err(Fault::Cancelled)));
    }
    let connection = Connection::new(place, pc, servers, relay_only);
    // Whoever does not wait for it any more has it closed.
    drop(opened.send(Ok(())));
    connection.run(Ways { requests, closing, frames, arrived, said }, closer).await;
}

async fn make(
    addresses: &[IpAddr],
    mut servers: Servers,
    named: &[IceServer],
) -> Result<(Servers, Opened), Fault> {
    servers.reach_from(addresses);
    let configuration = servers.replace(named).await;
    let opened = open::open(addresses, configuration, servers.relay_only()).await?;
    Ok((servers, opened))
}

/// Whether it is to be closed, or nobody is left to ask for that.
fn is_over(closing: &watch::Receiver<bool>) -> bool {
    *closing.borrow() || closing.has_changed().is_err()
}
