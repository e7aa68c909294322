//! A homeserver of a few lines for tests of the program: each request by its path.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread,
};

/// Status and body.
pub(crate) type Answer = (u16, &'static str);

/// What a homeserver without anything says.
pub(crate) fn usual(path: &str) -> Answer {
    let body = match path {
        "/_matrix/client/versions" => r#"{"versions": ["v1.11"]}"#,
        "/_matrix/client/v3/account/whoami" => r#"{"user_id": "@ada:a", "device_id": "DEVICE"}"#,
        "/_matrix/client/v3/sync" => r#"{"next_batch": "s1"}"#,
        "/_matrix/client/v3/keys/upload" => r#"{"one_time_key_counts": {"signed_curve25519": 50}}"#,
        _ => "{}",
    };
    (200, body)
}

/// Starts it; it ends with the test. Its base URL.
pub(crate) fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            // Who hangs up early asks again.
            thread::spawn(move || drop(serve(stream, &*answer)));
        }
    });
    url
}

fn serve(mut stream: TcpStream, answer: &impl Fn(&str) -> Answer) -> std::io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let (mut first, mut length) = (String::new(), 0);
    from.read_line(&mut first)?;
    for line in from.by_ref().lines() {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    from.take(length).read_to_end(&mut Vec::new())?;
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = answer(target.split('?').next().unwrap_or_default());
    let length = body.len();
    let head = "Content-Type: application/json\r\nConnection: close";
    write!(stream, "HTTP/1.1 {status} -\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// A folder for logins that nobody else uses.
pub(crate) fn data_folder(name: &str) -> PathBuf {
    let name = format!("caller-test-{}-{name}", std::process::id());
    std::env::temp_dir().join(name)
}

/// The same with a login in it.
pub(crate) fn logged_in(name: &str, homeserver: &str) -> PathBuf {
    let data = data_folder(name);
    let folder = data.join("matrix-voip-caller/default");
    fs::create_dir_all(&folder).unwrap();
    let session = format!(
        r#"{{"homeserver": "{homeserver}", "user_id": "@ada:a", "device_id": "DEVICE",
            "access_token": "token"}}"#
    );
    fs::write(folder.join("session.json"), session).unwrap();
    data
}
