//! The engines that calls can have, and the one place where they are made.

use std::{fmt, sync::Arc};

use matrix_voip::host::{Media, WebRtc};
use matrix_voip_str0m::{Impairment, Impairments, Interfaces, Str0m, TrustedRoots};
use matrix_voip_webrtc::Webrtc;

use crate::cli::Engine;

/// How the engines of a run are made, each with a microphone and ears of its own.
#[derive(Debug, Clone)]
pub(crate) struct Engines {
    which: Which,
    interfaces: Interfaces,
    roots: TrustedRoots,
}

/// Which engine, and what that one alone can be asked for.
#[derive(Debug, Clone)]
enum Which {
    /// And what becomes of datagrams.
    Str0m(Impairments),
    Webrtc,
}

/// An engine cannot do what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    /// Its network cannot be impaired.
    #[error("the engine {0} cannot lose datagrams on purpose: take --engine {with}", with = Engine::Str0m)]
    NoImpairments(Engine),
}

impl Engines {
    /// On every interface of the machine, with the system's roots.
    pub(crate) fn new(engine: Engine) -> Self {
        let which = match engine {
            Engine::Str0m => Which::Str0m(Impairments::default()),
            Engine::Webrtc => Which::Webrtc,
        };
        Self { which, interfaces: Interfaces::default(), roots: TrustedRoots::default() }
    }

    /// Inside this machine only.
    pub(crate) fn on_loopback(self) -> Self {
        Self { interfaces: Interfaces::Loopback, ..self }
    }

    /// Trusting these for TURN over TLS.
    #[cfg(feature = "matrix")]
    pub(crate) fn trusting(self, roots: TrustedRoots) -> Self {
        Self { roots, ..self }
    }

    /// Without a network.
    ///
    /// # Errors
    /// [`Misfit`]: that engine does not take it.
    pub(crate) fn dropping_all(self) -> Result<Self, Misfit> {
        self.impairments()?.set(Impairment::DROPS_ALL);
        Ok(self)
    }

    /// What becomes of the datagrams of all engines that are made here, to be changed at any time.
    ///
    /// # Errors
    /// [`Misfit`]: that engine does not take it.
    pub(crate) fn impairments(&self) -> Result<&Impairments, Misfit> {
        match &self.which {
            Which::Str0m(impairments) => Ok(impairments),
            Which::Webrtc => Err(Misfit::NoImpairments(Engine::Webrtc)),
        }
    }

    /// An engine whose sound and picture come from and go to `media`.
    pub(crate) fn make(&self, media: Arc<dyn Media>) -> Arc<dyn WebRtc> {
        let (interfaces, roots) = (self.interfaces, self.roots.clone());
        match &self.which {
            Which::Str0m(impairments) => {
                let engine = Str0m::builder(media).interfaces(interfaces).trusted_roots(roots);
                Arc::new(engine.impairments(impairments.clone()).build())
            }
            Which::Webrtc => {
                let engine = Webrtc::builder(media).interfaces(interfaces).trusted_roots(roots);
                Arc::new(engine.build())
            }
        }
    }
}

#[cfg(feature = "matrix")]
impl Engine {
    /// Whether it sends the tones of a telephone.
    pub(crate) const fn has_tones(self) -> bool {
        matches!(self, Self::Str0m)
    }
}

/// As it is typed.
impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Str0m => "str0m",
            Self::Webrtc => "webrtc",
        })
    }
}

#[cfg(test)]
mod tests {
    use matrix_voip::{
        id::TrackId,
        machine::io::{Fault, Tones},
    };
    use matrix_voip_media::Studio;

    use super::*;

    #[tokio::test]
    async fn the_engine_is_the_one_that_was_chosen() {
        let dial = async |engine| {
            let engine = Engines::new(engine).on_loopback().make(Studio::builder().build());
            engine.dtmf(TrackId(1), Tones::parse("1").unwrap()).await
        };
        // Both have no track of that number, and one has no tones.
        assert_ne!(dial(Engine::Str0m).await, Err(Fault::Unsupported));
        assert_eq!(dial(Engine::Webrtc).await, Err(Fault::Unsupported));
        #[cfg(feature = "matrix")]
        assert_eq!([Engine::Str0m, Engine::Webrtc].map(Engine::has_tones), [true, false]);
    }

    #[test]
    fn who_wants_a_broken_network_is_told_which_engine_has_one() {
        assert!(Engines::new(Engine::Str0m).dropping_all().is_ok());
        let refused = Engines::new(Engine::Webrtc).dropping_all().unwrap_err();
        assert_eq!(refused, Misfit::NoImpairments(Engine::Webrtc));
        let words = "the engine webrtc cannot lose datagrams on purpose: take --engine str0m";
        assert_eq!(refused.to_string(), words);
    }
}
