//! `tests/traps.md` is true: every test it names exists.

use std::{fs, path::Path};

#[test]
fn every_named_test_exists() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(package.join("tests/traps.md")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() >= 17, "the table was not found");
    for row in rows {
        let named: Vec<&str> = row.split('`').filter(|word| word.contains(".rs::")).collect();
        assert!(!named.is_empty(), "no test in: {row}");
        for name in named {
            let (file, test) = name.split_once("::").unwrap();
            let source = fs::read_to_string(package.join(file)).unwrap();
            assert!(source.contains(&format!("fn {test}() {{")), "no test {name}");
        }
    }
}
