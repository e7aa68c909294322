//! How large programs become: the same small program, a release build, without symbols.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Builds the example of this name and returns its size in MiB.
pub fn size_of(example: &str) -> f64 {
    let target = target();
    let built = Command::new(env!("CARGO"))
        .args(["rustc", "--quiet", "--release", "--locked", "--all-features"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .args(["--example", example])
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "-C", "strip=symbols"])
        .status();
    assert!(built.is_ok_and(|status| status.success()), "{example} was not built");
    let program = target.join("release/examples").join(example);
    let program = program.with_extension(env::consts::EXE_EXTENSION);
    fs::metadata(program).expect("what was built").len() as f64 / f64::from(1 << 20)
}

/// The target folder of this program: `target/release/deps/engines-…`.
fn target() -> PathBuf {
    let program = env::current_exe().expect("a program has a path");
    program.ancestors().nth(3).map(Path::to_owned).expect("cargo's folders")
}
