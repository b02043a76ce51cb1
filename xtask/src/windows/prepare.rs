//! The Windows target, prepared once for each compiler and kept outside the tree: Debian's MinGW and Wine,
//! the standard library built from Debian's copy of its sources for exactly this compiler, and a Wine
//! prefix. Nothing of the toolchain or of the system's package sources is changed.

use super::TRIPLE;
use crate::{
    packages::{self, on_path},
    report::run,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

/// Where Debian keeps it; the package has no program of that name on the PATH.
pub(super) const WINE: &str = "/usr/lib/wine/wine64";
const WINESERVER: &str = "/usr/lib/wine/wineserver64";
const COMPILER: &str = "x86_64-w64-mingw32-gcc-posix";
const PACKAGES: &str = "gcc-mingw-w64-x86-64-posix g++-mingw-w64-x86-64-posix wine64";
/// The suite whose package has the sources of the standard library for current compilers.
const SOURCES_SUITE: &str = "trixie-backports";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Stands in for a library that Wine 8 lacks.
const PRNG: &str = include_str!("bcryptprimitives.c");

/// In a folder that was made wholly.
const READY: &str = ".ready";

pub(super) struct Target {
    pub(super) sysroot: PathBuf,
    pub(super) prefix: PathBuf,
}

/// # Errors
/// When it cannot be had here; says what is missing.
pub(super) fn prepare() -> Result<Target> {
    ensure!(cfg!(target_os = "linux"), "it is cross-compiled on Linux only");
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    // Two first preparations at once would spoil each other's.
    let lock = File::create(cache.join("lock"))?;
    lock.lock().context("waiting for another preparation")?;
    install_packages()?;
    let version = compiler_version()?;
    let sysroot =
        built_before(&cache, &version).map_or_else(|| new_sysroot(&cache, &version), Ok)?;
    let prefix = cache.join("prefix");
    once(&sysroot, || build_std(&cache, &version, &sysroot))?;
    once(&prefix, || make_prefix(&prefix))?;
    Ok(Target { sysroot, prefix })
}

/// A new folder for each build of the standard library: cargo takes what was compiled with another one
/// for its own if only the path is the same.
fn new_sysroot(cache: &Path, version: &str) -> Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(cache.join(format!("sysroot-{version}-{now}")))
}

fn built_before(cache: &Path, version: &str) -> Option<PathBuf> {
    let start = format!("sysroot-{version}-");
    let is_wanted = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&start)) && path.join(READY).exists()
    };
    let entries = fs::read_dir(cache).ok()?.flatten().map(|entry| entry.path());
    entries.filter(is_wanted).max()
}

/// Outlives the tree: a fresh clone on the same machine finds it.
fn cache() -> Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = named.filter(|path| path.is_absolute()).or(home).context("no HOME is set")?;
    Ok(base.join("meshdrive-windows"))
}

