//! A homeserver that is down, slow, overloaded or answers nonsense: tries as long as the message
//! matters, then an [`EndReason`]. Time rushes, see `rush.rs`.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use matrix_sdk::test_utils::mocks::MatrixMockServer;
use matrix_voip::{CallOptions, CallSession, CallState, Callee, EndReason, VoipNews, time::Wall};
use serde_json::json;
use tokio::time::{Instant, timeout};
use wiremock::ResponseTemplate;

use crate::{
    house::{self, BEN, House, ROOM, invite, plain},
    rush::rush,
};

/// How long our invites live by default.
const LIFETIME: Duration = Duration::from_secs(90);
/// Longer than anybody waits for anything here.
const FOREVER: Duration = Duration::from_secs(86_400);

fn html(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw("<html>nginx</html>", "text/html")
}

fn error(status: u16, code: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({ "errcode": code, "error": "x" }))
}

fn limited(retry_after: Duration) -> ResponseTemplate {
    let millis = u64::try_from(retry_after.as_millis()).unwrap();
    ResponseTemplate::new(429).set_body_json(
        json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "x", "retry_after_ms": millis }),
    )
}

async fn call_ben(house: &House) -> CallSession {
    house.voip.invite(ROOM, BEN, CallOptions::voice()).await.unwrap()
}

/// What was sent of this kind: the transaction ids.
async fn tries(house: &House, kind: &str) -> Vec<String> {
    let sends = house.sends().await.into_iter();
    sends.filter_map(|(what, _)| Some(what.strip_prefix(kind)?.to_owned())).collect()
}

/// Answers each send so; gives why and after how long the call ended, and how often it was tried.
async fn never_through(house: House) -> (EndReason, Duration, usize) {
    let begun = Instant::now();
    let end = call_ben(&house).await.ended().await;
    let took = begun.elapsed();
    let tries = tries(&house, "m.call.invite/").await;
    assert!(tries.iter().all(|id| *id == tries[0]), "one transaction id: {tries:?}");
    (end.reason, took, tries.len())
}

/// A house whose homeserver has fallen, and where that was: nobody listens there any more.
async fn fallen() -> (House, String) {
    let mut house = House::on(house::server_at("127.0.0.1:0").await).await.peopled().await;
    let address = house.server.server().address().to_string();
    house.server = MatrixMockServer::new().await;
    house::until_down(&address).await;
    (house, address)
}

