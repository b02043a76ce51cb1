//! The one configuration file. Defaults, then the file, then environment and flags.

use crate::{
    dirs::Dirs,
    failure::{Attempt, Failure, Outcome},
    hours::Hours,
};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

/// Everything that can be configured. An unknown key is an error: a typo must not go unnoticed.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) cache: Cache,
    pub(crate) read: Read,
    pub(crate) upload: Upload,
    pub(crate) download: Download,
    pub(crate) cloud: Cloud,
    pub(crate) mount: MountSection,
    pub(crate) brake: Brake,
    pub(crate) stop: Stop,
    pub(crate) notify: Notify,
    pub(crate) log: Log,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cache {
    /// Local bytes of a drive; hard. For those with a small disk, or a large one.
    pub(crate) size: Size,
    /// Bytes that stay free on the disk whatever `size` says.
    pub(crate) floor: Size,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Read {
    /// How long a read of bytes that are not here may take before it fails.
    pub(crate) deadline: Span,
    /// The same while the store is known to be out of reach.
    pub(crate) offline_deadline: Span,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Upload {
    /// Quiet time after the last close before a file is sent.
    pub(crate) settle: Span,
    /// Bytes a second; absent: as fast as it goes.
    pub(crate) limit: Option<Size>,
    /// Hours of the day with a limit of their own.
    pub(crate) hours: Vec<Hours>,
}

#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Download {
    /// Bytes a second; absent: as fast as it goes.
    pub(crate) limit: Option<Size>,
    /// Hours of the day with a limit of their own.
    pub(crate) hours: Vec<Hours>,
}

/// Who is told what needs a person.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Notify {
    /// A program and its arguments, run with a sentence as its last one; empty: nobody is told.
    pub(crate) command: Vec<String>,
}

#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cloud {
    /// A PEM file of certificates to trust beside the system's, for a store of one's own.
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MountSection {
    /// Threads that answer the kernel, 1 to 8.
    pub(crate) threads: u8,
    /// Let other users of this machine into the drive.
    pub(crate) allow_other: bool,
    /// Let the kernel read and write whole local files by itself, where it can.
    pub(crate) passthrough: bool,
}

/// When removing or rewriting much at once waits for a person.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Brake {
    /// Percent of the drive's files and folders, 1 to 100; 0: never.
    pub(crate) share: u64,
    /// So many at least: small drives are not held for little.
    pub(crate) least: u64,
    /// Within this time.
    pub(crate) window: Span,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Stop {
    /// How long SIGTERM and SIGINT wait for unsent changes; what is left is sent by the next mount.
    pub(crate) deadline: Span,
    /// Ask systemd, where it runs, not to shut down while changes are on their way.
    pub(crate) inhibit: bool,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// A `tracing` filter: `warn`, `info`, `debug`, `info,engine=debug`.
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Default for Cache {
    fn default() -> Cache {
        let limits = fs_core::Limits::default();
        Cache { size: Size(limits.cache_bytes), floor: Size(limits.disk_floor) }
    }
}

impl Default for Read {
    fn default() -> Read {
        let limits = fs_core::Limits::default();
        Read {
            deadline: Span(Duration::from_millis(limits.read_deadline_ms)),
            offline_deadline: Span(Duration::from_millis(limits.offline_deadline_ms)),
        }
    }
}

impl Default for Upload {
    fn default() -> Upload {
        let settle = fs_core::Limits::default().settle_ms;
        Upload { settle: Span(Duration::from_millis(settle)), limit: None, hours: Vec::new() }
    }
}

impl Default for MountSection {
    fn default() -> MountSection {
        MountSection { threads: 2, allow_other: false, passthrough: true }
    }
}

impl Default for Brake {
    fn default() -> Brake {
        let limits = fs_core::Limits::default();
        Brake {
            share: limits.mass_percent,
            least: limits.mass_least,
            window: Span(Duration::from_millis(limits.mass_window_ms)),
        }
    }
}

impl Default for Stop {
    fn default() -> Stop {
        Stop { deadline: Span(Duration::from_secs(60)), inhibit: true }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info".into(), format: LogFormat::Text }
    }
}

/// A number of bytes: `10 GiB`, `500 MB`, `4096`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        text.trim()
            .parse::<bytesize::ByteSize>()
            .map(|size| Size(size.as_u64()))
            .map_err(|_| format!("`{text}` is not a size; write it like 10GiB or 500MB"))
    }
}

impl TryFrom<toml::Value> for Size {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Size, String> {
        match &value {
            toml::Value::String(text) => text.parse(),
            toml::Value::Integer(bytes) => u64::try_from(*bytes)
                .map(Size)
                .map_err(|_| format!("`{bytes}` is not a size: it is negative")),
            other => Err(format!("a size is text like \"10 GiB\" or a number, not {other}")),
        }
    }
}

/// A length of time: `250ms`, `30s`, `2m`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    pub(crate) fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        text.trim()
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|span| Duration::try_from(span).ok())
            .map(Span)
            .ok_or_else(|| format!("`{text}` is not a length of time; write it like 250ms or 30s"))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Span, String> {
        text.parse()
    }
}

