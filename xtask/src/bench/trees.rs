//! Files to work on.

use super::output;
use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
};

/// Bytes written at once.
const STEP: usize = 1 << 20;

/// xorshift64 (Marsaglia, 2003): the same bytes for the same seed, and they do not compress.
#[derive(Debug)]
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Noise {
        Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Words, like prose or source: they compress to about a third.
    fn text(&mut self, len: usize) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "drive", "the", "of", "cloud", "let", "return", "folder", "and", "is", "bytes", "mut",
            "when", "self", "a", "version", "content",
        ];
        let mut text = Vec::with_capacity(len + 16);
        while text.len() < len {
            let number = self.next();
            text.extend_from_slice(WORDS[(number % 16) as usize].as_bytes());
            if number & 0xf00 == 0 {
                text.extend_from_slice(format!("{:x}\n", number >> 40).as_bytes());
            } else {
                text.push(b' ');
            }
        }
        text.truncate(len);
        text
    }
}

/// One large file of noise.
pub(super) fn large(path: &Path, len: u64, seed: u64) -> Result<()> {
    let mut noise = Noise::new(seed);
    let mut file = File::create(path).with_context(|| path.display().to_string())?;
    let mut left = len;
    while left > 0 {
        let step = left.min(STEP as u64);
        file.write_all(&noise.bytes(step as usize))?;
        left -= step;
    }
    Ok(())
}

/// Folders of text files of 1 to 16 KiB, 100 files a folder (fewer in the last); the tree that the
/// peers were measured with.
pub(super) fn small(path: &Path, files: u64, seed: u64) -> Result<()> {
    let mut noise = Noise::new(seed);
    for number in 0..files {
        let folder = path.join(format!("d{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        let len = 1024 + noise.next() % (15 << 10);
        fs::write(folder.join(format!("f{number:05}.txt")), noise.text(len as usize))?;
    }
    Ok(())
}

/// A repository of one commit, with `files` files of text, 25 a folder.
pub(super) fn repository(path: &Path, files: u64, seed: u64) -> Result<()> {
    let mut noise = Noise::new(seed);
    for number in 0..files {
        let folder = path.join(format!("src/d{:03}", number / 25));
        if number % 25 == 0 {
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        let len = 500 + noise.next() % (15 << 10);
        fs::write(folder.join(format!("f{number:05}.c")), noise.text(len as usize))?;
    }
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        git.args(["-c", "user.name=bench", "-c", "user.email=bench@example.org"]);
        git.arg("-C").arg(path).args(arguments);
        output(&mut git).map(drop)
    };
    git(&["init", "--quiet", "--initial-branch=main"])?;
    git(&["add", "."])?;
    git(&["commit", "--quiet", "-m", "all"])?;
    git(&["gc", "--quiet"])
}

/// The tree that the loader makes in a drive, with empty files.
pub(super) fn loaded(path: &Path, folders: u64, files: u64) -> Result<()> {
    for folder in 0..folders {
        let folder = path.join(format!("d{folder:04}"));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for file in 0..files {
            File::create(folder.join(format!("f{file:04}")))?;
        }
    }
    Ok(())
}