#[tokio::test]
async fn an_invite_that_does_not_get_through_is_tried_as_long_as_it_lives() {
    let table = [
        ("an error", error(500, "M_UNKNOWN"), 4),
        ("a proxy's error", html(502), 4),
        ("a proxy that knows nothing", html(404), 4),
        ("a page", html(200), 4),
        ("half an answer", ResponseTemplate::new(200).set_body_string(r#"{"event_"#), 4),
        ("no event id", ResponseTemplate::new(200).set_body_json(json!({ "event_id": 7 })), 4),
        ("a proxy's limit", html(429), 4),
        ("a short limit", limited(Duration::from_secs(5)), 8),
        ("a limit of a day", limited(FOREVER), 1),
        ("no answer", html(200).set_delay(FOREVER), 3),
    ];
    let houses = table.map(|(name, answer, tries)| async move {
        let house = House::with_members().await;
        house.answer_sends(answer, u64::MAX).await;
        (name, house, tries)
    });
    let houses = join_all(houses).await;
    rush();
    let calls = houses.into_iter().map(|(name, house, at_least)| async move {
        let (reason, took, tries) = never_through(house).await;
        assert_eq!(reason, EndReason::SignallingFailed, "{name}");
        assert!(took >= LIFETIME && took < LIFETIME + Duration::from_secs(20), "{name}: {took:?}");
        assert!(tries >= at_least, "{name}: {tries} tries");
    });
    join_all(calls).await;
}

/// The body's wish, and the header's.
#[tokio::test]
async fn the_pause_that_a_homeserver_asks_for_is_kept() {
    let by_header = error(429, "M_LIMIT_EXCEEDED").insert_header("retry-after", "20");
    for answer in [limited(Duration::from_secs(20)), by_header] {
        let house = House::with_members().await;
        house.answer_sends(answer, 1).await;
        house.accept_sends().await;
        rush();
        let begun = Instant::now();
        call_ben(&house).await.until(CallState::InviteSent).await.unwrap();
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(20) && took < Duration::from_secs(40), "{took:?}");
        assert_eq!(tries(&house, "m.call.invite/").await.len(), 2);
        tokio::time::resume();
    }
}

/// Nobody listens there any more; then somebody does again.
#[tokio::test]
async fn an_invite_leaves_when_the_homeserver_is_up_again() {
    let (mut house, address) = fallen().await;
    rush();
    let begun = Instant::now();
    let call = call_ben(&house).await;
    let down = Duration::from_secs(40);
    assert!(timeout(down, call.until(CallState::InviteSent)).await.is_err(), "it waits");
    house.server = house::server_at(&address).await;
    house.accept_sends().await;
    call.until(CallState::InviteSent).await.unwrap();
    assert!(begun.elapsed() < LIFETIME, "{:?}", begun.elapsed());
    assert_eq!(tries(&house, "m.call.invite/").await.len(), 1);
}

#[tokio::test]
async fn a_homeserver_that_stays_down_ends_the_call_with_the_invites_lifetime() {
    let (house, _) = fallen().await;
    rush();
    let begun = Instant::now();
    assert_eq!(call_ben(&house).await.ended().await.reason, EndReason::SignallingFailed);
    let took = begun.elapsed();
    assert!(took >= LIFETIME && took < LIFETIME + Duration::from_secs(20), "{took:?}");
}

/// Of our answer nobody knows, so nobody connects: that ends the call first.
#[tokio::test]
async fn an_answer_that_does_not_get_through_ends_the_call_while_the_invite_lives() {
    let house = House::new().await;
    house.answer_sends(html(503), u64::MAX).await;
    let mut events = house.voip.events();
    house.sync_room(json!({ "timeline": { "events": [plain("$1", invite("c1"), 5)] } })).await;
    let call = house::ring(&mut events).await;
    rush();
    let begun = Instant::now();
    call.answer().await.unwrap();
    assert_eq!(call.ended().await.reason, EndReason::IceFailed);
    assert!(begun.elapsed() < LIFETIME, "{:?}", begun.elapsed());
    assert!(tries(&house, "m.call.answer/").await.len() >= 3);
}

#[tokio::test]
async fn a_hangup_gets_through_when_the_homeserver_is_well_again() {
    let house = House::with_members().await;
    house
        .answer_sends(ResponseTemplate::new(200).set_body_json(json!({ "event_id": "$i" })), 1)
        .await;
    house.answer_sends(html(502), 3).await;
    house.accept_sends().await;
    rush();
    let call = call_ben(&house).await;
    call.until(CallState::InviteSent).await.unwrap();
    call.hangup().await.unwrap();
    house.matrix.detach().await;
    let tries = tries(&house, "m.call.hangup/").await;
    assert!(tries.len() > 1, "{tries:?}");
    assert!(tries.iter().all(|id| *id == tries[0]), "{tries:?}");
}

// ----------------------------------------------------------------------------- what is asked for

/// The call goes on without.
#[tokio::test]
async fn turn_servers_that_cannot_be_had_stop_no_call() {
    let nonsense = ResponseTemplate::new(200).set_body_string("[1, 2");
    for answer in [html(200), error(500, "M_UNKNOWN"), nonsense, html(200).set_delay(FOREVER)] {
        let house = House::with_members().await;
        house.accept_sends().await;
        house.answer_first("/voip/turnServer$", answer).await;
        rush();
        call_ben(&house).await.until(CallState::InviteSent).await.unwrap();
        assert_eq!(house.ice_servers(), 0);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn members_that_cannot_be_had_are_nobody_to_call() {
    for answer in [html(200), html(502), error(429, "M_LIMIT_EXCEEDED")] {
        let house = House::new().await;
        house.sync_room(json!({})).await;
        house.answer_first("/members$", answer).await;
        rush();
        let call = house.voip.invite(ROOM, Callee::TheOther, CallOptions::voice()).await.unwrap();
        assert_eq!(call.ended().await.reason, EndReason::NoCallee);
        assert_eq!(house.sends().await, []);
        tokio::time::resume();
    }
}

/// Two tries, then what did come is delivered, with the time that it waited.
#[tokio::test]
async fn a_history_that_hangs_delays_a_call_and_does_not_lose_it() {
    let house = House::new().await;
    let mut events = house.voip.events();
    house.answer_first("/messages$", html(200).set_delay(FOREVER)).await;
    let invite = plain("$1", invite("c1"), 5);
    let limited = json!({ "events": [invite], "limited": true, "prev_batch": "t1" });
    house.sync_room(json!({ "timeline": limited })).await;
    rush();
    let begun = Instant::now();
    let until = loop {
        if let VoipNews::RingStarted { until, .. } = events.next().await.unwrap() {
            break until;
        }
    };
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(16) && waited < Duration::from_secs(25), "{waited:?}");
    let lifetime = Wall(house::SENT).plus(Duration::from_secs(60));
    assert!(until.since(lifetime) < Duration::from_secs(1), "the wait does not prolong it");
}

#[tokio::test]
async fn where_encryption_cannot_be_found_out_nothing_leaves_in_the_clear() {
    let answers = [html(200), error(500, "M_UNKNOWN"), html(200).set_delay(FOREVER)];
    let houses = answers.map(|answer| async move {
        let house = House::with_members().await;
        house.accept_sends().await;
        house.answer_first("/state/m.room.encryption", answer).await;
        house
    });
    let houses = join_all(houses).await;
    rush();
    let calls = houses.into_iter().map(|house| async move {
        assert_eq!(call_ben(&house).await.ended().await.reason, EndReason::SignallingFailed);
        assert_eq!(house.sends().await, []);
    });
    join_all(calls).await;
}

// --------------------------------------------------------------------------------- a lost login

/// The SDK tells of it, and so do requests.
#[tokio::test]
async fn a_lost_login_ends_each_of_several_calls_once() {
    let house = House::with_members().await;
    let mut events = house.voip.events();
    for n in 1..=2 {
        let call = plain(&format!("${n}"), invite(&format!("c{n}")), 5);
        house.sync_room(json!({ "timeline": { "events": [call] } })).await;
        house::ring(&mut events).await;
    }
    house.answer_sends(error(401, "M_UNKNOWN_TOKEN"), u64::MAX).await;
    // Ben's call rings: to call him would be to answer it.
    let call = house.voip.invite(ROOM, "@carl:x", CallOptions::voice()).await.unwrap();
    call.ended().await;
    house.next_sync(error(401, "M_UNKNOWN_TOKEN")).await;
    house.client.sync_once(Default::default()).await.unwrap_err();
    house.matrix.detach().await;
    let mut ends = Vec::new();
    while let Some(news) = events.next().await {
        if let VoipNews::CallEnded { call, end } = news {
            ends.push((call.snapshot().call_id.to_string(), end.reason));
        }
    }
    assert!(ends.iter().all(|(_, reason)| *reason == EndReason::LoggedOut), "{ends:?}");
    let calls: BTreeSet<_> = ends.iter().map(|(call, _)| call).collect();
    assert_eq!((ends.len(), calls.len()), (3, 3), "{ends:?}");
    assert_eq!(house.sends().await.len(), 1, "nothing can be said about it");
}

/// The SDK tells nobody of a logout: the next request does.
#[tokio::test]
async fn after_a_logout_calls_end_with_the_next_request() {
    let house = House::new().await;
    let mut events = house.voip.events();
    house.sync_room(json!({ "timeline": { "events": [plain("$1", invite("c1"), 5)] } })).await;
    let call = house::ring(&mut events).await;
    house.server.mock_logout().ok().mount().await;
    house.client.logout().await.unwrap();
    house.answer_sends(error(401, "M_UNKNOWN_TOKEN"), u64::MAX).await;
    call.answer().await.unwrap();
    assert_eq!(call.ended().await.reason, EndReason::LoggedOut);
}
