//! The ledger in the client's own store, beside the rooms and keys of the same device.

use std::sync::Arc;

use async_trait::async_trait;
use matrix_sdk::Client;
use matrix_voip::{host::LedgerStore, machine::io::Fault};

/// Under which key of the store's custom values.
const KEY: &[u8] = b"org.matrix-voip.ledger";

/// What [`ledger`] gives: where to keep it from now on, and what is there.
pub type KeptLedger = (Arc<dyn LedgerStore>, Option<Vec<u8>>);

/// Keeps the ledger in the client's store, so that calls of a crashed process are hung up at the
/// next start. With a store in memory this is for nothing, and harmless.
///
/// ```no_run
/// # use std::sync::Arc;
/// # async fn f(client: matrix_sdk::Client, engine: Arc<dyn matrix_voip::WebRtc>) -> Result<(), Box<dyn std::error::Error>> {
/// let (ledger, kept) = matrix_voip_matrix_sdk::ledger(&client).await?;
/// let (voip, matrix) = matrix_voip_matrix_sdk::connect(&client, |voip| {
///     voip.webrtc(engine).ledger(ledger).restore(kept)
/// })?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Fault::Failed`] when the store cannot be read.
pub async fn ledger(client: &Client) -> Result<KeptLedger, Fault> {
    let kept = client.state_store().get_custom_value(KEY).await.map_err(failed)?;
    Ok((Arc::new(InStore(client.clone())), kept))
}

struct InStore(Client);

#[async_trait]
impl LedgerStore for InStore {
    async fn save(&self, bytes: Vec<u8>) -> Result<(), Fault> {
        self.0.state_store().set_custom_value_no_read(KEY, bytes).await.map_err(failed)
    }
}

fn failed<E>(_: E) -> Fault {
    Fault::Failed("the store failed".into())
}