impl Config {
    /// Reads `file` if it was named (then it must be there), else the default file if it is there.
    pub(crate) fn load(file: Option<&Path>, dirs: &Dirs) -> Outcome<Config> {
        let default = dirs.config_file();
        let path = file.unwrap_or(&default);
        match fs::read_to_string(path) {
            Ok(text) => Config::parse(&text, path),
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Config::default())
            }
            Err(error) => {
                let mut failure = Err::<(), _>(error)
                    .attempt(|| format!("cannot read the configuration {}", path.display()))
                    .err()
                    .unwrap_or_else(|| Failure::general("unreadable"));
                failure.kind = crate::failure::Kind::Usage;
                Err(failure)
            }
        }
    }

    fn parse(text: &str, path: &Path) -> Outcome<Config> {
        let config: Config = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + newlines(&text[..span.start]));
            Failure::usage(format!("{}:{line}: {}", path.display(), error.message().trim()))
                .hint("correct that line of the configuration, or remove it to get the default")
        })?;
        config.check().map_err(|why| {
            Failure::usage(format!("{}: {why}", path.display())).hint("correct it and start again")
        })?;
        Ok(config)
    }

    /// Bounds that a single value's type cannot express.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.cache.size.0 < CACHE_MIN {
            return Err(format!("cache.size is below {CACHE_MIN} bytes (16 MiB)"));
        }
        if !(1..=8).contains(&self.mount.threads) {
            return Err("mount.threads is not between 1 and 8".into());
        }
        let hours = |hours: &[Hours]| hours.iter().map(|hours| hours.limit).collect::<Vec<_>>();
        for (key, limits) in [
            ("upload.limit", vec![self.upload.limit]),
            ("upload.hours", hours(&self.upload.hours)),
            ("download.limit", vec![self.download.limit]),
            ("download.hours", hours(&self.download.hours)),
        ] {
            if limits.iter().flatten().any(|limit| limit.0 < RATE_MIN) {
                return Err(format!("{key} is below {RATE_MIN} bytes a second (16 KiB)"));
            }
        }
        if self.brake.share > 100 {
            return Err("brake.share is above 100 percent".into());
        }
        if self.read.deadline.0.is_zero() || self.read.offline_deadline.0.is_zero() {
            return Err("read.deadline and read.offline_deadline must be above zero".into());
        }
        Ok(())
    }
}

/// The smallest cache that still holds a read-ahead window.
const CACHE_MIN: u64 = 16 << 20;
/// The lowest rate limit: below it a single request would outlive its deadline.
const RATE_MIN: u64 = 16 << 10;

fn newlines(text: &str) -> usize {
    text.bytes().filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/c.toml")).map_err(|failure| failure.render())
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn the_example_is_the_defaults() {
        assert_eq!(parse(include_str!("../config.example.toml")).unwrap(), Config::default());
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(
            r#"
            [cache]
            size = "2 GiB"
            floor = 4096
            [read]
            deadline = "10s"
            offline_deadline = "500ms"
            [upload]
            settle = "1s"
            limit = "1 MB"
            hours = [{ from = "08:00", to = "18:00", limit = "500 kB" }]
            [download]
            limit = "2 MB"
            hours = [{ from = "22:00", to = "06:00" }]
            [cloud]
            ca_file = "/etc/ca.pem"
            [mount]
            threads = 4
            allow_other = true
            passthrough = false
            [stop]
            deadline = "2m"
            inhibit = false
            [notify]
            command = ["notify-send", "Meshdrive"]
            [log]
            level = "debug"
            format = "json"
            "#,
        )
        .unwrap();
        assert_eq!(config.cache, Cache { size: Size(2 << 30), floor: Size(4096) });
        assert_eq!(config.read.deadline.millis(), 10_000);
        assert_eq!(config.upload.limit, Some(Size(1_000_000)));
        assert_eq!(config.download.limit, Some(Size(2_000_000)));
        assert_eq!(config.cloud.ca_file, Some("/etc/ca.pem".into()));
        let mount = MountSection { threads: 4, allow_other: true, passthrough: false };
        assert_eq!(config.mount, mount);
        assert_eq!(config.stop.deadline.millis(), 120_000);
        assert!(!config.stop.inhibit);
        assert_eq!(config.notify.command, ["notify-send", "Meshdrive"]);
        assert_eq!(config.upload.hours[0].limit, Some(Size(500_000)));
        assert_eq!(config.download.hours[0].limit, None);
        assert_eq!(config.log.format, LogFormat::Json);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line, word) in [
            ("\n[cache]\nsise = 1\n", 3, "sise"),
            ("[cachee]\n", 1, "cachee"),
            ("[cache]\nsize = \"lots\"\n", 2, "not a size"),
            ("[cache]\nsize = -1\n", 2, "negative"),
            ("[read]\ndeadline = \"soon\"\n", 2, "length of time"),
            ("[read]\ndeadline = \"-3s\"\n", 2, "length of time"),
            ("[log]\nformat = \"xml\"\n", 2, "xml"),
            ("[log\n", 1, ""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("/c.toml:{line}: ")), "{text:?}: {error}");
            assert!(error.contains(word), "{text:?}: {error}");
        }
    }

    #[test]
    fn bounds_are_checked() {
        for text in [
            "[cache]\nsize = 1\n",
            "[mount]\nthreads = 0\n",
            "[upload]\nlimit = 1\n",
            "[download]\nhours = [{ from = \"08:00\", to = \"09:00\", limit = 1 }]\n",
            "[read]\ndeadline = \"0s\"\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
