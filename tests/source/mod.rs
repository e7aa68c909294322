//! Our own source files, as the tests about source read them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file: its path from the root of the workspace, and its text.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// All Rust files under `folder`, tests left out, sorted by path.
///
/// Tests are files named `tests.rs` or `*_tests.rs`, and everything in folders `tests` and
/// `benches`.
pub(crate) fn files_under(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths);
    paths.sort();
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root).unwrap().to_owned(),
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["tests", "benches", "target"].contains(&name) {
                collect(&path, paths);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            paths.push(path);
        }
    }
}
