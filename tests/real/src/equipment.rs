//! Where the programs are that `tests/real/setup` has installed, or what is missing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::failure::Missing;

/// The first version of Node that the browser peer runs on.
const NODE: u32 = 20;

/// Every program that the servers and the browser peer need, found.
#[derive(Debug, Clone)]
pub struct Equipment {
    /// The Python that has Synapse.
    pub python: PathBuf,
    /// coturn.
    pub turnserver: PathBuf,
    /// Runs the browser peer.
    pub node: PathBuf,
    /// The folder whose `node_modules` the browser peer uses.
    pub modules: PathBuf,
    /// The browser.
    pub chromium: PathBuf,
}

impl Equipment {
    /// Looks for all of it.
    ///
    /// # Errors
    ///
    /// The first thing that is not there.
    pub fn find() -> Result<Self, Missing> {
        let cache = cache();
        Ok(Self {
            python: installed(
                "Synapse",
                &cache.join("synapse"),
                "requirements.txt",
                include_str!("../requirements.txt"),
            )?
            .join("bin/python"),
            modules: installed(
                "matrix-js-sdk",
                &cache.join("browser-peer"),
                "package-lock.json",
                include_str!("../browser-peer/package-lock.json"),
            )?,
            node: node()?,
            chromium: program("chromium", "Chromium")?,
            turnserver: program("turnserver", "coturn")?,
        })
    }
}

/// What a sound server of a test's own needs, and the voices that are heard there.
#[derive(Debug, Clone)]
pub struct SoundEquipment {
    pub(crate) pulseaudio: PathBuf,
    pub(crate) pactl: PathBuf,
    pub(crate) pacat: PathBuf,
    pub(crate) parec: PathBuf,
    pub(crate) espeak: PathBuf,
}

impl SoundEquipment {
    /// Looks for it.
    ///
    /// # Errors
    ///
    /// The first thing that is not there.
    pub fn find() -> Result<Self, Missing> {
        let tool = |name| program(name, "PulseAudio");
        Ok(Self {
            pulseaudio: tool("pulseaudio")?,
            pactl: tool("pactl")?,
            pacat: tool("pacat")?,
            parec: tool("parec")?,
            espeak: program("espeak-ng", "espeak-ng")?,
        })
    }
}

/// What the frame judge needs: it asks for no server and no browser.
#[derive(Debug, Clone)]
pub(crate) struct JudgeEquipment {
    /// Runs the judge.
    pub(crate) node: PathBuf,
    /// The folder whose `node_modules` the judge uses.
    pub(crate) modules: PathBuf,
}

impl JudgeEquipment {
    /// Looks for it.
    ///
    /// # Errors
    ///
    /// The first thing that is not there.
    pub(crate) fn find() -> Result<Self, Missing> {
        let modules = installed(
            "livekit-client",
            &cache().join("frame-judge"),
            "package-lock.json",
            include_str!("../frame-judge/package-lock.json"),
        )?;
        Ok(Self { node: node()?, modules })
    }
}

/// The folder of the user's cache that is ours.
#[must_use]
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/tmp".into()));
    let cache = env::var_os("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
    cache.join("matrix-voip/real")
}

/// The program of that name, if there is one.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // Debian keeps some of ours where a user's PATH may not lead.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder: PathBuf| folder.join(name)).find(|file| file.is_file())
}

pub(crate) fn program(name: &str, what: &'static str) -> Result<PathBuf, Missing> {
    which(name).ok_or_else(|| not_set_up(what))
}

/// The folder, if set-up has finished there with the list that this checkout has.
fn installed(
    what: &'static str,
    folder: &Path,
    list: &str,
    wanted: &str,
) -> Result<PathBuf, Missing> {
    let there = fs::read_to_string(folder.join(list)).is_ok_and(|there| there == wanted);
    there.then(|| folder.to_owned()).ok_or_else(|| not_set_up(what))
}

fn not_set_up(what: &'static str) -> Missing {
    let log = cache().join("setup.log");
    let why = format!("not installed; tests/run does it, and {} says why not", log.display());
    Missing { what, why }
}

fn node() -> Result<PathBuf, Missing> {
    let missing = |why: String| Missing { what: "Node", why };
    let node = which("node").ok_or_else(|| missing(format!("version {NODE} is needed")))?;
    let told = Command::new(&node).arg("--version").output();
    let told = told.map_or_else(|_| String::new(), |told| text(&told.stdout));
    match major(&told) {
        Some(major) if major >= NODE => Ok(node),
        _ => Err(missing(format!("version {NODE} is needed, {} is {told:?}", node.display()))),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// "v20.20.2" is 20.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn the_version_of_node_is_its_first_number() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("20.20.2"), None);
        assert_eq!(major(""), None);
    }
}
