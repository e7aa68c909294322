//! Reading and writing call events, each beside its baseline in the same run.
//!
//! The baseline of `read` is `serde_json` making a `Value` of the same text, without understanding
//! any of it; that of `write` is `serde_json` writing the same content from such a `Value`. Bodies
//! are recorded ones (`tests/fixtures/README.md`), the largest of each type; two types that no
//! recording has are written here. Run with `cargo bench --bench wire`.

use std::fs;

use divan::{Bencher, black_box};
use matrix_voip::{
    id::{CallId, PartyId, RoomId},
    time::Wall,
    wire::{
        call::read,
        ledger::{EndedCall, Ledger, LiveCall},
    },
};
use serde_json::Value;

const TYPES: [&str; 10] = [
    "invite",
    "candidates",
    "answer",
    "select_answer",
    "reject",
    "hangup",
    "negotiate",
    "sdp_stream_metadata_changed",
    "asserted_identity",
    "replaces",
];

fn main() {
    divan::main();
}

/// Event type and content of one event of this name.
fn event(name: &str) -> (String, String) {
    let event_type = format!("m.call.{name}");
    let mut events: Vec<Value> = recorded();
    events.push(serde_json::json!({
        "type": "m.call.asserted_identity",
        "content": {
            "call_id": "CALLID1", "party_id": "ALICE1", "version": "1",
            "asserted_identity": { "id": "@carol:localhost", "display_name": "Carol" },
        },
    }));
    let contents = events.iter().filter(|event| event["type"] == event_type.as_str());
    let largest = contents.map(|event| event["content"].to_string()).max_by_key(String::len);
    (event_type, largest.expect("invariant: the fixtures hold every type"))
}

fn recorded() -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/matrix-js-sdk-43");
    let entries = fs::read_dir(folder).expect("invariant: benches run in the repository");
    let files = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    let lines: Vec<String> = files.flat_map(|file| lines_of(&file)).collect();
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn lines_of(file: &str) -> Vec<String> {
    file.lines().map(str::to_owned).collect()
}

#[divan::bench(args = TYPES)]
fn read_event(bencher: Bencher, name: &str) {
    let (event_type, content) = event(name);
    assert!(read(&event_type, &content).is_some_and(|read| read.is_ok()));
    bencher
        .counter(divan::counter::BytesCount::of_str(&content))
        .bench_local(|| read(black_box(&event_type), black_box(&content)));
}

#[divan::bench(args = TYPES)]
fn read_event_baseline(bencher: Bencher, name: &str) {
    let (_, content) = event(name);
    bencher
        .counter(divan::counter::BytesCount::of_str(&content))
        .bench_local(|| serde_json::from_str::<Value>(black_box(&content)));
}

#[divan::bench(args = TYPES)]
fn write_event(bencher: Bencher, name: &str) {
    let (event_type, content) = event(name);
    let message = read(&event_type, &content).and_then(Result::ok);
    let message = message.expect("invariant: the fixtures are readable");
    bencher.bench_local(|| black_box(&message).write());
}

#[divan::bench(args = TYPES)]
fn write_event_baseline(bencher: Bencher, name: &str) {
    let (_, content) = event(name);
    let content: Value = serde_json::from_str(&content).expect("invariant: JSON");
    bencher.bench_local(|| black_box(&content).to_string());
}

/// Must not grow beyond what 16 KiB hold.
#[divan::bench(args = [1, 100, 10_000, 100_000])]
fn ledger_to_bytes(bencher: Bencher, calls: usize) {
    let room = RoomId::parse("!room:localhost").expect("invariant: a room id");
    let id = |n| CallId::parse(format!("1786100000{n:06}abcdefghijklmnop"));
    let id = |n| id(n).expect("invariant: a call id");
    let party_id = PartyId::parse("Ab3dEf6hIj9l").expect("invariant: a party id");
    let live = |n| LiveCall { room: room.clone(), call_id: id(n), party_id: party_id.clone() };
    let ended = |n| EndedCall { room: room.clone(), call_id: id(n), until: Wall(1) };
    let ledger = Ledger {
        live: (0..calls).map(live).collect(),
        ended: (0..calls).map(ended).collect(),
        ..Ledger::default()
    };
    bencher.bench_local(|| black_box(&ledger).to_bytes());
}
