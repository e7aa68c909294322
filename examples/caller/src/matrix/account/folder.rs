//! The folder of a login in the user's data folder: `session.json` with the access token, and the
//! SDK's store, which is not encrypted: its key would lie beside it. The folder is the user's alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use etcetera::{BaseStrategy, choose_base_strategy};
use matrix_sdk::authentication::matrix::MatrixSession;
use serde::{Deserialize, Serialize};

use crate::matrix::refusal::Refusal;

/// Where one login is kept.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// A login.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) homeserver: String,
    #[serde(flatten)]
    pub(crate) session: MatrixSession,
}

/// A profile that is held by one login.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Lets go of the profile and leaves nothing of the lock.
    pub(crate) fn release(self) -> Result<(), Refusal> {
        remove_file(&self.path).map_err(|why| said(&self.path, &why))
    }
}

impl Folder {
    /// The folder of a profile; nothing is made yet.
    pub(crate) fn of(profile: &str) -> Result<Self, Refusal> {
        let strategy = choose_base_strategy();
        let data = strategy.map_err(|why| Refusal::new(format!("no data folder: {why}")))?;
        Ok(Self(data.data_dir().join("matrix-voip-caller").join(profile)))
    }

    /// The SDK's store.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// The login that is kept; `None` without one.
    pub(crate) fn read(&self) -> Result<Option<Kept>, Refusal> {
        let file = self.session();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(said(&file, &error)),
        };
        let kept = serde_json::from_str(&text).map(Some);
        // What exactly is wrong with it may quote the token.
        kept.map_err(|_| Refusal::new(format!("{}: not a session: caller logout", file.display())))
    }

    /// Holds the profile for one login: a second one at the same time would take the store away
    /// from under the first. The lock ends with the value, or with the process.
    pub(crate) fn lock(&self) -> Result<Lock, Refusal> {
        self.make()?;
        let path = self.0.join("lock");
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|why| said(&path, &why))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { path, _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(Refusal::new("another login of this profile is under way"))
            }
            Err(TryLockError::Error(why)) => Err(said(&path, &why)),
        }
    }

    /// Removes what an earlier try has left in a locked folder.
    pub(crate) fn clear(&self) -> Result<(), Refusal> {
        let clear = || {
            remove_file(&self.session())?;
            gone(fs::remove_dir_all(self.store()))
        };
        clear().map_err(|why| said(&self.0, &why))
    }

    /// Makes the folder, for the user alone.
    fn make(&self) -> Result<(), Refusal> {
        make_private(&self.0).map_err(|why| said(&self.0, &why))
    }

    /// Keeps a login: after a crash there is the old file or the new one, whole.
    pub(crate) fn write(&self, kept: &Kept) -> Result<(), Refusal> {
        let (file, new) = (self.session(), self.0.join("session.new"));
        let write = || {
            // What a crash may have left.
            remove_file(&new)?;
            let mut open = create_private(&new)?;
            serde_json::to_writer_pretty(&open, kept)?;
            open.write_all(b"\n")?;
            open.sync_all()?;
            fs::rename(&new, &file)
        };
        write().map_err(|why| said(&file, &why))
    }

    /// Removes everything; nothing there is no error.
    pub(crate) fn remove(&self) -> Result<(), Refusal> {
        gone(fs::remove_dir_all(&self.0)).map_err(|why| said(&self.0, &why))?;
        if let Some(all) = self.0.parent() {
            // Of the last login; others keep it there.
            drop(fs::remove_dir(all));
        }
        Ok(())
    }

    fn session(&self) -> PathBuf {
        self.0.join("session.json")
    }
}

fn said(path: &Path, why: &io::Error) -> Refusal {
    Refusal::new(format!("{}: {why}", path.display()))
}

fn remove_file(path: &Path) -> io::Result<()> {
    gone(fs::remove_file(path))
}

/// What was not there is removed too.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A new file that nobody else could read at any time. Elsewhere than on Unix the user's data folder
/// is the user's alone.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The same for a folder; the folders above are as they are, or as the user's mask makes them.
fn make_private(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use matrix_sdk::{
        SessionMeta, SessionTokens,
        ruma::{DeviceId, UserId},
    };

    use super::*;

    #[test]
    fn a_profile_is_locked_for_one_login_at_a_time() {
        let folder = folder("lock");
        let lock = folder.lock().unwrap();
        assert!(folder.lock().unwrap_err().0.contains("another login"));
        drop(lock);
        drop(folder.lock().unwrap());
        folder.remove().unwrap();
    }

    fn folder(name: &str) -> Folder {
        let name = format!("caller-test-{}-{name}", std::process::id());
        Folder(std::env::temp_dir().join(name).join("default"))
    }

    fn kept() -> Kept {
        let meta = SessionMeta {
            user_id: UserId::parse("@ada:a").unwrap(),
            device_id: <&DeviceId>::from("DEVICE").to_owned(),
        };
        let tokens = SessionTokens { access_token: "token".to_owned(), refresh_token: None };
        Kept { homeserver: "http://a".to_owned(), session: MatrixSession { meta, tokens } }
    }

    #[test]
    fn a_login_is_kept_until_it_is_removed() {
        let folder = folder("kept");
        assert!(folder.read().unwrap().is_none());
        folder.make().unwrap();
        folder.write(&kept()).unwrap();
        let read = folder.read().unwrap().unwrap();
        assert_eq!((read.homeserver.as_str(), read.session), ("http://a", kept().session));
        folder.remove().unwrap();
        assert!(folder.read().unwrap().is_none());
        assert!(!folder.0.parent().unwrap().exists(), "an empty folder is left");
        folder.remove().unwrap();
    }

    #[test]
    fn a_login_replaces_another_and_what_a_crash_left() {
        let folder = folder("replaced");
        folder.make().unwrap();
        folder.write(&kept()).unwrap();
        fs::write(folder.0.join("session.new"), "half a sess").unwrap();
        let other = Kept { homeserver: "http://b".to_owned(), ..kept() };
        folder.write(&other).unwrap();
        assert_eq!(folder.read().unwrap().unwrap().homeserver, "http://b");
        folder.remove().unwrap();
    }

    #[test]
    fn other_logins_stay() {
        let folder = folder("others");
        let other = Folder(folder.0.with_file_name("work"));
        other.make().unwrap();
        other.write(&kept()).unwrap();
        folder.make().unwrap();
        folder.remove().unwrap();
        assert!(other.read().unwrap().is_some());
        other.remove().unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder("private");
        folder.make().unwrap();
        folder.write(&kept()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.0), mode(&folder.session())), (0o700, 0o600));
        folder.remove().unwrap();
    }

    #[test]
    fn a_damaged_session_is_told_and_can_be_removed() {
        let folder = folder("damaged");
        folder.make().unwrap();
        fs::write(folder.session(), "{}").unwrap();
        assert!(folder.read().unwrap_err().0.contains("not a session"));
        folder.remove().unwrap();
    }
}
