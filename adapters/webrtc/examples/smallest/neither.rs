//! The smallest program without an engine, that connects nobody but those of its own process; the
//! bench `engines` compares the others with it.

mod call;

use std::{error::Error, sync::Arc};

use matrix_voip::testing::EmbeddedWebRtc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let engines = EmbeddedWebRtc::new();
    call::call(|_| Arc::new(engines.engine())).await
}
