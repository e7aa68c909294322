//! Where the homeserver says that there is an SFU: in `.well-known/matrix/client` of the user's server,
//! as deployed clients look, and by `GET …/rtc/transports` (MSC4143).
//!
//! Who names none is no fault: neither has to be there.

use std::time::Duration;

use matrix_sdk::{
    Client,
    reqwest::{Response, Url, header::ACCEPT},
    ruma::exports::http::Method,
};
use matrix_voip::{
    machine::io::Fault,
    wire::focus::{MAX_TRANSPORTS, Transport, read_transports, read_well_known},
};

use crate::{
    endpoint::{Call, Endpoint, Refusal},
    request::{ask, within},
};

/// For all of it; the library gives it 10 s.
const ALL: Duration = Duration::from_secs(9);
/// For one address of the user's server. What hangs there must not cost what the homeserver says.
const ADDRESS: Duration = Duration::from_secs(4);
/// Of longer answers nothing is read. Real ones have less than 1 KiB.
const LONGEST: usize = 64 * 1024;

#[derive(Clone)]
struct Stable;

impl Endpoint for Stable {
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/_matrix/client/v1/rtc/transports";
}

/// As long as MSC4143 is not accepted.
#[derive(Clone)]
struct Unstable;

impl Endpoint for Unstable {
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports";
}

/// The SFUs that are named, those of `.well-known` first, each once. A user's server that is not
/// reached names none; neither does a homeserver that has no such endpoint.
pub(crate) async fn named(client: &Client) -> Result<Vec<Transport>, Fault> {
    let (mut named, of_homeserver) =
        futures::join!(of_well_known(client), within(ALL, of_homeserver(client)));
    match of_homeserver {
        Ok(transports) => {
            let new = transports.into_iter().filter(|one| !named.contains(one)).collect::<Vec<_>>();
            named.extend(new);
        }
        // What is known is enough.
        Err(fault) if named.is_empty() => return Err(fault),
        Err(_) => {}
    }
    named.truncate(MAX_TRANSPORTS);
    Ok(named)
}

// ------------------------------------------------------------------------------------- homeserver

async fn of_homeserver(client: &Client) -> Result<Vec<Transport>, Fault> {
    let answer = match asked::<Stable>(client).await? {
        Some(answer) => Some(answer),
        None => asked::<Unstable>(client).await?,
    };
    let Some(answer) = answer else { return Ok(Vec::new()) };
    read_transports(&answer).map_err(|_| Fault::Failed("no list of transports".into()))
}

/// `None`: the homeserver does not know the endpoint, or has nothing to say.
async fn asked<E: Endpoint>(client: &Client) -> Result<Option<String>, Fault> {
    let answer = ask(ALL, client.send(Call::<E>::new([]))).await?.body(fault);
    match answer {
        Ok(body) => Ok(Some(body)),
        Err(Fault::NotFound) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn fault(refusal: &Refusal) -> Fault {
    let unknown = refusal.code("errcode") == Some("M_UNRECOGNIZED");
    if unknown || matches!(refusal.status, 404 | 405) { Fault::NotFound } else { refusal.fault() }
}

// ------------------------------------------------------------------------------------ .well-known

/// Of the user's server; where that has none of the homeserver itself, as the SDK looks too.
async fn of_well_known(client: &Client) -> Vec<Transport> {
    for address in addresses(client) {
        let read = within(ADDRESS, well_known(client, address)).await;
        match read {
            Ok(Some(transports)) => return transports,
            Ok(None) => {}
            Err(fault) => tracing::debug!(%fault, "no .well-known of the user's server"),
        }
    }
    Vec::new()
}

fn addresses(client: &Client) -> Vec<Url> {
    let homeserver = client.homeserver();
    let of_user = client.user_id().map(|me| {
        // Whose homeserver is reached in the clear is in a test network.
        Url::parse(&format!("{}://{}", homeserver.scheme(), me.server_name()))
    });
    let server = client.server().cloned().or_else(|| of_user.and_then(Result::ok));
    let mut all: Vec<_> = server.into_iter().chain([homeserver]).collect();
    all.iter_mut().for_each(|base| base.set_path("/.well-known/matrix/client"));
    all.dedup();
    all
}

/// `None`: there is none, or a page of something else.
async fn well_known(client: &Client, address: Url) -> Result<Option<Vec<Transport>>, Fault> {
    let request = client.http_client().get(address).header(ACCEPT, "application/json");
    let response = request.send().await.map_err(|_| Fault::Unreachable)?;
    if !response.status().is_success() {
        return Ok(None);
    }
    Ok(body(response).await?.and_then(|body| read_well_known(&body).ok()))
}

/// `None`: it is too long.
async fn body(mut response: Response) -> Result<Option<String>, Fault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Fault::Unreachable)? {
        if body.len() + chunk.len() > LONGEST {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(String::from_utf8_lossy(&body).into_owned()))
}