/// Makes `folder` unless it was made wholly before.
fn once(folder: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let mark = folder.join(READY);
    if mark.exists() {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    make()?;
    File::create(mark)?;
    Ok(())
}

fn install_packages() -> Result<()> {
    if on_path(COMPILER) && Path::new(WINE).exists() {
        return Ok(());
    }
    ensure!(packages::may_install(), "on Debian as root: apt-get install {PACKAGES}");
    packages::install(PACKAGES)
}

fn compiler_version() -> Result<String> {
    let output = Command::new("rustc").arg("-V").output().context("rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let version = text.split(' ').nth(1).context("rustc -V says no version")?;
    Ok(version.to_owned())
}

fn build_std(cache: &Path, version: &str, sysroot: &Path) -> Result<()> {
    let work = cache.join("work");
    let _ = fs::remove_dir_all(&work);
    let library = fetch_sources(&work, version)
        .with_context(|| format!("the sources of the standard library for Rust {version}"))?;
    let manifest = library.join("std/Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    // Only libraries to link statically are wanted.
    let wanted = text.replace(r#"crate-type = ["dylib", "rlib"]"#, r#"crate-type = ["rlib"]"#);
    fs::write(&manifest, wanted)?;
    let built = work.join("build");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run(cargo
        .current_dir(&library)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("__CARGO_DEFAULT_LIB_METADATA", "winstd")
        .env("CARGO_TARGET_DIR", &built)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-Zforce-unstable-if-unmarked --cap-lints=allow")
        .args(["build", "--release", "--locked", "--target", TRIPLE])
        .args(["--manifest-path", "sysroot/Cargo.toml", "--features", "backtrace panic-unwind"]))?;
    let to = sysroot.join("lib/rustlib").join(TRIPLE).join("lib");
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(built.join(TRIPLE).join("release/deps"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "rlib") {
            fs::copy(&path, to.join(path.file_name().context("no name")?))?;
        }
    }
    for object in ["rsbegin", "rsend"] {
        let mut rustc = Command::new("rustc");
        rustc.current_dir(&library).env("RUSTC_BOOTSTRAP", "1");
        rustc.args(["--target", TRIPLE, "--emit", "obj", "-C", "panic=abort", "-o"]);
        run(rustc.arg(to.join(format!("{object}.o"))).arg(format!("rtstartup/{object}.rs")))?;
    }
    fs::remove_dir_all(&work)?;
    Ok(())
}

/// Debian's package of the sources, by a configuration of apt's own.
fn fetch_sources(work: &Path, version: &str) -> Result<PathBuf> {
    ensure!(on_path("apt-get") && on_path("dpkg-deb"), "they come from Debian");
    for folder in ["lists/partial", "cache/archives/partial", "parts"] {
        fs::create_dir_all(work.join(folder))?;
    }
    let mirror = mirror().context("no Debian mirror is configured")?;
    let source = format!("deb [signed-by={KEYRING}] {mirror} {SOURCES_SUITE} main\n");
    fs::write(work.join("sources.list"), source)?;
    let at = work.display();
    let settings = format!(
        "Dir::Etc::SourceList \"{at}/sources.list\";\nDir::Etc::SourceParts \"{at}/parts\";\n\
         Dir::State::Lists \"{at}/lists\";\nDir::Cache \"{at}/cache\";\n\
         APT::Sandbox::User \"root\";\n"
    );
    fs::write(work.join("apt.conf"), settings)?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command.current_dir(work).env("APT_CONFIG", work.join("apt.conf"));
        command
    };
    run(apt().args(["-q", "update"]))?;
    run(apt().args(["-q", "download"]).arg(format!("rust-src={version}+dfsg*")))?;
    let package = find(work, |name| name.starts_with("rust-src_") && name.ends_with(".deb"))?;
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(work.join("package")))?;
    let library = work.join(format!("package/usr/src/rustc-{version}/library"));
    ensure!(library.join("sysroot/Cargo.toml").exists(), "the package has another layout");
    Ok(library)
}

fn find(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&wanted) {
            return Ok(entry.path());
        }
    }
    bail!("nothing was downloaded")
}

/// The mirror of Debian that this machine already uses.
fn mirror() -> Option<String> {
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let files = folder.map(|entry| entry.path()).chain([PathBuf::from("/etc/apt/sources.list")]);
    let texts = files.filter_map(|file| fs::read_to_string(file).ok());
    texts.flat_map(|text| mirrors_in(&text)).next()
}

fn mirrors_in(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches('/'))
        .filter(|word| word.starts_with("http") && word.ends_with("/debian"))
        .filter(|word| !word.contains("snapshot"))
        .map(str::to_owned)
        .collect()
}

fn make_prefix(prefix: &Path) -> Result<()> {
    fs::create_dir_all(prefix)?;
    let wine = |program: &str| {
        let mut command = Command::new(program);
        wine_env(&mut command, prefix);
        command
    };
    run(wine(WINE).args(["wineboot", "-i"]))?;
    run(wine(WINESERVER).arg("-w"))?;
    let library = prefix.join("drive_c/windows/system32/bcryptprimitives.dll");
    if !library.exists() {
        let source = prefix.join("bcryptprimitives.c");
        fs::write(&source, PRNG)?;
        let mut compiler = Command::new(COMPILER);
        compiler.args(["-shared", "-O2", "-s"]).arg(&source).arg("-o").arg(&library);
        run(compiler.arg("-ladvapi32"))?;
    }
    Ok(())
}

/// Wine without a screen, and without what it would offer to install.
pub(super) fn wine_env(command: &mut Command, prefix: &Path) {
    command
        .env_remove("DISPLAY")
        .env("WINEPREFIX", prefix)
        .env("WINEDEBUG", "-all")
        .env("WINEDLLOVERRIDES", "mscoree=;mshtml=;winemenubuilder.exe=");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_found_in_either_format() {
        let old = "# deb http://no.example/debian x\ndeb http://one.example/debian bookworm main\n";
        assert_eq!(mirrors_in(old), ["http://one.example/debian"]);
        let new = "Types: deb\n# http://snapshot.example/archive/debian\nURIs: http://two.example/debian/\n";
        assert_eq!(mirrors_in(new), ["http://two.example/debian"]);
    }

    #[test]
    fn what_was_made_wholly_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("made");
        assert!(once(&folder, || bail!("no network")).is_err());
        let make = || Ok(fs::create_dir_all(&folder)?);
        once(&folder, make).unwrap();
        once(&folder, || bail!("must not be called")).unwrap();
        // Half of it from an interrupted run counts for nothing.
        fs::remove_file(folder.join(READY)).unwrap();
        once(&folder, make).unwrap();
    }
}
