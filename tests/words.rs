//! Holds words to code: every name that `docs/seed-001-names.md` gives as ours exists.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

mod source;

use std::{collections::BTreeSet, fs};

/// All words of our code, comments included.
fn words() -> BTreeSet<String> {
    let files = ["src", "adapters"].into_iter().flat_map(source::files_under);
    let not_of_a_name = |letter: char| !letter.is_alphanumeric() && letter != '_';
    files
        .flat_map(|file| file.text.split(not_of_a_name).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The names in backticks of the second column of all tables, without the head lines.
fn names_in_second_column(page: &str) -> Vec<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let cells = rows.filter_map(|row| row.split('|').nth(2)).filter(|cell| cell.trim() != "Ours");
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn our_names_on_the_page_of_seed_001_exist() {
    let page = fs::read_to_string("docs/seed-001-names.md").unwrap();
    let (names, words) = (names_in_second_column(&page), words());
    assert!(names.len() > 50, "the tables were not found");
    let exists = |name: &&str| name.split("::").all(|part| words.contains(part));
    let missing: Vec<_> = names.iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
