//! Commands about group calls: who is in them, entering and leaving. In Famedly's dialect; that of
//! matrix-js-sdk's meshes, which the protocol means where nothing is said, is not spoken yet.

use matrix_voip::{GroupCallId, GroupCallSession, GroupOptions, GroupState};
use serde_json::{Value, json};

use super::{client::Client, line::Args};

impl Client {
    /// The group call of a room, whether somebody is in it or not.
    async fn group(&self, args: &Args) -> Result<GroupCallSession, String> {
        match args.text("dialect")?.unwrap_or("msc3401") {
            "famedly" => {}
            other => return Err(format!("unsupported: group calls of dialect {other}")),
        }
        let call = GroupCallId::named(args.text("groupCallId")?.unwrap_or_default());
        let options = GroupOptions::mesh().call(call);
        let opened = self.voip.fetch_or_create_group_call(args.needed("roomId")?, options).await;
        opened.map_err(|why| why.to_string())
    }

    /// Has a group call at hand. Nothing is sent.
    pub(crate) async fn create_group(&self, args: &Args) -> Result<Value, String> {
        Ok(named(&self.group(args).await?))
    }

    /// Enters, and answers when the homeserver has our membership.
    pub(crate) async fn enter_group(&self, args: &Args) -> Result<Value, String> {
        let group = self.group(args).await?;
        group.enter().await.map_err(|why| why.to_string())?;
        Ok(named(&group))
    }

    /// Leaves, and answers when our membership is taken back.
    pub(crate) async fn leave_group(&self, args: &Args) -> Result<Value, String> {
        let group = self.group(args).await?;
        let (mut present, mut events) = group.subscribe();
        group.leave().await.map_err(|why| why.to_string())?;
        while !matches!(present.state, GroupState::Idle | GroupState::Ended) {
            let Some(news) = events.next().await else { break };
            news.apply(&mut present);
        }
        Ok(named(&group))
    }

    /// How a group call stands, and who is in it.
    pub(crate) async fn group_state(&self, args: &Args) -> Result<Value, String> {
        let shown = self.group(args).await?.snapshot();
        let participants = shown.participants.iter().map(|one| {
            json!({
                "user": one.id.user.as_str(),
                "device": one.id.device.as_str(),
                "session": one.session,
                "application": one.application,
            })
        });
        Ok(json!({
            "state": shown.state.to_string(),
            "participants": participants.collect::<Vec<_>>(),
            "canJoin": shown.rights.can_join,
            "canEveryoneJoin": shown.rights.can_everyone_join,
        }))
    }
}

fn named(group: &GroupCallSession) -> Value {
    json!({"groupCallId": group.snapshot().call.call_id})
}
