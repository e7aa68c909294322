//! A port of this machine that leads to a Unix socket: by it the tests reach a server that is in the
//! run's network. It is open until the test process ends.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
};

use crate::failure::{Context, Failure};

/// The port.
#[derive(Debug)]
pub(crate) struct Door {
    port: u16,
}

impl Door {
    /// Opens one that leads to this socket.
    pub(crate) fn to(socket: PathBuf) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").context("opening a door")?;
        let port = listener.local_addr().context("opening a door")?.port();
        thread::spawn(move || {
            // Who comes while nobody is behind it finds the connection closed.
            listener.incoming().flatten().for_each(|near| drop(lead(near, &socket)));
        });
        Ok(Self { port })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn lead(near: TcpStream, socket: &Path) -> io::Result<()> {
    let far = UnixStream::connect(socket)?;
    let (mut from_near, mut to_near) = (near.try_clone()?, near);
    let (mut from_far, mut to_far) = (far.try_clone()?, far);
    thread::spawn(move || {
        drop(io::copy(&mut from_near, &mut to_far));
        drop(to_far.shutdown(Shutdown::Write));
    });
    thread::spawn(move || {
        drop(io::copy(&mut from_far, &mut to_near));
        drop(to_near.shutdown(Shutdown::Both));
    });
    Ok(())
}
