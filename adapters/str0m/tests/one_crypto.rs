//! One crypto provider in what we ship: aws-lc-rs. `ring` and OpenSSL must not come in by any
//! dependency of any package of the workspace, on any platform, with any feature.
//!
//! Asked of `cargo tree`, not of the lock file: that names `ring` for an optional dependency of
//! `rustls-webpki` that nobody switches on.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::{collections::BTreeSet, process::Command};

#[test]
fn no_second_crypto_library_is_in_the_tree() {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--workspace", "--all-features", "--target", "all"]);
    tree.args(["--edges", "all", "--prefix", "none", "--format", "{p}"]);
    let output = tree.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("aws-lc-rs") && names.contains("rustls"), "this is not our tree");
    for other in ["ring", "openssl", "openssl-sys", "boring", "boring-sys", "wolfssl"] {
        assert!(!names.contains(other), "{other} is in the tree");
    }
}
