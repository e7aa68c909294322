//! The lines that `caller serve` is given. The parser is in two files of the caller: the package
//! around them needs matrix-sdk, they do not.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../examples/caller/src/matrix/serve/command.rs"]
#[allow(dead_code, unreachable_pub)]
mod command;
#[path = "../../examples/caller/src/matrix/serve/line.rs"]
#[allow(dead_code, unreachable_pub)]
mod line;

fuzz_target!(|bytes: &[u8]| {
    match line::Request::read(bytes) {
        Ok(request) => {
            for name in
                ["roomId", "userId", "on", "type", "timeoutMs", "state", "hangupReason", "digit"]
            {
                let _ = request.args.value(name);
                let _ = (request.args.text(name), request.args.needed(name));
                let _ = (request.args.number(name), request.args.flag(name, true));
                let _ = request.args.texts(name);
            }
            one_line(&line::answer(&request.ticket, Err("a\nb".to_owned())));
        }
        Err(bad) => one_line(&line::complaint(&bad)),
    }
});

/// What is written is one line of JSON, whatever was read.
fn one_line(value: &serde_json::Value) {
    let text = value.to_string();
    assert!(!text.contains(['\n', '\r']), "{text}");
}
