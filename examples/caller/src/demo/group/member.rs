//! One participant: a `VoIP` of its own, with its own engine, microphone and ears.

use std::sync::Arc;

use matrix_voip::{
    Config, Signaling, StartError, VoIP, WebRtc, machine::io::MediaKind, testing::EmbeddedAccount,
};
use matrix_voip_media::{Pcm, Studio, Tone};

use super::{
    Teller,
    cast::Who,
    ears::{Ears, Tally},
    legs::Legs,
};
use crate::{
    cli::Breakage,
    demo::{forger::Forger, setup::LEVEL},
    engine::Engines,
    overheard::Overheard,
};

/// One participant.
pub(crate) struct Member {
    /// Which.
    pub(crate) who: Who,
    /// All its calls.
    pub(crate) voip: VoIP,
    /// What it hears, and of whom.
    pub(crate) ears: Ears,
    /// Its peer connections.
    pub(crate) legs: Arc<Legs>,
    /// Who makes them.
    pub(crate) engine: Arc<dyn WebRtc>,
}

/// What all of them have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    /// How many they are.
    pub(crate) size: usize,
    /// Policies and timeouts.
    pub(crate) config: Config,
    /// How their engines are made.
    pub(crate) engines: Engines,
    /// What is broken.
    pub(crate) breakage: Option<Breakage>,
    /// How many are heard.
    pub(crate) tally: Tally,
    /// Where they tell what happens.
    pub(crate) teller: Teller,
}

impl Member {
    /// Starts a participant that reaches the homeserver through `account`.
    ///
    /// # Errors
    /// The library's own: no runtime, no randomness.
    pub(crate) fn start(
        who: Who,
        account: EmbeddedAccount,
        common: &Common,
    ) -> Result<Self, StartError> {
        let ears = Ears::new(who, common.size, common.tally.clone(), common.teller.clone());
        let (hearing, hz) = (ears.clone(), plays(who, common.breakage));
        let studio = Studio::builder()
            .microphone(move || Tone::new(hz, LEVEL).source())
            .sink(MediaKind::Audio, move |track| hearing.sink(track))
            .build();
        let legs = Legs::new(who, common.teller.clone());
        let engine: Arc<dyn WebRtc> = Overheard::new(common.engines.make(studio), legs.clone());
        let voip = VoIP::builder(account.identity().clone())
            .signaling(signaling(who, account.clone(), common.breakage))
            .webrtc(Arc::clone(&engine))
            .config(common.config.clone())
            .start()?;
        account.connect(voip.news());
        Ok(Self { who, voip, ears, legs, engine })
    }
}

fn signaling(who: Who, account: EmbeddedAccount, breakage: Option<Breakage>) -> Arc<dyn Signaling> {
    match (who, breakage) {
        (Who::ADA, Some(Breakage::WrongFingerprint)) => Arc::new(Forger(account)),
        _ => Arc::new(account),
    }
}

/// The tone that a participant plays, in Hz.
fn plays(who: Who, breakage: Option<Breakage>) -> f32 {
    let player = match (who, breakage) {
        (Who::ADA, Some(Breakage::ToneSwapped)) => Who::BEN,
        (Who::BEN, Some(Breakage::ToneSwapped | Breakage::SameTone)) => Who::ADA,
        _ => who,
    };
    player.hz()
}
