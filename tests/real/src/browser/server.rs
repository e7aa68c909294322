//! The web server of the page: its files, two streams that never end (commands, frames of ours) and
//! what is posted (what it says, frames that came in). It has a thread with a runtime of its own: the
//! tasks of engines are counted.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError, mpsc as blocking},
};

use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use super::{page::Desk, peer::Record};
use crate::failure::{Context, Failure};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the server carries.
pub(super) struct Ways {
    desk: Arc<Desk>,
    commands: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
    frames: Mutex<Option<mpsc::Receiver<Vec<u8>>>>,
    /// For commands that follow from what came in.
    follows: mpsc::UnboundedSender<String>,
    ready: blocking::Sender<()>,
}

impl Ways {
    pub(super) fn new(
        desk: Arc<Desk>,
        (follows, commands): (mpsc::UnboundedSender<String>, mpsc::UnboundedReceiver<String>),
        frames: mpsc::Receiver<Vec<u8>>,
        ready: blocking::Sender<()>,
    ) -> Self {
        let (commands, frames) = (Mutex::new(Some(commands)), Mutex::new(Some(frames)));
        Self { desk, commands, frames, follows, ready }
    }

    /// What the page says, line by line.
    fn said(&self, body: &[u8]) {
        for line in body.split(|byte| *byte == b'\n') {
            let Ok(said) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
            if said["ready"] == true {
                // Nobody waits for it twice.
                let _ = self.ready.send(());
            }
            self.desk.hear(said);
        }
    }

    /// Frames that came in, one after the other.
    fn arrived(&self, mut body: &[u8]) {
        while let Some((record, rest)) = Record::read(body) {
            body = rest;
            if let Some(command) = self.desk.arrive(&record) {
                drop(self.follows.send(format!("{command}\n")));
            }
        }
    }

    fn commands(&self) -> Body {
        let Some(waiting) = take(&self.commands) else { return whole("") };
        endless(stream::unfold(waiting, async |mut waiting| {
            let line = waiting.recv().await?;
            Some((Bytes::from(line), waiting))
        }))
    }

    fn frames(&self) -> Body {
        let Some(waiting) = take(&self.frames) else { return whole("") };
        endless(stream::unfold(waiting, async |mut waiting| {
            let mut all = waiting.recv().await?;
            while let Ok(next) = waiting.try_recv() {
                all.extend(next);
            }
            Some((Bytes::from(all), waiting))
        }))
    }
}

fn take<T>(from: &Mutex<Option<T>>) -> Option<T> {
    from.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn whole(text: &'static str) -> Body {
    Full::from(text).boxed_unsync()
}

fn endless(parts: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(parts.map(|part| Ok(Frame::data(part)))).boxed_unsync()
}

/// The thread that serves; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Server(
    #[expect(dead_code, reason = "its end is what is told")] watch::Sender<()>,
);

impl Server {
    /// Listens at a port of loopback, which is told.
    pub(super) fn start(ways: Ways) -> Result<(Self, u16), Failure> {
        let (alive, ends) = watch::channel(());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("serving the page")?;
        listener.set_nonblocking(true).context("serving the page")?;
        let port = listener.local_addr().context("serving the page")?.port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("starting a runtime")?;
        std::thread::spawn(move || runtime.block_on(serve(listener, Arc::new(ways), ends)));
        Ok((Self(alive), port))
    }
}

async fn serve(listener: std::net::TcpListener, ways: Arc<Ways>, mut ends: watch::Receiver<()>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let stream = tokio::select! {
            _ = ends.changed() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = stream else { return };
        drop(stream.set_nodelay(true));
        let ways = ways.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &ways));
            // However it ended, it is over.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    ways: &Ways,
) -> Result<Response<Body>, hyper::http::Error> {
    let path = request.uri().path().to_owned();
    let (kind, body) = match path.as_str() {
        "/" => ("text/html", whole(include_str!("page/index.html"))),
        "/page.js" => ("text/javascript", whole(include_str!("page/page.js"))),
        "/worker.js" => ("text/javascript", whole(include_str!("page/worker.js"))),
        "/commands" => ("application/json", ways.commands()),
        "/frames" => ("application/octet-stream", ways.frames()),
        _ => {
            let posted =
                request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            match (path.as_str(), posted) {
                ("/said", Ok(body)) => ways.said(&body),
                ("/arrived", Ok(body)) => ways.arrived(&body),
                _ => {}
            }
            ("text/plain", whole(""))
        }
    };
    Response::builder().header("Content-Type", kind).body(body)
}
