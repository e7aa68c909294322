//! The smallest program with str0m; the bench `engines` weighs it.

mod call;

use std::{error::Error, sync::Arc};

use matrix_voip_str0m::Str0m;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    call::call(|media| Arc::new(Str0m::builder(media).build())).await
}
