//! What a logged in client does at each command.

use std::{sync::Arc, time::Duration};

use matrix_voip::{
    CallMedia, CallOptions, Callee, MediaSource, id::UserId, machine::io::Description,
    wire::call::SdpKind,
};
use matrix_voip_str0m::Impairment;
use serde_json::{Value, json};

use super::{
    cable::Cable,
    calls::Call,
    client::Client,
    command::{AccountCommand, CallCommand, ClientCommand, GroupCommand},
    line::Args,
};

impl Client {
    /// Does what a command asks. Commands to a call reach the library at the first poll of this,
    /// so that they take effect in the order of their lines.
    pub(crate) async fn obey(&self, command: ClientCommand, args: &Args) -> Result<Value, String> {
        match command {
            ClientCommand::Account(command) => self.obey_about_account(command, args).await,
            ClientCommand::Call(command) => self.obey_about_calls(command, args).await,
            ClientCommand::Group(command) => self.obey_about_groups(command, args).await,
        }
    }

    async fn obey_about_groups(&self, command: GroupCommand, args: &Args) -> Result<Value, String> {
        match command {
            GroupCommand::Create => self.create_group(args).await,
            GroupCommand::Enter => self.enter_group(args).await,
            GroupCommand::State => self.group_state(args).await,
            GroupCommand::Leave => self.leave_group(args).await,
            GroupCommand::React => self.react_in_group(args).await,
            GroupCommand::Decline => self.decline_ring(args).await,
            GroupCommand::RequestKeys => self.request_keys(args).await,
        }
    }

    async fn obey_about_account(
        &self,
        command: AccountCommand,
        args: &Args,
    ) -> Result<Value, String> {
        match command {
            AccountCommand::CreateRoom => self.create_room(args).await,
            AccountCommand::Invite => self.invite_user(args).await,
            AccountCommand::Join => self.join(args).await,
            AccountCommand::Leave => self.leave(args).await,
            AccountCommand::Members => self.members(args).await,
            AccountCommand::TurnServers => Ok(self.turn_servers().await),
            AccountCommand::Send => self.send(args).await,
            AccountCommand::SendState => self.send_state(args).await,
            AccountCommand::Http => self.raw_request(args).await,
            AccountCommand::Offline => self.offline(args),
            AccountCommand::Impair => self.impair(args),
            AccountCommand::HoldToDevice => self.hold_to_device(args),
            AccountCommand::Logout => self.log_out().await,
            AccountCommand::Stop => {
                self.stop();
                Ok(json!({}))
            }
        }
    }

    async fn obey_about_calls(&self, command: CallCommand, args: &Args) -> Result<Value, String> {
        match command {
            CallCommand::Call => self.place(args).await,
            CallCommand::Answer => self.answer(args).await,
            CallCommand::Reject => self.reject(args).await,
            CallCommand::Hangup => self.hang_up(args).await,
            CallCommand::Hold => self.hold(args).await,
            CallCommand::MuteAudio => self.mute_audio(args).await,
            CallCommand::MuteVideo => self.mute_video(args).await,
            CallCommand::Screenshare => self.share_screen(args).await,
            CallCommand::Dtmf => self.dial(args).await,
            CallCommand::Transfer => self.transfer(args).await,
            CallCommand::FollowTransfer => self.follow_transfer(args).await,
            CallCommand::IceRestart => self.restart_ice(args).await,
            CallCommand::State => self.state(args),
            CallCommand::Stats => self.stats(&*self.picked(args)?).await,
            CallCommand::Explain => self.explain(args).await,
            CallCommand::AudioLevel => self.audio_level(args).await,
            CallCommand::Sdp => self.sdp(args),
            CallCommand::WaitFor => self.wait_for(args).await,
        }
    }

    /// The call that a command is about.
    pub(crate) fn picked(&self, args: &Args) -> Result<Arc<Call>, String> {
        self.calls.pick(args.text("callId")?)
    }

    pub(crate) fn named(&self, call: &Call) -> Value {
        json!({"callId": call.id()})
    }

    async fn place(&self, args: &Args) -> Result<Value, String> {
        let options = options(args)?;
        let callee = match args.text("invitee")? {
            Some(user) => Callee::User(UserId::parse(user).map_err(|why| why.to_string())?),
            None => Callee::TheOther,
        };
        if self.is_logged_out() {
            return Err("logged out".to_owned());
        }
        let placed = self.voip.invite(args.needed("roomId")?, callee, options).await;
        let call = self.calls.of(placed.map_err(|why| why.to_string())?.id()).await;
        if args.flag("wait", false)? {
            self.calls.until(|_| (call.state() != "fledgling").then_some(())).await;
        }
        Ok(self.named(&call))
    }

