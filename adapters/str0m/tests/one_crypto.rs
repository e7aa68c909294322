//! One crypto provider in what we ship: aws-lc-rs. `ring` and OpenSSL must not come in by any
//! dependency of any package of the workspace.

#![allow(clippy::unwrap_used, reason = "a test program")]

#[test]
fn no_second_crypto_library_is_in_the_lock_file() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
    let lock = std::fs::read_to_string(lock).unwrap();
    let names: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
    assert!(names.contains(&"\"aws-lc-rs\""), "this is not our lock file");
    for other in ["ring", "openssl", "openssl-sys", "boring", "boring-sys", "wolfssl"] {
        assert!(!names.contains(&format!("\"{other}\"").as_str()), "{other} is in the tree");
    }
}
