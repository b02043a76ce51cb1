//! Where Meshdrive keeps things: XDG directories, on Windows the local application data, or everything
//! below `MESHDRIVE_HOME`.

pub(crate) use crate::system::private_dir;
use crate::{
    failure::{Attempt, Failure, Outcome},
    system,
};
use etcetera::BaseStrategy;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Bytes of a Unix socket's path (Linux `sun_path` less its NUL).
#[cfg(unix)]
const SOCKET_PATH_MAX: usize = 107;

/// Set for the daemons of a supervisor: the folder that its `mount` was started in, which is what relative
/// paths of its command line are relative to.
pub(crate) const STARTED_IN: &str = "MESHDRIVE_STARTED_IN";

/// The folder that relative paths are relative to.
#[cfg(unix)]
pub(crate) fn working_directory() -> Outcome<PathBuf> {
    match std::env::var_os(STARTED_IN) {
        Some(folder) => Ok(folder.into()),
        None => std::env::current_dir().attempt(|| "cannot find the working directory".into()),
    }
}

/// The path from the root, whatever the working directory becomes.
pub(crate) fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    match std::env::var_os(STARTED_IN) {
        Some(folder) => std::path::absolute(Path::new(&folder).join(path)),
        None => std::path::absolute(path),
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Dirs {
    config: PathBuf,
    state: PathBuf,
    /// For what people look for.
    #[cfg(unix)]
    data: PathBuf,
    /// `None` when there is no runtime directory; then sockets live with the state.
    runtime: Option<PathBuf>,
}

impl Dirs {
    /// `home` is `MESHDRIVE_HOME`: one root for all directories.
    pub(crate) fn new(home: Option<&Path>) -> Outcome<Dirs> {
        if let Some(home) = home {
            let home = absolute(home)
                .attempt(|| format!("cannot resolve MESHDRIVE_HOME {}", home.display()))?;
            return Ok(Dirs {
                config: home.join("config"),
                state: home.join("state"),
                #[cfg(unix)]
                data: home.clone(),
                runtime: Some(home.join("run")),
            });
        }
        Dirs::of_the_system().map_err(|error| {
            Failure::general(format!("cannot find the home directory: {error}"))
                .hint("set HOME, or MESHDRIVE_HOME to keep everything in one directory")
        })
    }

    #[cfg(unix)]
    fn of_the_system() -> Result<Dirs, etcetera::HomeDirError> {
        let xdg = etcetera::base_strategy::Xdg::new()?;
        let state = xdg.state_dir().unwrap_or_else(|| xdg.data_dir());
        Ok(Dirs {
            config: xdg.config_dir().join("meshdrive"),
            state: state.join("meshdrive"),
            data: xdg.data_dir().join("meshdrive"),
            runtime: xdg.runtime_dir().map(|dir| dir.join("meshdrive")),
        })
    }

    /// All of it on this computer: keys belong to a device, and must not roam with the user's profile.
    #[cfg(windows)]
    fn of_the_system() -> Result<Dirs, etcetera::HomeDirError> {
        let local = etcetera::base_strategy::Windows::new()?.cache_dir().join("Meshdrive");
        Ok(Dirs { config: local.join("config"), state: local.join("state"), runtime: None })
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    pub(crate) fn drives_dir(&self) -> PathBuf {
        self.config.join("drives")
    }

    pub(crate) fn credentials(&self, label: &Label) -> PathBuf {
        self.drives_dir().join(format!("{label}.credentials"))
    }

    pub(crate) fn state_root(&self) -> &Path {
        &self.state
    }

    /// Index, contents, log and lock of one drive.
    pub(crate) fn drive_state(&self, label: &Label) -> PathBuf {
        self.state.join(label.as_str())
    }

    /// What was taken out of a drive that could not send it.
    #[cfg(unix)]
    pub(crate) fn recovered(&self, label: &Label) -> PathBuf {
        self.data.join("Recovered").join(label.as_str())
    }

    pub(crate) fn log_file(&self, label: &Label) -> PathBuf {
        self.drive_state(label).join("meshdrive.log")
    }

    pub(crate) fn lock_file(&self, label: &Label) -> PathBuf {
        self.drive_state(label).join("daemon.lock")
    }

    /// Held by the supervisor of the drive's mount.
    pub(crate) fn supervisor_lock(&self, label: &Label) -> PathBuf {
        self.drive_state(label).join("supervisor.lock")
    }

    /// Held while somebody starts a new daemon when this one ends, or while the only one there is runs.
    pub(crate) fn successor_lock(&self, label: &Label) -> PathBuf {
        if cfg!(unix) { self.supervisor_lock(label) } else { self.lock_file(label) }
    }

    /// Why the supervisor gave the mount up, until it is mounted again.
    pub(crate) fn given_up(&self, label: &Label) -> PathBuf {
        self.drive_state(label).join("given-up")
    }

    /// Where the drive's daemon has mounted it: tells our mounts from those of other users and homes,
    /// who may have given a drive the same name.
    pub(crate) fn mount_record(&self, label: &Label) -> PathBuf {
        self.drive_state(label).join("mountpoint")
    }

    /// The control pipe: its name tells apart the homes of one computer.
    #[cfg(windows)]
    pub(crate) fn socket(&self, label: &Label) -> PathBuf {
        let home = self.state.to_string_lossy().to_lowercase();
        // FNV-1a, 64 bits: the same for every version of the program.
        let hash = home.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        PathBuf::from(format!(r"\\.\pipe\meshdrive-{hash:016x}-{label}"))
    }

    /// The control socket. A path that is too long for a socket (or no runtime directory) moves it
    /// to the state directory.
    #[cfg(unix)]
    pub(crate) fn socket(&self, label: &Label) -> PathBuf {
        if let Some(runtime) = &self.runtime {
            let path = runtime.join(format!("{label}.sock"));
            if path.as_os_str().len() <= SOCKET_PATH_MAX {
                return path;
            }
        }
        self.drive_state(label).join("control.sock")
    }
}

/// The name a drive has on this device: the user's word for it, safe as a file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Label(String);

/// Bytes of a label; `{label}.credentials` and the socket's name must fit anywhere.
const LABEL_MAX: usize = 64;

impl Label {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Label, String> {
        let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > LABEL_MAX {
            return Err(format!("a drive's name has 1 to {LABEL_MAX} bytes"));
        }
        if text.starts_with(['.', '-']) || !text.chars().all(legal) {
            return Err("a drive's name has letters, digits, `-`, `_` and `.`, \
                        and starts with a letter, a digit or `_`"
                .into());
        }
        Ok(Label(text.into()))
    }
}

/// Writes a file that only its owner may read, replacing what was there in one step.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Outcome {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = system::private_file().write(true).create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, path)
    };
    write().attempt(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_safe_file_names() {
        for good in ["work", "Work-2", "büro", "_x", "a.b"] {
            assert!(good.parse::<Label>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-x", ".x", "a/b", "a b", "a\nb", &"x".repeat(65)] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn one_home_holds_everything() {
        let dirs = Dirs::new(Some(Path::new("/h"))).unwrap();
        let label: Label = "work".parse().unwrap();
        assert_eq!(dirs.credentials(&label), Path::new("/h/config/drives/work.credentials"));
        assert_eq!(dirs.drive_state(&label), Path::new("/h/state/work"));
        assert_eq!(dirs.socket(&label), Path::new("/h/run/work.sock"));
    }

    #[cfg(windows)]
    #[test]
    fn homes_have_control_pipes_of_their_own() {
        let label: Label = "work".parse().unwrap();
        let pipe = |home| Dirs::new(Some(Path::new(home))).unwrap().socket(&label);
        assert_eq!(pipe("C:\\Home"), pipe("c:\\home"));
        assert_ne!(pipe("C:\\home"), pipe("C:\\other"));
        let name = pipe("C:\\home");
        assert!(
            name.to_str().unwrap().starts_with("\\\\.\\pipe\\meshdrive-"),
            "{}",
            name.display()
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_long_home_keeps_the_socket_with_the_state() {
        let home = format!("/{}", "x".repeat(96));
        let dirs = Dirs::new(Some(Path::new(&home))).unwrap();
        let socket = dirs.socket(&"tax".parse().unwrap());
        assert!(socket.ends_with("state/tax/control.sock"), "{}", socket.display());
    }

    #[cfg(unix)]
    #[test]
    fn private_things_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        private_dir(&dir).unwrap();
        let file = dir.join("secret");
        write_private(&file, b"one").unwrap();
        write_private(&file, b"two").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
        assert_eq!(fs::read(&file).unwrap(), b"two");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
    }
}
