//! `waitFor`: conditions that a test waits for.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};

use super::{client::Client, line::Args, measure::received};

/// Unless a command says otherwise.
const PATIENCE_MS: u64 = 20_000;

/// Between two looks at statistics.
const LOOK: Duration = Duration::from_millis(50);

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Incoming,
    State { state: String, reason: Option<String> },
    RemoteFeeds(u64),
    InboundBytes { bytes: u64, kinds: Vec<String> },
}

impl Wanted {
    fn read(args: &Args) -> Result<Self, String> {
        if args.flag("incoming", false)? {
            return Ok(Self::Incoming);
        }
        if let Some(state) = args.text("state")? {
            let reason = args.text("hangupReason")?.map(str::to_owned);
            return Ok(Self::State { state: state.to_owned(), reason });
        }
        if let Some(feeds) = args.number("remoteFeeds")? {
            return Ok(Self::RemoteFeeds(feeds));
        }
        if let Some(bytes) = args.number("minInboundBytes")? {
            let kinds = args.texts("kinds")?;
            let kinds = if kinds.is_empty() { vec!["audio".to_owned()] } else { kinds };
            return Ok(Self::InboundBytes { bytes, kinds });
        }
        Err("unsupported: waitFor without incoming, state, remoteFeeds or minInboundBytes".into())
    }

    fn name(&self) -> String {
        match self {
            Self::Incoming => "an incoming call".to_owned(),
            Self::State { state, reason: None } => format!("state {state}"),
            Self::State { state, reason: Some(reason) } => format!("state {state}, {reason}"),
            Self::RemoteFeeds(feeds) => format!("{feeds} remote feeds"),
            Self::InboundBytes { bytes, .. } => format!("{bytes} inbound bytes"),
        }
    }

    /// Whether a call object is what is waited for.
    fn fits(&self, call: &Value) -> bool {
        match self {
            Self::Incoming => call["state"] == "ringing" && call["direction"] == "inbound",
            Self::State { state, reason } => {
                let for_it = reason.as_ref().is_none_or(|reason| call["hangupReason"] == **reason);
                call["state"] == **state && for_it
            }
            Self::RemoteFeeds(feeds) => {
                let all = call["feeds"].as_array().into_iter().flatten();
                all.filter(|feed| feed["local"] == false).count() as u64 == *feeds
            }
            Self::InboundBytes { .. } => false,
        }
    }
}

impl Client {
    /// Answers when the condition holds.
    pub(crate) async fn wait_for(&self, args: &Args) -> Result<Value, String> {
        let (wanted, call_id) = (Wanted::read(args)?, args.text("callId")?);
        let patience = Duration::from_millis(args.number("timeoutMs")?.unwrap_or(PATIENCE_MS));
        let found = async {
            match &wanted {
                Wanted::InboundBytes { bytes, kinds } => self.flowing(call_id, *bytes, kinds).await,
                _ => self.seen(call_id, &wanted).await,
            }
        };
        let found = timeout(patience, found).await;
        found.map_err(|_| format!("timed out waiting for {}{}", wanted.name(), self.as_is(call_id)))
    }

    async fn seen(&self, call_id: Option<&str>, wanted: &Wanted) -> Value {
        self.calls
            .until(|calls| {
                let call = match wanted {
                    Wanted::Incoming => calls.ringing(call_id),
                    _ => calls.pick(call_id).ok(),
                };
                call.map(|call| calls.describe(&call)).filter(|call| wanted.fits(call))
            })
            .await
    }

    async fn flowing(&self, call_id: Option<&str>, bytes: u64, kinds: &[String]) -> Value {
        loop {
            if let Ok(call) = self.calls.pick(call_id)
                && let Ok(stats) = self.stats(&call).await
                && kinds.iter().all(|kind| received(&stats, kind) >= bytes)
            {
                return stats;
            }
            sleep_until(Instant::now() + LOOK).await;
        }
    }

    fn as_is(&self, call_id: Option<&str>) -> String {
        let Ok(call) = self.calls.pick(call_id) else { return " (no such call)".to_owned() };
        let call = self.calls.describe(&call);
        let state = call["state"].as_str().unwrap_or_default();
        match call["hangupReason"].as_str() {
            Some(reason) => format!(" (is {state}, {reason})"),
            None => format!(" (is {state})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::matrix::serve::line::Request;

    fn wanted(args: Value) -> Result<Wanted, String> {
        let line = json!({"id": 1, "cmd": "waitFor", "args": args}).to_string();
        Wanted::read(&Request::read(line.as_bytes()).unwrap().args)
    }

    #[test]
    fn an_end_may_be_wanted_for_a_reason() {
        let ended = wanted(json!({"state": "ended", "hangupReason": "ice_failed"})).unwrap();
        assert!(ended.fits(&json!({"state": "ended", "hangupReason": "ice_failed"})));
        assert!(!ended.fits(&json!({"state": "ended", "hangupReason": "user_hangup"})));
        assert!(!ended.fits(&json!({"state": "connected", "hangupReason": null})));
        let any = wanted(json!({"state": "ended"})).unwrap();
        assert!(any.fits(&json!({"state": "ended", "hangupReason": null})));
    }

    #[test]
    fn exactly_so_many_remote_feeds() {
        let one = wanted(json!({"remoteFeeds": 1})).unwrap();
        let feed = |local: bool| json!({"local": local});
        assert!(one.fits(&json!({"feeds": [feed(true), feed(false)]})));
        assert!(!one.fits(&json!({"feeds": [feed(false), feed(false)]})));
        assert!(wanted(json!({"remoteFeeds": 0})).unwrap().fits(&json!({"feeds": []})));
    }

    #[test]
    fn sound_is_what_must_flow_unless_told_otherwise() {
        let expected = Wanted::InboundBytes { bytes: 5, kinds: vec!["audio".to_owned()] };
        assert_eq!(wanted(json!({"minInboundBytes": 5, "kinds": null})), Ok(expected));
    }

    #[test]
    fn a_wait_for_nothing_known_is_unsupported() {
        let error = wanted(json!({"weather": "good"})).unwrap_err();
        assert!(error.starts_with("unsupported: "), "{error}");
    }
}
