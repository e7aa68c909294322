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

/// All Rust files under `folder`, sorted by path, tests left out.
///
/// Tests are everything in folders `tests` and `benches`, and the files of modules that are
/// declared under `#[cfg(test)]`.
pub(crate) fn files_under(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths);
    paths.sort();
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root).unwrap().to_owned(),
    };
    let mut files: Vec<_> = paths.into_iter().map(read).collect();
    let tests: Vec<_> = files.iter().flat_map(test_modules).collect();
    files.retain(|file| !tests.iter().any(|test| file.path.starts_with(test)));
    files.retain(|file| !tests.contains(&file.path.with_extension("")));
    files
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["tests", "benches", "target"].contains(&name) {
                collect(&path, paths);
            }
        } else if name.ends_with(".rs") {
            paths.push(path);
        }
    }
}

/// The modules that the file declares for tests only, as paths without ending.
fn test_modules(file: &Source) -> Vec<PathBuf> {
    let own = file.path.with_extension("");
    let inside = match own.file_name().unwrap().to_str().unwrap() {
        "mod" | "lib" | "main" => own.parent().unwrap(),
        _ => own.as_path(),
    };
    let lines: Vec<_> = file.text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
    let names = declared.filter_map(|pair| pair[1].strip_suffix(';')?.split_once("mod "));
    names.map(|(_, name)| inside.join(name)).collect()
}
