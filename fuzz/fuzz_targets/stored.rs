//! What else is parsed: TURN credentials and announcements of a homeserver, a ledger and what has rung from the disk. It
//! also writes the seeds of all targets, when fuzz/run asks for them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use matrix_voip::wire::{
    focus::{MAX_TRANSPORTS, read_transports, read_well_known},
    ledger::{Ledger, MAX_LEDGER_BYTES},
    seen::{MAX_NOTES, MAX_SEEN_BYTES, Seen},
    turn::{MAX_TURN_TTL, MAX_TURN_URIS, TurnServers},
};

fuzz_target!(init: matrix_voip_fuzz::seeds::write_if_asked(), |bytes: &[u8]| {
    if let Ok(ledger) = Ledger::from_bytes(bytes) {
        let stored = ledger.to_bytes();
        assert!(stored.len() <= MAX_LEDGER_BYTES);
        let again = Ledger::from_bytes(&stored).expect("what we store can be read");
        assert_eq!(again.to_bytes(), stored, "storing is stable");
    }
    if let Ok(seen) = Seen::from_bytes(bytes) {
        assert!(seen.len() <= MAX_NOTES);
        let stored = seen.to_bytes();
        assert!(stored.len() <= MAX_SEEN_BYTES);
        let again = Seen::from_bytes(&stored).expect("what we store can be read");
        assert_eq!(again.to_bytes(), stored, "storing is stable");
    }
    let Ok(answer) = std::str::from_utf8(bytes) else { return };
    for announced in [read_transports(answer), read_well_known(answer)].into_iter().flatten() {
        assert!(announced.len() <= MAX_TRANSPORTS);
    }
    if let Ok(turn) = TurnServers::read(answer) {
        assert!(turn.ttl <= MAX_TURN_TTL);
        assert!(
            turn.servers.iter().map(|server| server.urls.len()).sum::<usize>() <= MAX_TURN_URIS
        );
    }
});
