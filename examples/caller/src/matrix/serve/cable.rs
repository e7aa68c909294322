//! The cable to the homeserver, which a test can cut: a forwarder on loopback through which all
//! connections of one client go. Cut, it drops those that are open and takes no others.

use std::{io, net::Ipv4Addr};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A cable. It is torn when this is dropped.
#[derive(Debug)]
pub(crate) struct Cable {
    whole: watch::Sender<bool>,
    port: u16,
}

impl Cable {
    /// Lays a cable to `host:port`.
    pub(crate) async fn to(host: String, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let near = listener.local_addr()?.port();
        let (whole, state) = watch::channel(true);
        tokio::spawn(forward(listener, (host, port), state));
        Ok(Self { whole, port: near })
    }

    /// Its near end.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Mends or cuts it.
    pub(crate) fn set(&self, whole: bool) {
        self.whole.send_replace(whole);
    }
}

async fn forward(listener: TcpListener, far: (String, u16), state: watch::Receiver<bool>) {
    let mut end = state.clone();
    let accept = async {
        loop {
            let Ok((near, _)) = listener.accept().await else { continue };
            if *state.borrow() {
                tokio::spawn(carry(near, far.clone(), state.clone()));
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = dropped(&mut end) => {}
    }
}

/// Carries one connection until one side closes it or the cable is cut.
async fn carry(mut near: TcpStream, far: (String, u16), mut state: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(far).await else { return };
    // Small requests must not wait for each other.
    drop((near.set_nodelay(true), far.set_nodelay(true)));
    tokio::select! {
        // However it ended, it is over.
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = state.wait_for(|whole| !whole) => {}
    }
}

async fn dropped(state: &mut watch::Receiver<bool>) {
    while state.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        port
    }

    async fn says(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        stream.write_all(b"a").await.is_ok()
            && stream.read(&mut byte).await.is_ok_and(|length| length == 1)
    }

    #[tokio::test]
    async fn a_cut_cable_drops_what_is_open_and_takes_nothing_until_it_is_mended() {
        let cable = Cable::to("127.0.0.1".to_owned(), echo().await).await.unwrap();
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, cable.port));
        let mut open = connect().await.unwrap();
        assert!(says(&mut open).await);
        cable.set(false);
        assert!(!says(&mut open).await, "an open connection survived");
        assert!(!says(&mut connect().await.unwrap()).await, "a new connection is carried");
        cable.set(true);
        assert!(says(&mut connect().await.unwrap()).await);
    }
}
