//! One HTTP request to the homeserver over its Unix socket: that leads into the run's network from
//! outside. Peers use the homeserver's port.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

use crate::failure::{Context, Failure};

const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked of the homeserver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// "GET", "PUT", "POST".
    pub(crate) method: &'a str,
    /// With what follows after it, encoded.
    pub(crate) path: &'a str,
    /// The access token of who asks.
    pub(crate) token: Option<&'a str>,
    /// JSON.
    pub(crate) body: Option<&'a Value>,
}

/// Asks, and reads the answer.
///
/// # Errors
///
/// When nobody answers, or with another status than 200.
pub(crate) fn ask(socket: &Path, request: Request<'_>) -> Result<Value, Failure> {
    let what = format!("{} {}", request.method, request.path);
    let answer = exchange(socket, request).context(&what)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| Failure(format!("{what}: the answer has no end of its head: {answer:?}")))?;
    if head.split_whitespace().nth(1) != Some("200") {
        return Err(Failure(format!("{what}: {} {body}", head.lines().next().unwrap_or_default())));
    }
    serde_json::from_str(body).context(&what)
}

/// HTTP/1.0: the answer ends with the connection. Synapse wants to hear an address from whoever
/// comes by a socket.
fn exchange(socket: &Path, request: Request<'_>) -> std::io::Result<String> {
    let Request { method, path, token, body } = request;
    let body = body.map(Value::to_string).unwrap_or_default();
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n\
         {}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        authorization.unwrap_or_default(),
        body.len(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
