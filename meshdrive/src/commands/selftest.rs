//! `meshdrive projfs-selftest`: what the tests of the driver do through a model of ProjFS, done through
//! plain file calls, to be run by a person on Windows.

use crate::{
    failure::{Failure, Outcome},
    render,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Works in a new folder of the drive, which it removes. Prints a line a step; please report what fails, with
the version of Windows.")]
pub(crate) struct Args {
    /// A folder in a mounted drive
    #[arg(value_name = "DIRECTORY")]
    dir: PathBuf,
}

/// Bytes of the large file: not a multiple of any sector.
const LARGE: usize = (8 << 20) + 12_345;
/// Threads that read one file at once.
const READERS: usize = 8;
/// Files of the large folder.
const FILES: usize = 1_000;

type Step = (&'static str, fn(&Path) -> io::Result<()>);

const STEPS: [Step; 9] = [
    ("a folder is made and listed", folder),
    ("a file is written, read and replaced", written),
    ("a part of a large file is changed", large),
    ("eight threads read one file", threads),
    ("a file is renamed, also in its case only", renamed),
    ("a save by replacing is the new file", replaced),
    ("a folder of 1,000 files lists each once", listed),
    ("names of every kind come back", names),
    ("what is deleted is gone", deleted),
];

pub(crate) fn run(args: &Args) -> Outcome {
    let dir = args.dir.join(format!("meshdrive-selftest-{}", std::process::id()));
    let failed = steps(&dir)?;
    if failed == 0 {
        render::data("All steps are done.")
    } else {
        Err(Failure::general(format!("{failed} of {} steps failed", STEPS.len()))
            .hint(format!("what is left is in {}", dir.display())))
    }
}

/// How many failed. What was made goes if none did.
fn steps(dir: &Path) -> Outcome<usize> {
    let mut failed = 0;
    for (what, step) in STEPS {
        match step(dir) {
            Ok(()) => render::data(format!("ok    {what}"))?,
            Err(error) => {
                failed += 1;
                render::data(format!("FAIL  {what}: {error}"))?;
            }
        }
    }
    Ok(failed)
}

fn check(right: bool, what: &str) -> io::Result<()> {
    if right { Ok(()) } else { Err(io::Error::other(what.to_string())) }
}

/// Bytes that differ at every place.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn listing(dir: &Path) -> io::Result<Vec<String>> {
    let name =
        |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = fs::read_dir(dir)?.map(name).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

fn folder(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)?;
    fs::create_dir(dir.join("sub"))?;
    check(listing(dir)? == ["sub"], "it lists something else")
}

fn written(dir: &Path) -> io::Result<()> {
    let path = dir.join("sub").join("text.txt");
    fs::write(&path, b"first")?;
    check(fs::read(&path)? == b"first", "what was written is not read")?;
    fs::write(&path, b"2")?;
    check(fs::read(&path)? == b"2", "the old content is read")?;
    check(fs::metadata(&path)?.len() == 1, "it has another length")
}

fn large(dir: &Path) -> io::Result<()> {
    let path = dir.join("large.bin");
    let mut bytes = noise(LARGE);
    fs::write(&path, &bytes)?;
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    let middle = LARGE / 2;
    file.seek(SeekFrom::Start(middle as u64))?;
    file.write_all(b"changed")?;
    bytes[middle..middle + 7].copy_from_slice(b"changed");
    drop(file);
    check(fs::read(&path)? == bytes, "another content is read")
}

fn threads(dir: &Path) -> io::Result<()> {
    let path = dir.join("large.bin");
    let whole = fs::read(&path)?;
    let read = |from: usize| -> io::Result<bool> {
        let mut file = File::open(&path)?;
        file.seek(SeekFrom::Start(from as u64))?;
        let mut part = Vec::new();
        file.take(1 << 20).read_to_end(&mut part)?;
        Ok(whole[from..].starts_with(&part))
    };
    let read = &read;
    let same = thread::scope(|scope| {
        let readers: Vec<_> =
            (0..READERS).map(|at| scope.spawn(move || read(at * (LARGE / READERS)))).collect();
        readers.into_iter().all(|reader| matches!(reader.join(), Ok(Ok(true))))
    });
    check(same, "a part is not that of the file")
}

fn renamed(dir: &Path) -> io::Result<()> {
    let (old, new) = (dir.join("sub").join("text.txt"), dir.join("moved.txt"));
    fs::rename(&old, &new)?;
    check(!old.exists() && fs::read(&new)? == b"2", "it is not at its new place only")?;
    fs::rename(&new, dir.join("MOVED.txt"))?;
    check(listing(dir)?.contains(&"MOVED.txt".into()), "it lists the old case")
}

fn replaced(dir: &Path) -> io::Result<()> {
    let (file, new, old) = (dir.join("MOVED.txt"), dir.join("~new"), dir.join("~old"));
    fs::write(&new, b"saved")?;
    fs::rename(&file, &old)?;
    fs::rename(&new, &file)?;
    fs::remove_file(&old)?;
    check(fs::read(&file)? == b"saved", "the old content is read")
}

fn listed(dir: &Path) -> io::Result<()> {
    let many = dir.join("many");
    fs::create_dir(&many)?;
    let names: Vec<String> = (0..FILES).map(|number| format!("file-{number:04}")).collect();
    names.iter().try_for_each(|name| fs::write(many.join(name), name))?;
    check(listing(&many)? == names, "some are missing, or there twice")
}

fn names(dir: &Path) -> io::Result<()> {
    let odd = dir.join("names");
    fs::create_dir(&odd)?;
    let mut names: Vec<String> =
        ["a b", "é", "日本語", "😀", "x.y.z", ".hidden"].map(String::from).into();
    names.push("n".repeat(200));
    names.sort();
    names.iter().try_for_each(|name| fs::write(odd.join(name), name))?;
    check(listing(&odd)? == names, "other names are listed")?;
    let read =
        names.iter().all(|name| fs::read(odd.join(name)).is_ok_and(|it| it == name.as_bytes()));
    check(read, "one of them is not read")
}

fn deleted(dir: &Path) -> io::Result<()> {
    let file = dir.join("large.bin");
    fs::remove_file(&file)?;
    check(File::open(&file).is_err(), "it is still opened")?;
    fs::remove_dir_all(dir)?;
    check(!dir.exists(), "the folder is still there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(windows, ignore = "Wine keeps the old case of a name")]
    fn a_plain_folder_passes_and_is_left_clean() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(steps(&home.path().join("test")).unwrap(), 0);
        assert_eq!(listing(home.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_written_fails() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, b"").unwrap();
        assert_eq!(steps(&file.join("test")).unwrap(), STEPS.len());
    }
}
