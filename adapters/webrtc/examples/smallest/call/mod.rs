//! What the smallest programs share: a call between two users of one process, who have neither
//! microphones nor speakers. The homeserver is in memory.

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use matrix_voip::{
    CallOptions, CallState, Identity, VoIP, VoipNews, WebRtc,
    host::{Codec, Frame, FrameSink, FrameSource, Media, RemoteTrack, SourceControl},
    id::{SessionId, TrackId},
    machine::io::{Capture, Fault},
    testing::EmbeddedHomeserver,
};

/// A microphone that never gives a sound.
struct Silent;

#[async_trait]
impl FrameSource for Silent {
    fn codec(&self) -> Codec {
        Codec::Opus
    }

    async fn next(&mut self) -> Option<Frame> {
        std::future::pending().await
    }

    fn control(&mut self, _: SourceControl) {}
}

struct NoMedia;

#[async_trait]
impl Media for NoMedia {
    async fn capture(
        &self,
        _: SessionId,
        _: TrackId,
        _: Capture,
    ) -> Result<Box<dyn FrameSource>, Fault> {
        Ok(Box::new(Silent))
    }

    fn sink(&self, _: RemoteTrack) -> Option<Box<dyn FrameSink>> {
        None
    }
}

type Engine = Arc<dyn WebRtc>;

fn phone(home: &EmbeddedHomeserver, user: &str, engine: Engine) -> Result<VoIP, Box<dyn Error>> {
    let account = home.login(Identity { user: user.parse()?, device: "PHONE".parse()? });
    let voip = VoIP::builder(account.identity().clone()).signaling(Arc::new(account.clone()));
    let voip = voip.webrtc(engine).start()?;
    account.connect(voip.news());
    Ok(voip)
}

/// Two engines of the same kind call each other, and hang up when they are connected.
pub(crate) async fn call(make: impl Fn(Arc<dyn Media>) -> Engine) -> Result<(), Box<dyn Error>> {
    let home = EmbeddedHomeserver::new().with_room("!room:hs", ["@ada:hs", "@ben:hs"]);
    let ada = phone(&home, "@ada:hs", make(Arc::new(NoMedia)))?;
    let ben = phone(&home, "@ben:hs", make(Arc::new(NoMedia)))?;
    let mut arrivals = ben.events();
    let call = ada.invite("!room:hs", "@ben:hs", CallOptions::voice()).await?;
    while let Some(news) = arrivals.next().await {
        if let VoipNews::RingStarted { call, .. } = news {
            call.answer().await?;
            break;
        }
    }
    call.until(CallState::Connected).await?;
    println!("connected");
    Ok(call.hangup().await?)
}
