//! The engine of one side: str0m over UDP sockets on loopback.

use std::sync::Arc;

use matrix_voip::host::{Media, WebRtc};
use matrix_voip_str0m::{Impairment, Impairments, Interfaces, Str0m};

use crate::cli::Breakage;

/// An engine whose sound and picture come from and go to `media`.
pub(crate) fn new(media: Arc<dyn Media>, breakage: Option<Breakage>) -> Arc<dyn WebRtc> {
    let engine = Str0m::builder(media).interfaces(Interfaces::Loopback);
    Arc::new(match breakage {
        Some(Breakage::SocketDropsAll) => {
            engine.impairments(Impairments::new(Impairment::DROPS_ALL)).build()
        }
        _ => engine.build(),
    })
}
