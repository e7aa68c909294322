//! Some tables stand on two pages, so that nobody has to look for the other one: they say the same.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

use std::{fs, path::Path};

/// The table under a heading of a page.
fn table(page: &str, heading: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let under = text.split_once(&format!("\n## {heading}\n")).map(|(_, under)| under);
    let under = under.unwrap_or_else(|| panic!("{page} has no heading {heading}"));
    let lines = under.lines().skip_while(|line| !line.starts_with('|'));
    lines.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

#[test]
fn both_engines_pages_say_the_same_of_what_differs_and_of_what_is_played_with_each() {
    for heading in ["Where the engines differ", "Calls with real peers"] {
        let [one, other] = ["str0m", "webrtc"]
            .map(|engine| table(&format!("adapters/{engine}/README.md"), heading));
        assert!(one.len() > 8, "{heading}: {one:#?}");
        assert_eq!(one, other, "{heading}");
    }
}
