//! The folder of a login in the user's data folder: `session.json`, readable by the user alone, and
//! the SDK's store.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use etcetera::{BaseStrategy, choose_base_strategy};
use matrix_sdk::{
    SessionMeta, SessionTokens,
    authentication::matrix::MatrixSession,
    ruma::{DeviceId, UserId},
};
use serde_json::{Value, json};

use crate::matrix::refusal::Refusal;

/// Where one login is kept.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// A login.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) homeserver: String,
    pub(crate) session: MatrixSession,
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
        let kept = serde_json::from_str(&text).ok().and_then(|value| read(&value));
        let broken = || Refusal::new(format!("{}: not a session: caller logout", file.display()));
        kept.map(Some).ok_or_else(broken)
    }

    /// Makes the folder, for the user alone.
    pub(crate) fn make(&self) -> Result<(), Refusal> {
        fs::create_dir_all(&self.0).map_err(|why| said(&self.0, &why))?;
        private(&self.0, 0o700).map_err(|why| said(&self.0, &why))
    }

    /// Keeps a login.
    pub(crate) fn write(&self, kept: &Kept) -> Result<(), Refusal> {
        let (file, new) = (self.session(), self.0.join("session.new"));
        let MatrixSession { meta, tokens } = &kept.session;
        let text = json!({
            "homeserver": kept.homeserver,
            "user_id": meta.user_id,
            "device_id": meta.device_id,
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
        });
        fs::write(&new, format!("{text:#}\n"))
            .and_then(|()| private(&new, 0o600))
            .and_then(|()| fs::rename(&new, &file))
            .map_err(|why| said(&file, &why))
    }

    /// Removes everything; nothing there is no error.
    pub(crate) fn remove(&self) -> Result<(), Refusal> {
        match fs::remove_dir_all(&self.0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(said(&self.0, &error)),
        }
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

fn read(value: &Value) -> Option<Kept> {
    let text = |name: &str| value[name].as_str();
    let user_id = UserId::parse(text("user_id")?).ok()?;
    let device_id = <&DeviceId>::from(text("device_id")?).to_owned();
    let tokens = SessionTokens {
        access_token: text("access_token")?.to_owned(),
        refresh_token: text("refresh_token").map(str::to_owned),
    };
    let session = MatrixSession { meta: SessionMeta { user_id, device_id }, tokens };
    Some(Kept { homeserver: text("homeserver")?.to_owned(), session })
}

fn said(path: &Path, why: &io::Error) -> Refusal {
    Refusal::new(format!("{}: {why}", path.display()))
}

#[cfg(unix)]
fn private(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Elsewhere the user's data folder is the user's alone.
#[cfg(not(unix))]
fn private(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
