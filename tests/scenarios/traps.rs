//! `tests/traps.md` is true: every trap of this part has tests, and every test it names exists.

use std::{fs, path::Path};

const TRAPS: [&str; 45] = [
    "T-1", "T-2", "T-5", "T-6", "T-7", "T-8", "T-9", "T-10", "T-11", "T-12", "T-14", "T-15",
    "T-16", "T-18a", "T-19", "T-27", "T-28", "T-29a", "T-29b", "T-29c", "T-29d", "T-29e", "T-29f",
    "T-29g", "T-29h", "T-30", "T-31", "T-32", "T-33", "T-34", "T-35", "T-36", "T-37", "T-38",
    "T-39", "T-40", "T-41", "T-42", "T-43", "T-44", "T-46", "T-47", "T-48", "T-49", "T-50",
];

#[test]
fn every_trap_has_a_test_and_every_named_test_exists() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let table = fs::read_to_string(tests.join("traps.md")).unwrap();
    for trap in TRAPS {
        let row = table.lines().find(|line| line.starts_with(&format!("| {trap} |")));
        let row = row.unwrap_or_else(|| panic!("{trap} has no row"));
        let named: Vec<&str> = row.split('`').filter(|word| word.contains("::")).collect();
        assert!(!named.is_empty(), "{trap} names no test");
        for name in named {
            let (file, test) = name.split_once("::").unwrap();
            let source = fs::read_to_string(tests.join(format!("scenarios/{file}.rs"))).unwrap();
            let attributed = format!("#[test]\nfn {test}() {{");
            assert!(source.contains(&attributed), "{trap}: no test {name}");
        }
    }
}
