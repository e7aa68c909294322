//! An HTTP proxy on loopback between one client and its homeserver: the cable. A test can cut it
//! (what is open is dropped, nothing new is taken) and hold back what is sent to devices; what
//! concerns calls is told as it passes.

use std::{io, net::Ipv4Addr, pin::pin, sync::Arc};

use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1 as client,
    http::request::Parts,
    server::conn::http1 as server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, watch},
};

use super::{held::Held, out::Events, sent};

/// A cable. It is torn when this is dropped.
#[derive(Debug)]
pub(crate) struct Cable {
    whole: watch::Sender<bool>,
    line: Arc<Line>,
    port: u16,
}

/// What all connections of a cable share.
#[derive(Debug)]
struct Line {
    far: (String, u16),
    held: Held,
    events: Events,
}

/// The homeserver's end of one connection.
type Far = Mutex<client::SendRequest<Full<Bytes>>>;

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

impl Cable {
    /// Lays a cable to `host:port`, and tells what passes.
    pub(crate) async fn to(host: String, port: u16, events: Events) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let near = listener.local_addr()?.port();
        let (whole, state) = watch::channel(true);
        let line = Arc::new(Line { far: (host, port), held: Held::default(), events });
        tokio::spawn(forward(listener, Arc::clone(&line), state));
        Ok(Self { whole, line, port: near })
    }

    /// Its near end.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Mends or cuts it.
    pub(crate) fn set(&self, whole: bool) {
        self.whole.send_replace(whole);
    }

    /// From now on what is sent to devices waits, and seems sent.
    pub(crate) fn hold(&self) {
        self.line.held.begin();
    }

    /// What has waited never goes out; how many requests that is.
    pub(crate) fn lose(&self) -> usize {
        self.line.held.end().len()
    }

    /// What has waited goes out, in order; how many requests that is.
    pub(crate) fn release(&self) -> usize {
        let letters = self.line.held.end();
        let count = letters.len();
        let line = Arc::clone(&self.line);
        tokio::spawn(async move {
            if let Some((far, end)) = line.connect().await {
                let post = async {
                    for letter in letters {
                        // A homeserver that is gone gets none of them.
                        drop(line.exchange(letter.0, letter.1, &far).await);
                    }
                };
                tokio::select! {
                    () = post => {}
                    () = end => {}
                }
            }
        });
        count
    }
}

