//! Commands that change a call that is answered: hold, mutes, sources, tones, path, transfer.

use std::path::PathBuf;

use matrix_voip::{
    CallEvent, CallNews, CallState, MediaSource,
    id::{RoomId, UserId},
};
use serde_json::{Value, json};

use super::{calls::Call, client::Client, commands::options, line::Args};

impl Client {
    pub(crate) async fn hold(&self, args: &Args) -> Result<Value, String> {
        let (call, on) = (self.picked(args)?, args.flag("on", true)?);
        let done = match on {
            true => call.session.hold().await,
            false => call.session.unhold().await,
        };
        done.map_err(|why| why.to_string())?;
        Ok(json!({"remoteOnHold": on}))
    }

    pub(crate) async fn mute_audio(&self, args: &Args) -> Result<Value, String> {
        let (call, on) = (self.picked(args)?, args.flag("on", true)?);
        let done = match on {
            true => call.session.mute(MediaSource::Microphone).await,
            false => call.session.unmute(MediaSource::Microphone).await,
        };
        done.map_err(|why| why.to_string())?;
        Ok(json!({"muted": on}))
    }

    /// Without a camera there is nothing to mute, and unmuting opens one.
    pub(crate) async fn mute_video(&self, args: &Args) -> Result<Value, String> {
        let (call, on) = (self.picked(args)?, args.flag("on", true)?);
        let session = &call.session;
        if on {
            // What is not open is not sent.
            drop(session.mute(MediaSource::Camera).await);
        } else {
            // Both are said before either is answered: a later command is to come after both.
            let opening = session.start(MediaSource::Camera);
            let (opened, unmuted) =
                futures::future::join(opening, session.unmute(MediaSource::Camera)).await;
            opened.or_else(|why| unmuted.map_err(|_| why)).map_err(|why| why.to_string())?;
        }
        Ok(json!({"muted": on}))
    }

    /// Shows the test picture, or a film.
    pub(crate) async fn share_screen(&self, args: &Args) -> Result<Value, String> {
        let (call, on) = (self.picked(args)?, args.flag("on", true)?);
        if args.flag("audio", false)? {
            return Err("unsupported: screenshare with sound".to_owned());
        }
        if on {
            call.senses.show(args.text("file")?.map(PathBuf::from))?;
        }
        let done = match on {
            true => call.session.start(MediaSource::Screen).await,
            false => call.session.stop(MediaSource::Screen).await,
        };
        done.map_err(|why| why.to_string())?;
        Ok(json!({"sharing": on}))
    }

    pub(crate) async fn dial(&self, args: &Args) -> Result<Value, String> {
        let call = self.picked(args)?;
        let dialled = call.session.dtmf(args.text("digit")?.unwrap_or("5")).await;
        dialled.map_err(|why| why.to_string())?;
        Ok(json!({}))
    }

    pub(crate) async fn restart_ice(&self, args: &Args) -> Result<Value, String> {
        let call = self.picked(args)?;
        call.session.restart_ice().await.map_err(|why| why.to_string())?;
        Ok(json!({}))
    }

    /// Answers when the request is on its way, which ends our call.
    pub(crate) async fn transfer(&self, args: &Args) -> Result<Value, String> {
        let call = self.picked(args)?;
        let (_, mut events) = call.session.subscribe();
        let asked = match args.text("toCallId")? {
            Some(other) => {
                let other = self.calls.pick(Some(other))?;
                call.session.transfer_to_call(&other.session).await
            }
            None => {
                let user = UserId::parse(args.needed("userId")?).map_err(|why| why.to_string())?;
                call.session.transfer_to(user, None).await
            }
        };
        asked.map_err(|why| why.to_string())?;
        while call.session.snapshot().state != CallState::Ended {
            match events.next().await {
                Some(CallNews::Event(CallEvent::TransferFailed)) => {
                    return Err("the request could not be sent".to_owned());
                }
                Some(_) => {}
                None => break,
            }
        }
        self.calls.until(|_| call.is_over().then_some(())).await;
        Ok(json!({}))
    }

    /// Calls whom the other side asked us to call instead, in a room that we know.
    pub(crate) async fn follow_transfer(&self, args: &Args) -> Result<Value, String> {
        let call = self.picked(args)?;
        let transfer = call.transfer().ok_or("no transfer was asked for")?;
        let room = match (args.text("roomId")?, &transfer.room) {
            (Some(room), _) => RoomId::parse(room).map_err(|why| why.to_string())?,
            (None, Some(room)) => room.clone(),
            (None, None) => return Err("roomId is missing".to_owned()),
        };
        let placed = self.voip.follow(&call.session, transfer, room, options(args)?).await;
        let call: std::sync::Arc<Call> =
            self.calls.of(placed.map_err(|why| why.to_string())?.id()).await;
        Ok(self.named(&call))
    }
}
