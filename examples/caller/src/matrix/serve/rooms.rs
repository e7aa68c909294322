//! Commands about the account and its rooms.

use std::time::Duration;

use matrix_sdk::{
    RoomState,
    reqwest::Method,
    ruma::{RoomId, events::AnyMessageLikeEventContent, serde::Raw},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::{client::Client, line::Args};
use crate::matrix::http::{CLIENT_API, escaped};

/// Longest time until sync shows what we did.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two counts of members.
const LOOK: Duration = Duration::from_millis(50);

impl Client {
    /// Makes a room, and answers when the client knows it.
    pub(crate) async fn create_room(&self, args: &Args) -> Result<Value, String> {
        let encrypted = args.flag("encrypted", false)?;
        let encryption = json!({
            "type": "m.room.encryption", "state_key": "",
            "content": {"algorithm": "m.megolm.v1.aes-sha2"},
        });
        let body = json!({
            "invite": args.texts("invite")?,
            "preset": args.text("preset")?.unwrap_or("trusted_private_chat"),
            "is_direct": args.flag("isDirect", true)?,
            "name": args.text("name")?,
            "room_version": args.text("roomVersion")?,
            "power_level_content_override": args.value("powerLevels"),
            "initial_state": if encrypted { json!([encryption]) } else { json!([]) },
        });
        let made = self.http.post("/createRoom", &without_nulls(body)).await?;
        let room = made["room_id"].as_str().ok_or("no room_id")?;
        self.await_room(room, "the room", |room| {
            let ready = !encrypted || room.encryption_state().is_encrypted();
            room.state() == RoomState::Joined && ready
        })
        .await?;
        Ok(json!({"roomId": room}))
    }

    pub(crate) async fn invite_user(&self, args: &Args) -> Result<Value, String> {
        let body = json!({"user_id": args.needed("userId")?});
        self.http.post(&room_path(args, "/invite")?, &body).await?;
        Ok(json!({}))
    }

    /// Joins, and answers when sync shows it.
    pub(crate) async fn join(&self, args: &Args) -> Result<Value, String> {
        let room = args.needed("roomId")?;
        if args.flag("waitInvite", true)? {
            // Without an invitation the homeserver says what it thinks of it.
            drop(self.await_room(room, "the invitation", |_| true).await);
        }
        self.http.post(&format!("/join/{}", escaped(room)), &json!({})).await?;
        let joined = |room: matrix_sdk::Room| room.state() == RoomState::Joined;
        self.await_room(room, "the room", joined).await?;
        Ok(json!({}))
    }

    pub(crate) async fn leave(&self, args: &Args) -> Result<Value, String> {
        self.http.post(&room_path(args, "/leave")?, &json!({})).await?;
        Ok(json!({}))
    }

    /// The joined members as the client knows them, when there are enough.
    pub(crate) async fn members(&self, args: &Args) -> Result<Value, String> {
        let count = args.number("count")?.unwrap_or_default();
        let patience = args.number("timeoutMs")?.map_or(PATIENCE, Duration::from_millis);
        let room = self.room(args.needed("roomId")?)?;
        let enough = async {
            loop {
                room.sync_members().await.map_err(|why| why.to_string())?;
                let joined = room.joined_user_ids().await.map_err(|why| why.to_string())?;
                if joined.len() as u64 >= count {
                    return Ok::<_, String>(json!({"members": joined}));
                }
                sleep_until(Instant::now() + LOOK).await;
            }
        };
        let enough = timeout(patience, enough).await;
        enough.map_err(|_| format!("timed out waiting for {count} members"))?
    }

    pub(crate) async fn turn_servers(&self) -> Value {
        let servers = self.turn().await.map(|server| {
            json!({
                "urls": server["uris"], "username": server["username"],
                "credential": server["password"],
            })
        });
        json!({"servers": servers.into_iter().collect::<Vec<_>>()})
    }

    /// A raw event; encrypted in an encrypted room.
    pub(crate) async fn send(&self, args: &Args) -> Result<Value, String> {
        let (room, kind) = (self.room(args.needed("roomId")?)?, args.needed("type")?);
        let content = args.value("content").cloned().unwrap_or_else(|| json!({}));
        let content = Raw::<AnyMessageLikeEventContent>::from_json_string(content.to_string());
        let content = content.map_err(|why| why.to_string())?;
        let sent = room.send_raw(kind, content).await.map_err(|why| why.to_string())?;
        Ok(json!({"event_id": sent.response.event_id}))
    }

    pub(crate) async fn send_state(&self, args: &Args) -> Result<Value, String> {
        let (kind, key) = (args.needed("type")?, args.text("stateKey")?.unwrap_or_default());
        let path = room_path(args, &format!("/state/{}/{}", escaped(kind), escaped(key)))?;
        let content = args.value("content").cloned().unwrap_or_else(|| json!({}));
        Ok(self.http.put(&path, &content).await?)
    }

    /// Any request, with the client's token.
    pub(crate) async fn raw_request(&self, args: &Args) -> Result<Value, String> {
        let method = args.text("method")?.unwrap_or("GET");
        let method = Method::from_bytes(method.as_bytes()).map_err(|why| why.to_string())?;
        let prefix = args.text("prefix")?.unwrap_or(CLIENT_API);
        let url = self.http.url(prefix, args.needed("path")?, args.value("query"))?;
        Ok(self.http.request(method, url, args.value("body")).await?)
    }

    fn room(&self, id: &str) -> Result<matrix_sdk::Room, String> {
        let parsed = RoomId::parse(id).map_err(|why| format!("{id}: {why}"))?;
        self.sdk.get_room(&parsed).ok_or_else(|| format!("no room {id}"))
    }

    async fn await_room(
        &self,
        id: &str,
        what: &str,
        is_it: impl Fn(matrix_sdk::Room) -> bool,
    ) -> Result<(), String> {
        let id = RoomId::parse(id).map_err(|why| format!("{id}: {why}"))?;
        let look = |sdk: &matrix_sdk::Client| sdk.get_room(&id).is_some_and(&is_it).then_some(());
        self.look_until(what, PATIENCE, look).await
    }
}

fn room_path(args: &Args, rest: &str) -> Result<String, String> {
    Ok(format!("/rooms/{}{rest}", escaped(args.needed("roomId")?)))
}

/// Homeservers refuse `null` where they want a text.
fn without_nulls(mut body: Value) -> Value {
    if let Value::Object(fields) = &mut body {
        fields.retain(|_, value| !value.is_null());
    }
    body
}