    async fn answer(&self, args: &Args) -> Result<Value, String> {
        let call = self.picked(args)?;
        let answered = match args.value("video") {
            None => call.session.answer().await,
            Some(_) if args.flag("video", true)? => {
                call.session.answer_with(CallMedia::Video).await
            }
            Some(_) => call.session.answer_with(CallMedia::Voice).await,
        };
        answered.map_err(|why| why.to_string())?;
        if !args.flag("audio", true)? {
            let muted = call.session.mute(MediaSource::Microphone).await;
            muted.map_err(|why| why.to_string())?;
        }
        Ok(self.named(&call))
    }

    async fn reject(&self, args: &Args) -> Result<Value, String> {
        let call = self.picked(args)?;
        call.session.reject().await.map_err(|why| why.to_string())?;
        Ok(self.named(&call))
    }

    async fn hang_up(&self, args: &Args) -> Result<Value, String> {
        let call = self.picked(args)?;
        if let Some(reason) = args.text("reason")?.filter(|reason| *reason != "user_hangup") {
            return Err(format!("unsupported: hangup for the reason {reason}"));
        }
        call.session.hangup().await.map_err(|why| why.to_string())?;
        self.calls.until(|_| call.is_over().then_some(())).await;
        Ok(self.named(&call))
    }

    fn state(&self, args: &Args) -> Result<Value, String> {
        if args.value("callId").is_some() {
            return Ok(self.calls.describe(&*self.picked(args)?));
        }
        let calls = self.calls.all();
        let calls: Vec<Value> = calls.iter().map(|call| self.calls.describe(call)).collect();
        Ok(json!({"calls": calls, "openPeerConnections": self.engine.open_connections()}))
    }

    fn sdp(&self, args: &Args) -> Result<Value, String> {
        let seen = self.engine.descriptions(self.picked(args)?.session.id());
        let shown = |description: Option<Description>| {
            description.map(|Description { kind, sdp }| {
                let kind = match kind {
                    SdpKind::Offer => "offer",
                    SdpKind::Answer => "answer",
                };
                json!({"type": kind, "sdp": sdp.expose()})
            })
        };
        Ok(json!({"local": shown(seen.local), "remote": shown(seen.remote)}))
    }

    fn offline(&self, args: &Args) -> Result<Value, String> {
        self.cable("offline")?.set(!args.flag("on", true)?);
        Ok(json!({}))
    }

    /// Both ways alike.
    fn impair(&self, args: &Args) -> Result<Value, String> {
        let impairments =
            self.engines.impairments().map_err(|why| format!("unsupported: {why}"))?;
        let percent = args.number("lossPercent")?.unwrap_or_default().min(100);
        let impairment = Impairment {
            drop: percent as f64 / 100.0,
            jitter: Duration::from_millis(args.number("jitterMs")?.unwrap_or_default()),
            ..Impairment::default()
        };
        impairments.set(impairment);
        impairments.set_received(impairment);
        Ok(json!({}))
    }

    fn hold_to_device(&self, args: &Args) -> Result<Value, String> {
        let cable = self.cable("holdToDevice")?;
        let (on, lost) = (args.flag("on", true)?, args.flag("lost", false)?);
        let released = match (on, lost) {
            (true, _) => {
                cable.hold();
                0
            }
            (false, true) => return Ok(json!({"released": 0, "lost": cable.lose()})),
            (false, false) => cable.release(),
        };
        Ok(json!({"released": released}))
    }

    fn cable(&self, cmd: &str) -> Result<&Cable, String> {
        let cable = self.cable.as_ref();
        cable.ok_or_else(|| format!("unsupported: {cmd} with a homeserver by https"))
    }

    async fn log_out(&self) -> Result<Value, String> {
        self.matrix.detach().await;
        self.stop();
        self.http.post("/logout", &json!({})).await?;
        self.note_logged_out();
        Ok(json!({}))
    }
}

/// What a call that we place is to have.
pub(crate) fn options(args: &Args) -> Result<CallOptions, String> {
    match args.text("kind")?.unwrap_or("video") {
        "voice" => Ok(CallOptions::voice()),
        "video" => Ok(CallOptions::video()),
        other => Err(format!("kind must be voice or video, not {other}")),
    }
}
