//! Ids that we mint: unique in this engine, unlikely elsewhere, the same for the same seed. And by how
//! much we wait otherwise than our other devices.

use crate::id::{CallId, OpId, PartyId, PeerId, SessionId, StreamId, TrackId};

/// Letters of minted texts: part of the specification's grammar for opaque ids.
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Mints ids. Its randomness is for uniqueness, never for keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ids {
    state: u64,
    /// Apart from the others: so what we hear does not decide which call id comes next.
    stream_state: u64,
    visit_state: u64,
    share_state: u64,
    sessions: u64,
    peers: u64,
    tracks: u64,
    ops: u64,
    transactions: u64,
}

impl Ids {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: seed,
            stream_state: !seed,
            visit_state: seed.rotate_left(32),
            share_state: !seed.rotate_left(32),
            sessions: 0,
            peers: 0,
            tracks: 0,
            ops: 0,
            transactions: 0,
        }
    }

    /// What decides which texts come next: numbers mean nothing to others.
    #[cfg(feature = "testing")]
    pub(super) fn fingerprint(&self, print: &mut super::fingerprint::Fingerprint) {
        print.value((self.state, self.stream_state, self.visit_state, self.share_state));
    }

    pub(super) fn party(&mut self) -> PartyId {
        PartyId::parse(text(&mut self.state)).expect("invariant: sixteen letters are a party id")
    }

    pub(super) fn stream(&mut self) -> StreamId {
        StreamId::parse(text(&mut self.stream_state))
            .expect("invariant: sixteen letters are a stream id")
    }

    /// One visit of ours to a group call (`membershipID`).
    pub(super) fn visit(&mut self) -> String {
        text(&mut self.visit_state)
    }

    /// Between nothing and one; another in each engine, and each time.
    pub(super) fn share(&mut self) -> f64 {
        f64::from((random(&mut self.share_state) >> 32) as u32) / f64::from(u32::MAX)
    }

    pub(super) fn call(&mut self) -> CallId {
        CallId::parse(text(&mut self.state)).expect("invariant: sixteen letters are a call id")
    }

    pub(super) fn session(&mut self) -> SessionId {
        self.sessions += 1;
        SessionId(self.sessions)
    }

    pub(super) fn peer(&mut self) -> PeerId {
        self.peers += 1;
        PeerId(self.peers)
    }

    pub(super) fn track(&mut self) -> TrackId {
        self.tracks += 1;
        TrackId(self.tracks)
    }

    pub(super) fn op(&mut self) -> OpId {
        self.ops += 1;
        OpId(self.ops)
    }

    /// A transaction id, unique for the access token because it begins with our party id.
    pub(super) fn transaction(&mut self, party: &PartyId) -> String {
        self.transactions += 1;
        format!("{party}.{}", self.transactions)
    }
}

/// SplitMix64: the shortest generator that passes for random in ids.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Sixteen letters: 95 bits.
fn text(state: &mut u64) -> String {
    let mut text = String::with_capacity(16);
    for _ in 0..2 {
        let mut word = random(state);
        for _ in 0..8 {
            text.push(char::from(LETTERS[(word % 62) as usize]));
            word /= 62;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_mints_the_same_ids_and_another_seed_others() {
        let (mut a, mut b, mut c) = (Ids::new(7), Ids::new(7), Ids::new(8));
        let call = a.call();
        assert_eq!(call, b.call());
        assert_ne!(call, c.call());
        assert_ne!(call, a.call());
        assert_eq!(call.as_str().len(), 16);
        assert!(call.as_str().bytes().all(|letter| letter.is_ascii_alphanumeric()));
    }

    #[test]
    fn the_generator_is_splitmix64() {
        let mut state = 0;
        assert_eq!(random(&mut state), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random(&mut state), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn what_call_comes_next_is_the_same_however_many_streams_there_were() {
        let (mut a, mut b) = (Ids::new(7), Ids::new(7));
        assert_ne!(a.stream(), a.stream());
        assert_eq!(a.call(), b.call());
    }

    #[test]
    fn shares_are_spread_over_all_between_nothing_and_one() {
        let mut ids = Ids::new(7);
        let mut shares: Vec<_> = (0..100).map(|_| ids.share()).collect();
        shares.sort_by(f64::total_cmp);
        assert!(shares[0] >= 0.0 && shares[99] <= 1.0);
        assert!(shares.windows(2).all(|pair| pair[1] - pair[0] < 0.1), "{shares:?}");
    }

    #[test]
    fn numbers_count_up_from_one() {
        let mut ids = Ids::new(0);
        assert_eq!((ids.session(), ids.session()), (SessionId(1), SessionId(2)));
        assert_eq!((ids.peer(), ids.peer()), (PeerId(1), PeerId(2)));
        assert_eq!((ids.track(), ids.track()), (TrackId(1), TrackId(2)));
        assert_eq!((ids.op(), ids.op()), (OpId(1), OpId(2)));
        let party = PartyId::parse("P").unwrap();
        assert_eq!(
            (ids.transaction(&party), ids.transaction(&party)),
            ("P.1".into(), "P.2".into())
        );
    }
}
