//! The service in the network: HTTP on a port and at a socket, and its question to the homeserver.

use std::{net::Ipv4Addr, path::PathBuf, rc::Rc};

use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1 as client,
    server::conn::http1 as server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    task::{LocalSet, spawn_local},
};

use super::{
    desk::{Refusal, Wish, owner},
    grant::SfuKey,
};
use crate::{
    clock,
    failure::{Context, Failure},
};

/// Longer requests are not read.
const LONGEST: usize = 64 * 1024;

/// What a service is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where it listens, at 127.0.0.1.
    pub port: u16,
    /// Where it listens as well.
    pub socket: PathBuf,
    /// The homeserver that it asks: `http://127.0.0.1:…`. Its name is `localhost`.
    pub homeserver: String,
    /// Where the SFU is, as clients are told.
    pub sfu: String,
    /// What the SFU knows the service by.
    pub key: SfuKey,
}

/// Serves until the process ends; tells by `ready` that it listens.
///
/// # Errors
///
/// When it cannot listen.
pub fn serve(setup: Setup, ready: impl FnOnce()) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("starting a runtime")?;
    LocalSet::new().block_on(&runtime, async {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, setup.port)).await;
        let port = port.context("listening at the port")?;
        let socket = UnixListener::bind(&setup.socket).context("listening at the socket")?;
        ready();
        let setup = Rc::new(setup);
        loop {
            tokio::select! {
                Ok((stream, _)) = port.accept() => drop(spawn_local(talk(stream, Rc::clone(&setup)))),
                Ok((stream, _)) = socket.accept() => drop(spawn_local(talk(stream, Rc::clone(&setup)))),
            }
        }
    })
}

/// One connection until its end.
async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, setup: Rc<Setup>) {
    let service = service_fn(|request| answer(request, &setup));
    // However it ended, it is over.
    drop(server::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(
    request: Request<Incoming>,
    setup: &Setup,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    let (status, body) = match request.uri().path() {
        "/healthz" => (200, String::new()),
        _ => match token(request, setup).await {
            Ok(body) => (200, body),
            Err(refusal) => refusal.answer(),
        },
    };
    let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
    let head = Response::builder().status(status).header("Content-Type", kind);
    head.header("Access-Control-Allow-Origin", "*").body(Full::from(body))
}

async fn token(request: Request<Incoming>, setup: &Setup) -> Result<String, Refusal> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LONGEST).collect().await.map_err(|_| Refusal::NotJson)?;
    let wish = Wish::read(head.method.as_str(), head.uri.path(), &body.to_bytes())?;
    if wish.server_name != "localhost" {
        return Err(Refusal::Unauthorised);
    }
    let told = ask(setup, &wish.open_id).await.map_err(|_| Refusal::Failed)?;
    let owner = owner(&told).ok_or(Refusal::Unauthorised)?;
    let (identity, room) = wish.granted(&owner)?;
    let jwt = setup.key.token(&identity, &room, clock::now() / 1000);
    Ok(json!({"url": setup.sfu, "jwt": jwt}).to_string())
}

/// Asks the homeserver whose a token is, as another server does.
async fn ask(setup: &Setup, open_id: &str) -> Result<Bytes, Failure> {
    let what = "asking the homeserver";
    let host = setup.homeserver.trim_start_matches("http://");
    let stream = TcpStream::connect(host).await.context(what)?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.context(what)?;
    spawn_local(connection);
    let token = utf8_percent_encode(open_id, NON_ALPHANUMERIC);
    let path = format!("/_matrix/federation/v1/openid/userinfo?access_token={token}");
    let request = Request::get(path).header("Host", host).body(Empty::<Bytes>::new());
    let answer = sender.send_request(request.context(what)?).await.context(what)?;
    let limited = Limited::new(answer.into_body(), LONGEST).collect().await;
    limited.map(|body| body.to_bytes()).map_err(|error| Failure::of(what, error))
}
