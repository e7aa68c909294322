//! Memberships of group calls: every form of `famedly-dart.md` §2.5, read, compared with its checked-in
//! typed value, and written again in the form that we write.

use matrix_voip::wire::member::{Dialect, MemberEntry, read_members, write_members};
use serde_json::Value;

use crate::fixture::{Golden, cases, expect_text};

const FILE: &str = "members/members";

fn read(case: &Golden) -> (Dialect, Vec<MemberEntry>) {
    let dialect = Dialect::of(&case.fixture.event_type).unwrap();
    let read = read_members(dialect, &case.fixture.content.to_string());
    (dialect, read.unwrap_or_else(|why| panic!("{}: {why}", case.fixture.name)))
}

#[test]
fn every_form_of_a_membership_is_read_as_its_checked_in_value() {
    let mut text = String::new();
    for case in cases(FILE) {
        text += &format!("# {}\n", case.fixture.name);
        for MemberEntry { membership, .. } in read(&case).1 {
            text += &match membership {
                Ok(membership) => format!("{membership:#?}\n"),
                Err(why) => format!("malformed: {why}\n"),
            };
        }
        text += "\n";
    }
    expect_text(FILE, &text);
}

#[test]
fn every_form_of_a_membership_is_written_in_ours() {
    for case in cases(FILE) {
        let (dialect, entries) = read(&case);
        let ours: Vec<_> = entries.into_iter().filter_map(|entry| entry.membership.ok()).collect();
        let written = write_members(dialect, &ours, []);
        let (_, expected) = case.written.unwrap().unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(written, expected, "{}", case.fixture.name);
        let again = read_members(dialect, &written.to_string()).unwrap();
        let again: Vec<_> = again.into_iter().filter_map(|entry| entry.membership.ok()).collect();
        assert_eq!(again, ours, "{}", case.fixture.name);
    }
}
