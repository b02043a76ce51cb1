//! A full disk and one that cannot be written: needs root for small file systems.

use super::*;
use std::fs;
use std::process::Command;

/// A small file system of its own, unmounted at the end whatever happens.
struct Small(TempDir);

impl Small {
    /// `None`, said aloud, where that is not allowed.
    fn mount(options: &str) -> Option<Small> {
        let dir = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "meshdrive-test"]).arg(dir.path());
        let mounted = mount.output();
        match mounted {
            Ok(output) if output.status.success() => Some(Small(dir)),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                eprintln!("SKIPPED: needs root to mount a small tmpfs: {why}");
                None
            }
            Err(error) => {
                eprintln!("SKIPPED: cannot run mount(8): {error}");
                None
            }
        }
    }

    fn state(&self) -> std::path::PathBuf {
        self.0.path().join("state")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "umount {:?}", self.0.path());
    }
}

/// Fills the disk to the last byte; returns the file that does.
fn fill(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    for chunk in [64 << 10, 4 << 10, 1 << 10, 1] {
        while io::Write::write_all(&mut file, &vec![1; chunk]).is_ok() {}
    }
    path
}

#[test]
fn a_full_disk_spends_the_reserve_then_says_so_and_loses_nothing() {
    let Some(disk) = Small::mount("size=8m") else { return };
    let options = Options { reserve_bytes: 1 << 20, segment_bytes: 64 << 10, ..options() };
    let store = DiskStore::open(&disk.state(), options.clone()).unwrap();
    assert!(!store.reserve_released());
    store.queue(Seq(1), vec![put(node(1, 0, ""))]);
    store.sync(None, Seq(1)).unwrap();
    let filler = fill(disk.0.path());
    let error = store.write(Ino(5), 0, &[1; 100_000]).unwrap_err();
    assert!(matches!(error, Error::Full(_)), "{error}");

    let mut seq = 1;
    let full = loop {
        seq += 1;
        store.queue(Seq(seq), vec![put(node(seq, 1, &format!("file number {seq}")))]);
        if let Err(error) = store.journal(Seq(seq)) {
            break error;
        }
        assert!(seq < 1_000_000, "the disk never got full");
    };
    assert!(matches!(full, Error::Full(_)), "{full}");
    assert!(store.reserve_released());
    assert!(seq > 100, "the reserve let records through");

    // Room again: what was queued gets through, and the store is whole.
    fs::remove_file(filler).unwrap();
    store.journal(Seq(seq)).unwrap();
    store.sync(None, Seq(seq)).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let rows = loop {
        match store.load_dir(Ino(1)) {
            Ok(rows) => break rows.len() as u64,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(rows, seq);
    drop(store);
    let store = DiskStore::open(&disk.state(), options).unwrap();
    assert_eq!(store.recover().unwrap().last_seq, Seq(seq));
    assert_eq!(store.load_dir(Ino(1)).unwrap().len() as u64, seq);
    assert!(!store.reserve_released(), "made again");
    store.shutdown().unwrap();
}

/// Contents that fill the disk leave room for records and for the next start.
#[test]
fn contents_leave_room_to_open_again() {
    let Some(disk) = Small::mount("size=16m") else { return };
    let options = Options { reserve_bytes: 4 << 20, ..options() };
    let store = DiskStore::open(&disk.state(), options.clone()).unwrap();
    store.queue(Seq(1), vec![put(node(1, 0, ""))]);
    store.sync(None, Seq(1)).unwrap();
    let filler = fill(disk.0.path());
    let mut seq = 1;
    while !store.reserve_released() {
        seq += 1;
        store.queue(Seq(seq), vec![put(node(seq, 1, &format!("file number {seq}")))]);
        store.journal(Seq(seq)).unwrap();
    }
    let written = (0..100).take_while(|n| store.write(Ino(5), n << 16, &[1; 1 << 16]).is_ok());
    assert!((10..64).contains(&written.count()), "the reserve's space, less what records need");
    store.queue(Seq(seq + 1), vec![put(node(seq + 1, 1, "one more"))]);
    store.journal(Seq(seq + 1)).unwrap();
    drop(store);
    let store = DiskStore::open(&disk.state(), options).unwrap();
    assert_eq!(store.recover().unwrap().last_seq, Seq(seq + 1));
    store.shutdown().unwrap();
    drop(filler);
}

#[test]
fn opening_on_a_full_disk_is_a_clear_error() {
    let Some(disk) = Small::mount("size=1m") else { return };
    fill(disk.0.path());
    let error = DiskStore::open(&disk.state(), options()).err().unwrap();
    assert!(matches!(error, Error::Full(_)), "{error}");
}

#[test]
fn a_read_only_directory_is_a_clear_error() {
    let Some(disk) = Small::mount("size=4m") else { return };
    DiskStore::open(&disk.state(), options()).unwrap().shutdown().unwrap();
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.0.path()).status();
    assert!(remounted.unwrap().success());
    let error = DiskStore::open(&disk.state(), options()).err().unwrap().to_string();
    assert!(error.contains("writable"), "{error}");
}