async fn forward(listener: TcpListener, line: Arc<Line>, state: watch::Receiver<bool>) {
    let mut end = state.clone();
    let accept = async {
        loop {
            let Ok((near, _)) = listener.accept().await else { continue };
            if *state.borrow() {
                tokio::spawn(carry(near, Arc::clone(&line), state.clone()));
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = dropped(&mut end) => {}
    }
}

/// Carries one connection until one side closes it or the cable is cut.
async fn carry(near: TcpStream, line: Arc<Line>, mut state: watch::Receiver<bool>) {
    let carried = async {
        let Some((far, end)) = line.connect().await else { return };
        // Small answers must not wait for each other.
        drop(near.set_nodelay(true));
        let service = service_fn(|request| line.pass(request, &far));
        let near = server::Builder::new().serve_connection(TokioIo::new(near), service);
        let mut near = pin!(near);
        tokio::select! {
            // However it ended, it is over.
            _ = near.as_mut() => return,
            () = end => near.as_mut().graceful_shutdown(),
        }
        // What the homeserver has said before it closed arrives.
        drop(near.await);
    };
    tokio::select! {
        () = carried => {}
        _ = state.wait_for(|whole| !whole) => {}
    }
}

async fn dropped(state: &mut watch::Receiver<bool>) {
    while state.changed().await.is_ok() {}
}

impl Line {
    /// A connection to the homeserver; what is returned with it carries the bytes, until its end.
    async fn connect(&self) -> Option<(Far, impl Future<Output = ()> + use<>)> {
        let stream = TcpStream::connect(self.far.clone()).await.ok()?;
        drop(stream.set_nodelay(true));
        let (far, end) = client::handshake(TokioIo::new(stream)).await.ok()?;
        Some((Mutex::new(far), async move { drop(end.await) }))
    }

    /// Passes one request on, or holds it back. An error closes the connection without an answer.
    async fn pass(&self, request: Request<Incoming>, far: &Far) -> Result<Answer, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        if self.held.keeps(&head, &body) {
            self.events.tell("held", sent::path(&head.uri));
            return Ok(Response::new(Full::from("{}").map_err(|never| match never {}).boxed()));
        }
        self.exchange(head, body, far).await
    }

    async fn exchange(&self, head: Parts, body: Bytes, far: &Far) -> Result<Answer, hyper::Error> {
        let told = sent::is_told(head.uri.path()).then(|| (head.clone(), body.clone()));
        let answer = {
            let mut far = far.lock().await;
            far.ready().await?;
            far.send_request(Request::from_parts(head, Full::new(body)))
        };
        let (answer, reply) = answer.await?.into_parts();
        let Some((head, body)) = told else {
            return Ok(Response::from_parts(answer, reply.boxed()));
        };
        let reply = reply.collect().await?.to_bytes();
        self.events.tell("wireOut", sent::told(&head, &body, answer.status, &reply));
        let reply = Full::new(reply).map_err(|never| match never {});
        Ok(Response::from_parts(answer, reply.boxed()))
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::mpsc};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::matrix::serve::out::Out;

    /// A homeserver that answers each request with its path, and tells it.
    async fn homeserver() -> (u16, mpsc::Receiver<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (came, paths) = mpsc::channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let came = came.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let path = request.uri().path().to_owned();
                    came.send(path.clone()).unwrap();
                    async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(path))) }
                });
                let serve = server::Builder::new();
                tokio::spawn(serve.serve_connection(TokioIo::new(stream), service));
            }
        });
        (port, paths)
    }

    async fn cable() -> (Cable, mpsc::Receiver<String>) {
        let (port, paths) = homeserver().await;
        let events = Out::start().of("test");
        (Cable::to("127.0.0.1".to_owned(), port, events).await.unwrap(), paths)
    }

    async fn connect(cable: &Cable) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, cable.port)).await.unwrap()
    }

    /// The answer's last line to a request on this connection; empty when there is none.
    async fn asks(stream: &mut TcpStream, method: &str, path: &str) -> String {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
        drop(stream.write_all(request.as_bytes()).await);
        let mut bytes = [0; 1000];
        let length = stream.read(&mut bytes).await.unwrap_or_default();
        let answer = String::from_utf8_lossy(&bytes[..length]).into_owned();
        answer.lines().last().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn a_cut_cable_drops_what_is_open_and_takes_nothing_until_it_is_mended() {
        let (cable, _paths) = cable().await;
        let mut open = connect(&cable).await;
        assert_eq!(asks(&mut open, "GET", "/a").await, "/a");
        assert_eq!(asks(&mut open, "GET", "/b").await, "/b", "the connection is kept");
        cable.set(false);
        assert_eq!(asks(&mut open, "GET", "/c").await, "", "an open connection survived");
        assert_eq!(asks(&mut connect(&cable).await, "GET", "/d").await, "", "it is carried");
        cable.set(true);
        assert_eq!(asks(&mut connect(&cable).await, "GET", "/e").await, "/e");
    }

    #[tokio::test]
    async fn what_is_sent_to_devices_waits_while_the_rest_passes() {
        let (cable, paths) = cable().await;
        let mut open = connect(&cable).await;
        let letter = "/_matrix/client/v3/sendToDevice/m.room.encrypted/1";
        cable.hold();
        assert_eq!(asks(&mut open, "PUT", letter).await, "{}");
        assert_eq!(asks(&mut open, "GET", "/other").await, "/other");
        assert_eq!(paths.try_iter().collect::<Vec<_>>(), ["/other"]);
        assert_eq!(cable.release(), 1);
        assert_eq!(asks(&mut open, "PUT", letter).await, letter, "it is still held back");
        let came = tokio::task::spawn_blocking(move || [paths.recv(), paths.recv()]);
        assert_eq!(came.await.unwrap(), [Ok(letter.to_owned()), Ok(letter.to_owned())]);
    }

    #[tokio::test]
    async fn what_waits_can_be_lost() {
        let (cable, paths) = cable().await;
        let mut open = connect(&cable).await;
        let letter = "/_matrix/client/v3/sendToDevice/m.room.encrypted/1";
        cable.hold();
        assert_eq!(asks(&mut open, "PUT", letter).await, "{}");
        assert_eq!((cable.lose(), cable.release()), (1, 0));
        assert_eq!(asks(&mut open, "PUT", "/next").await, "/next");
        assert_eq!(paths.try_iter().collect::<Vec<_>>(), ["/next"]);
    }
}
