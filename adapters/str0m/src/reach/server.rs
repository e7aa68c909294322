//! The STUN and TURN servers of a connection, and what each comes to.

use matrix_voip::{
    machine::io::{IceServer, ServerFault, ServerState, ServerStats},
    redact::{Redacted, Secret},
};
use matrix_voip_engine::uri::ServerUri;

/// Most URIs that one connection uses. Homeservers name two to four.
pub(crate) const MAX_SERVERS: usize = 8;

/// Most servers of one connection over all its life, those that are not named any more included.
const MAX_KNOWN: usize = 4 * MAX_SERVERS;

/// Who we are for a TURN server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: Redacted,
    pub(crate) password: Secret,
}

/// One URI with its credentials and its fate.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) uri: Redacted,
    pub(crate) target: Option<ServerUri>,
    pub(crate) credentials: Credentials,
    pub(crate) state: ServerState,
    /// Whether the homeserver names it still.
    pub(crate) is_named: bool,
}

impl Server {
    /// For the statistics.
    pub(crate) fn stats(&self) -> ServerStats {
        ServerStats::new(self.uri.clone(), self.state)
    }

    /// It is of no use; the first reason stands, and one that has worked is told as lost.
    pub(crate) fn fail(&mut self, fault: ServerFault) {
        let fault = match self.state {
            ServerState::Failed(_) => return,
            ServerState::Works if fault == ServerFault::Silent => ServerFault::Lost,
            ServerState::Works | ServerState::Asked => fault,
        };
        self.state = ServerState::Failed(fault);
        // Host names are told to nobody who only reads logs.
        tracing::info!(service = ?self.target.as_ref().map(|target| target.service()), %fault,
            "a STUN or TURN server is of no use");
    }
}

/// The URIs of these servers, in order, each once. What cannot be used is there as failed.
pub(crate) fn read(servers: &[IceServer]) -> Vec<Server> {
    let mut read: Vec<Server> = Vec::new();
    for server in servers {
        for uri in &server.urls {
            if read.iter().any(|known| known.uri.expose() == uri) {
                continue;
            }
            let used = read.iter().filter(|server| server.target.is_some()).count();
            let target = ServerUri::parse(uri).ok().filter(|_| used < MAX_SERVERS);
            let state = match target {
                Some(_) => ServerState::Asked,
                None => ServerState::Failed(ServerFault::Unusable),
            };
            let credentials =
                Credentials { user: server.username.clone(), password: server.credential.clone() };
            let uri = uri.as_str().into();
            read.push(Server { uri, target, credentials, state, is_named: true });
        }
    }
    read
}

/// Takes over what the homeserver says now: a server that is known keeps its place, and gets new
/// credentials; one that is new comes behind them. Returns which of them are to be asked.
///
/// A server that is not named any more is not asked again; what it gave may be used on.
pub(crate) fn renew(known: &mut Vec<Server>, servers: &[IceServer]) -> Vec<usize> {
    let told = read(servers);
    for server in &mut *known {
        server.is_named = told.iter().any(|told| told.uri == server.uri);
    }
    let mut fresh = Vec::new();
    for told in told.into_iter().filter(|told| told.target.is_some()) {
        match known.iter().position(|server| server.uri == told.uri) {
            Some(place) if known[place].credentials == told.credentials => {}
            Some(place) => {
                known[place].credentials = told.credentials;
                fresh.push(place);
            }
            None if known.len() < MAX_KNOWN => {
                fresh.push(known.len());
                known.push(told);
            }
            None => tracing::debug!("a TURN server more than can be kept"),
        }
    }
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_uri_is_used_once_and_not_more_than_a_few() {
        let urls = (0..20).map(|n| format!("turn:host{}", n / 2)).collect();
        let server = IceServer { urls, username: "u".into(), credential: Secret::new("p") };
        let read = read(&[server]);
        assert_eq!(read.len(), 10);
        let used: Vec<bool> = read.iter().map(|server| server.target.is_some()).collect();
        assert_eq!(used, [true, true, true, true, true, true, true, true, false, false]);
        assert_eq!(read[9].state, ServerState::Failed(ServerFault::Unusable));
    }

    #[test]
    fn the_first_reason_stands_and_a_server_that_worked_is_told_as_lost() {
        let server = |state| Server {
            uri: "turn:a".into(),
            target: ServerUri::parse("turn:a").ok(),
            credentials: Credentials { user: "u".into(), password: Secret::new("p") },
            state,
            is_named: true,
        };
        let mut asked = server(ServerState::Asked);
        asked.fail(ServerFault::Silent);
        asked.fail(ServerFault::Lost);
        assert_eq!(asked.state, ServerState::Failed(ServerFault::Silent));
        let mut worked = server(ServerState::Works);
        worked.fail(ServerFault::Silent);
        assert_eq!(worked.state, ServerState::Failed(ServerFault::Lost));
    }
}
