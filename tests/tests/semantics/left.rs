//! What `unmount --force` leaves behind, whatever was done before, here and elsewhere.

use crate::level;
use meshdrive_tests::{
    Device, Entry, Line, Proxy, Random, Tree, World, content, tree, tree_of, wait_for,
};
use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::PathBuf,
};

const ROUNDS: u64 = 12;
/// Changes on each side in a round.
const CHANGES: usize = 25;

/// All paths of a kind below the root, which counts as a folder.
fn paths(seen: &Tree, wanted: fn(&Entry) -> bool) -> Vec<PathBuf> {
    seen.iter().filter(|(_, entry)| wanted(entry)).map(|(path, _)| path.clone()).collect()
}

/// What a device shows, at a moment at which nothing comes from elsewhere.
fn still(device: &Device) -> Tree {
    wait_for("a walk meets no change", || tree_of(&device.root()).ok())
}

/// One change of a random kind. What cannot be done is not done.
fn change(device: &Device, random: &mut Random) {
    let seen = still(device);
    let files = paths(&seen, |entry| matches!(entry, Entry::File { .. }));
    let mut dirs = paths(&seen, |entry| matches!(entry, Entry::Folder { .. }));
    dirs.push(PathBuf::new());
    let new = random.pick(&dirs).join(format!("n{}", random.below(12)));
    let new = device.path(new);
    let number = random.number();
    let bytes = content(number, (number % 50_000) as usize);
    let file = files.get(random.below(files.len().max(1) as u64) as usize).map(|f| device.path(f));
    let dir = device.path(random.pick(&dirs));
    let _ = match (random.below(12), file) {
        (0..=2, _) | (_, None) => fs::write(new, bytes),
        (3, _) => fs::create_dir(new),
        (4, Some(file)) => fs::write(file, bytes),
        (5, Some(file)) => File::options()
            .write(true)
            .open(file)
            .and_then(|file| file.write_all_at(&bytes[..bytes.len().min(500)], number % 60_000)),
        (6, Some(file)) => fs::remove_file(file),
        (7, Some(file)) => fs::rename(file, new),
        (8, _) if dir != device.root() => fs::rename(dir, new),
        (9, _) if dir != device.root() => fs::remove_dir_all(dir),
        (10, Some(file)) if number.is_multiple_of(2) => fs::hard_link(file, new),
        (10, _) => symlink("somewhere", new),
        (_, Some(file)) => {
            fs::set_permissions(file, Permissions::from_mode(0o600 | (number % 64) as u32))
        }
    };
}

fn contents(seen: &Tree) -> BTreeSet<Vec<u8>> {
    let bytes = |entry: &Entry| match entry {
        Entry::File { bytes, .. } => Some(bytes.clone()),
        _ => None,
    };
    seen.values().filter_map(bytes).collect()
}

#[test]
fn what_is_left_is_what_the_store_has() {
    let Some(world) = World::mounted("semantics::what_is_left_is_what_the_store_has") else {
        return;
    };
    let a = &world.a;
    let line = Proxy::start(world.server.address(), Line::FAST);
    let b = world.join_at("b", &line.url());
    b.mount_with(&["--offline-deadline", "1s"]);
    b.knows_the_tree();
    let seed = 20;
    let mut random = Random::new(seed);
    for round in 0..ROUNDS {
        for _ in 0..CHANGES / 2 {
            change(a, &mut random);
        }
        a.sync();
        level(a, &b);
        let known = tree(&a.root());
        assert_eq!(tree(&b.root()), known);
        if round % 4 > 0 {
            line.cut();
        }
        // On both sides at a time.
        let mut kept = contents(&known);
        for _ in 0..CHANGES {
            change(a, &mut random);
            kept.append(&mut contents(&still(a)));
            change(&b, &mut random);
        }
        line.cut();
        let here = still(&b);
        b.run(&["unmount", "work", "--force"]).expect(0, &[]);
        let home = b.home().join("Recovered");
        if home.exists() {
            kept.append(&mut contents(&tree(&home)));
        }
        line.mend();
        b.mount_with(&["--offline-deadline", "1s"]);
        a.sync();
        level(a, &b);
        let store = tree(&a.root());
        assert_eq!(tree(&b.root()), store, "seed {seed}, round {round}");
        kept.append(&mut contents(&store));
        for bytes in contents(&here) {
            assert!(kept.contains(&bytes), "seed {seed}, round {round}: {} bytes", bytes.len());
        }
    }
}
