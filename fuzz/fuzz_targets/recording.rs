//! A recording of any bytes: errors, never panics; read again, it gives the same steps.
#![no_main]

use libfuzzer_sys::fuzz_target;
use matrix_voip::{record::Replay, testing::Replayed};

fuzz_target!(|bytes: &[u8]| {
    let Ok(replay) = Replay::open(bytes) else { return };
    let steps: Vec<_> = replay.map_while(Result::ok).collect();
    let again = Replay::open(bytes).expect("it opened before");
    assert!(steps.iter().eq(again.map_while(Result::ok).collect::<Vec<_>>().iter()));
    let told = Replayed::read(bytes).expect("it opened before");
    assert_eq!(told.steps, steps.len() as u64);
    drop(told.column.to_string());
});
