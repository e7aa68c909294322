//! How long a homeserver may take. The SDK tries a request again without end when the answer is an
//! error of the server's, or none comes; a person at a terminal wants to be told.

use std::time::Duration;

use tokio::time::timeout;

use super::refusal::Refusal;

/// For one step: entering, a sync, a recovery, finding a room.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// For a logout, or the end of a login that is given up: what is kept here goes in any case.
pub(crate) const FAREWELL: Duration = Duration::from_secs(10);

/// A step of a command, which is refused when it takes too long.
pub(crate) async fn within<T>(
    what: &str,
    limit: Duration,
    step: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    timeout(limit, step).await.unwrap_or_else(|_| {
        let limit = limit.as_secs();
        Err(Refusal::new(format!("{what}: no good answer of the homeserver within {limit} s")))
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_homeserver_that_never_answers_is_told_after_the_time_that_is_stated() {
        let start = tokio::time::Instant::now();
        let refused = within::<()>("sync", PATIENCE, pending()).await.unwrap_err();
        assert_eq!(refused.0, "sync: no good answer of the homeserver within 30 s");
        assert!((start.elapsed().as_secs_f64() - 30.0).abs() < 0.1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_answered_in_time_is_the_answer() {
        let refusal = Refusal::new("no");
        let refused: Result<(), _> = within("sync", PATIENCE, async { Err(refusal.clone()) }).await;
        assert_eq!(
            (refused, within("sync", PATIENCE, async { Ok(1) }).await),
            (Err(refusal), Ok(1))
        );
    }
}
