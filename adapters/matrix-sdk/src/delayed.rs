//! Delayed events (MSC4140): what the homeserver writes for us when it does not hear from us.
//!
//! The proposal has changed while homeservers had it: what one does not know the other form is tried
//! of. Never is an event scheduled where the homeserver does not say that it can: it would not look at
//! the delay and write the event at once.

use std::{sync::atomic::Ordering, time::Duration};

use matrix_sdk::{Client, ruma::exports::http::Method};
use matrix_voip::machine::io::Fault;
use serde_json::{Value, json};

use crate::{
    attached::Attached,
    endpoint::{Call, Endpoint, Refusal},
    fault::http_fault,
    request::{ask, within},
};

/// For all that one of these takes. The library gives it 5 s and hears of the timeout from us.
const DELAY: Duration = Duration::from_millis(4500);
const FEATURE: &str = "org.matrix.msc4140";

/// `PUT …/state/…` with a delay.
#[derive(Clone)]
struct Schedule;

impl Endpoint for Schedule {
    const METHOD: Method = Method::PUT;
    const PATH: &'static str = "/_matrix/client/v3/rooms/{room}/state/{type}/{key}";
}

/// The update in the path.
#[derive(Clone)]
struct Update;

impl Endpoint for Update {
    const METHOD: Method = Method::POST;
    const PATH: &'static str =
        "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{id}/{update}";
}

/// The older form: the update in the body.
#[derive(Clone)]
struct Action;

impl Endpoint for Action {
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{id}";
}

/// Which there are.
#[derive(Clone)]
struct List;

impl Endpoint for List {
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
}

/// The other form of it.
#[derive(Clone)]
struct Scheduled;

impl Endpoint for Scheduled {
    const METHOD: Method = Method::GET;
    const PATH: &'static str =
        "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/scheduled";
}

/// A state event that is to be written later.
pub(crate) struct Later<'a> {
    pub(crate) room: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) state_key: &'a str,
    pub(crate) content: String,
    pub(crate) delay: Duration,
}

/// Has a state event written later; gives how the homeserver names it.
pub(crate) async fn schedule(client: &Client, later: Later<'_>) -> Result<String, Fault> {
    within(DELAY, async {
        let features = client.unstable_features().await.map_err(|error| http_fault(&error))?;
        if !features.contains(&FEATURE.into()) {
            return Err(Fault::Unsupported);
        }
        let Later { room, event_type, state_key, content, delay } = later;
        let request = Call::<Schedule>::new([room, event_type, state_key])
            .query("org.matrix.msc4140.delay", delay.as_millis().to_string())
            .body(content);
        let answer: Value =
            serde_json::from_str(&asked(client, request).await?).unwrap_or_default();
        // Without a name it is not scheduled, but written.
        answer["delay_id"].as_str().map(str::to_owned).ok_or(Fault::Unsupported)
    })
    .await
}

/// Restarts, sends or cancels a delayed event: `update` is the word for it.
pub(crate) async fn update(attached: &Attached, id: &str, update: &str) -> Result<(), Fault> {
    let client = attached.client()?;
    within(DELAY, async {
        let older = attached.older_delays();
        if !older.load(Ordering::Relaxed) {
            let request = Call::<Update>::new([id, update]);
            match asked(&client, request).await {
                Err(Fault::Unsupported) => {}
                answer => return answer.map(drop),
            }
        }
        let request = Call::<Action>::new([id]).body(json!({ "action": update }).to_string());
        let done = asked(&client, request).await.map(drop);
        // Whoever knows neither may know the newer one some day.
        older.store(done != Err(Fault::Unsupported), Ordering::Relaxed);
        done
    })
    .await
}

/// One page of the delayed events of our user, as the homeserver has it.
pub(crate) async fn list(client: &Client, from: Option<&str>) -> Result<String, Fault> {
    within(DELAY, async {
        let answer = ask(DELAY, client.send(page::<List>(from))).await?;
        match answer.body(fault) {
            Ok(body) => Ok(body),
            Err(_) => asked(client, page::<Scheduled>(from)).await,
        }
    })
    .await
}

fn page<E: Endpoint>(from: Option<&str>) -> Call<E> {
    let request = Call::new([]);
    match from {
        Some(from) => request.query("from", from.to_owned()),
        None => request,
    }
}

async fn asked<E: Endpoint>(client: &Client, request: Call<E>) -> Result<String, Fault> {
    ask(DELAY, client.send(request)).await?.body(fault)
}

/// What a homeserver means that refuses something about delayed events.
fn fault(refusal: &Refusal) -> Fault {
    let precise = refusal.code("org.matrix.msc4140.errcode");
    match (refusal.status, precise.or_else(|| refusal.code("errcode"))) {
        (_, Some("M_UNRECOGNIZED" | "M_MAX_DELAY_UNSUPPORTED")) => Fault::Unsupported,
        // It was sent or cancelled.
        (409, _) => Fault::NotFound,
        (_, Some("M_NOT_FOUND")) => Fault::NotFound,
        (_, Some(code)) => Fault::Forbidden(code.to_owned()),
        (_, None) => refusal.fault(),
    }
}

#[cfg(test)]
mod tests;
