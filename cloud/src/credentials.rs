//! What a device must keep to use its drive, and the file it is kept in.

use crate::keys::DriveKey;
use fs_core::{CloudError, CloudErrorKind};
use protocol::codec::{hex, unhex};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use zeroize::Zeroizing;

const HEADING: &str = "# Meshdrive credentials 1: whoever has this file can read the drive";
/// Bytes of a credentials file that are read at most.
const FILE_BYTES: u64 = 64 << 10;

/// A device's membership of a drive.
#[derive(Clone)]
pub struct Credentials {
    /// `https://host[:port]`
    pub server: String,
    pub drive: [u8; 16],
    pub device: [u8; 16],
    /// What people call this device; conflict copies carry it.
    pub device_name: String,
    /// The drive's label, for people.
    pub label: String,
    pub(crate) token: Zeroizing<String>,
    pub(crate) key: DriveKey,
    /// The drive's parameters as they were sealed with its key.
    pub(crate) params: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("server", &self.server)
            .field("drive", &hex(&self.drive))
            .field("device", &hex(&self.device))
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// The bearer token, for the program's own calls to the same server.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Writes the file anew: readable by its owner only, whole or not at all, durable.
    ///
    /// # Errors
    /// Any failure of the disk, naming the file.
    pub fn save(&self, path: &Path) -> Result<(), CloudError> {
        let failed = |error: std::io::Error| {
            local(path, &format!("cannot be written ({error}); check the folder and its space"))
        };
        let draft = path.with_extension("new");
        // A draft left by a crash may have any mode: never write secrets into it.
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let mut file = create_private(&draft).map_err(failed)?;
        file.write_all(self.encode().as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        drop(file);
        std::fs::rename(&draft, path).map_err(failed)?;
        sync_folder(path).map_err(failed)
    }

    /// Reads a file that [`Credentials::save`] wrote.
    ///
    /// # Errors
    /// No such file, a file that others can read, or one that is damaged.
    pub fn load(path: &Path) -> Result<Credentials, CloudError> {
        let failed = |error: std::io::Error| local(path, &format!("cannot be read ({error})"));
        let file = File::open(path).map_err(failed)?;
        check_private(&file, path)?;
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
        Credentials::decode(&text).ok_or_else(|| {
            local(path, "is damaged or from a newer Meshdrive; move it away and join the drive again with a code")
        })
    }

    fn encode(&self) -> Zeroizing<String> {
        let lines = [
            ("server", self.server.clone()),
            ("label", one_line(&self.label)),
            ("drive", hex(&self.drive)),
            ("device", hex(&self.device)),
            ("name", one_line(&self.device_name)),
            ("params", hex(&self.params)),
        ];
        let mut text = Zeroizing::new(format!("{HEADING}\n"));
        for (name, value) in lines {
            text.push_str(&format!("{name} = {value}\n"));
        }
        for (name, secret) in
            [("token", &self.token), ("key", &Zeroizing::new(hex(self.key.bytes())))]
        {
            text.push_str(name);
            text.push_str(" = ");
            text.push_str(secret);
            text.push('\n');
        }
        text
    }

    fn decode(text: &str) -> Option<Credentials> {
        let (heading, rest) = text.split_once('\n')?;
        if heading.trim_end() != HEADING {
            return None;
        }
        let field = |name: &str| {
            let mut values = rest.lines().filter_map(|line| {
                let (found, value) = line.split_once('=')?;
                (found.trim() == name).then(|| value.trim().to_owned())
            });
            values.next()
        };
        Some(Credentials {
            server: field("server")?,
            label: field("label")?,
            drive: unhex(&field("drive")?)?,
            device: unhex(&field("device")?)?,
            device_name: field("name")?,
            params: unhex_any(&field("params")?)?,
            token: Zeroizing::new(field("token")?),
            key: DriveKey::from_bytes(unhex(&Zeroizing::new(field("key")?))?),
        })
    }
}

fn local(path: &Path, why: &str) -> CloudError {
    let text = format!("credentials file {} {why}", path.display());
    CloudError::new(CloudErrorKind::Local, text)
}

/// A label is text from elsewhere: it must not add lines to the file.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn unhex_any(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| unhex::<1>(std::str::from_utf8(pair).ok()?).map(|[byte]| byte)).collect()
}

fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Refuses a file that others can read, as its secrets are then known to them.
fn check_private(file: &File, path: &Path) -> Result<(), CloudError> {
    #[cfg(unix)]
    {
        let failed = |error: std::io::Error| local(path, &format!("cannot be read ({error})"));
        let meta = file.metadata().map_err(failed)?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
        if mode & 0o077 != 0 {
            return Err(local(path, "can be read by others; make it yours alone: chmod 600"));
        }
    }
    let _ = (file, path);
    Ok(())
}

/// Makes the rename durable.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    let _ = path;
    Ok(())
}
