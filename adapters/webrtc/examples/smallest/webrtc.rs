//! The smallest program with webrtc-rs; the bench `engines` weighs it.

mod call;

use std::{error::Error, sync::Arc};

use matrix_voip_webrtc::Webrtc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    call::call(|media| Arc::new(Webrtc::builder(media).build())).await
}
