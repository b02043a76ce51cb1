//! The core, broken on purpose: each mutation is a guard of `fs-core` taken away, in a copy of the sources.
//! A simulation that does not notice one would not notice the fault either.

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// Worlds of each shape in which a mutation must be noticed.
const WORLDS: u64 = 20_000;
/// What the copy needs of the workspace.
const PARTS: [&str; 2] = ["fs-core", "tests/simulation"];

/// What is broken, where, and how: the first text stands there once and becomes the second.
struct Mutation {
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const fn mutation(
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> Mutation {
    Mutation { name, file, from, to }
}

const MUTATIONS: &[Mutation] = &[
    mutation(
        "content that was written to while it was staged is named all the same",
        "uploads.rs",
        "                            && inode.generation == file.generation\n",
        "",
    ),
    mutation(
        "staged content is named under whatever identity the file has by now",
        "uploads.rs",
        "inode.row.id == file.id\n",
        "true\n",
    ),
    mutation(
        "a commit whose answer was lost is forgotten",
        "uploads.rs",
        "            Err(error) => self.resend_later(*flight, &error.message),\n",
        "            Err(error) => {\n                self.commit(Change::DropFlight(flight.request));\n                self.end_flight(&flight.items);\n                self.round_failed(&error);\n            }\n",
    ),
    mutation(
        "news is applied while a commit is on its way",
        "inbox.rs",
        "while !self.uploads.is_committing() && ",
        "while ",
    ),
    mutation(
        "what was written while a commit was on its way counts as sent",
        "ops/write.rs",
        "            flight.dirty.insert(range);\n",
        "            let _ = (flight, range);\n",
    ),
    mutation(
        "a file that was cut short while a commit was on its way counts as sent",
        "ops/attr.rs",
        "flight.shortest = flight.shortest.min(size);",
        "let _ = (&mut flight.shortest, size);",
    ),
    mutation(
        "a late word of a removed node brings it back",
        "merge.rs",
        "is_some_and(|rev| rev >= remote.meta_rev)",
        "is_some_and(|rev| rev >= remote.meta_rev && rev.0 == u64::MAX)",
    ),
    mutation(
        "a removal elsewhere takes what was changed here",
        "merge.rs",
        "let changed = row.pending.has(Pending::CONTENT) || unseen ||",
        "let changed = unseen ||",
    ),
    mutation(
        "a folder that was removed elsewhere takes what was put into it here",
        "merge.rs",
        "|| moved_away || inhabited;",
        "|| moved_away || inhabited && false;",
    ),
    mutation(
        "an edit elsewhere replaces what was changed here",
        "merge.rs",
        "if changed && !row.pending.has(Pending::TRASH) {",
        "if changed && row.pending.has(Pending::TRASH) {",
    ),
    mutation(
        "an open file gets another version under its handle",
        "merge.rs",
        "} else if open && placed {",
        "} else if open && placed && remote.size == u64::MAX {",
    ),
    mutation(
        "a file is evicted while it is being read or written",
        "hydration.rs",
        "                && inode.busy.is_empty()\n",
        "",
    ),
    mutation(
        "a new file goes ahead of the folder it is in",
        "plan.rs",
        "                ties.before.push(at);\n",
        "                let _ = &mut ties.before;\n",
    ),
    mutation(
        "a hard link goes ahead of what it names",
        "plan.rs",
        "        ties.before.extend(target.filter(|inode| is_coming(inode)).map(|inode| inode.row.ino));\n",
        "        let _ = target.filter(|inode| is_coming(inode));\n",
    ),
    mutation(
        "what the store needs stays on the device all the same",
        "ignore.rs",
        "        replaces || is_linked || is_partial\n",
        "        (replaces || is_linked || is_partial) && row.size == u64::MAX\n",
    ),
    mutation(
        "what is not ignored any more is not sent",
        "ignore.rs",
        "if !self.keep_if_ignored(ino) && self.uploads.kept.contains(&ino) {",
        "if !self.keep_if_ignored(ino) && self.uploads.kept.is_empty() {",
    ),
];

pub(super) fn run(root: &Path) -> Result<()> {
    let copy = copy(root)?;
    let mut missed = Vec::new();
    for mutation in MUTATIONS {
        let started = Instant::now();
        let seed = noticed(&copy, mutation).with_context(|| mutation.name)?;
        let seconds = started.elapsed().as_secs();
        match seed {
            Some(seed) => println!("noticed   {} ({seconds} s)\n          {seed}", mutation.name),
            None => {
                println!("MISSED    {} ({seconds} s)", mutation.name);
                missed.push(mutation.name);
            }
        }
    }
    fs::remove_dir_all(&copy).with_context(|| format!("removing {}", copy.display()))?;
    let count = MUTATIONS.len();
    ensure!(
        missed.is_empty(),
        "{} of {count} mutations were not noticed: {missed:?}",
        missed.len()
    );
    println!("All {count} mutations were noticed.");
    Ok(())
}

/// The sources of the core and its simulation as a workspace of their own.
fn copy(root: &Path) -> Result<PathBuf> {
    let copy = root.join("target/mutations");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    for part in PARTS {
        copy_tree(&root.join(part), &copy.join(part))?;
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(root.join(file), copy.join(file))?;
    }
    let manifest = copy.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    let start = text.find("members = [").context("Cargo.toml has no members")?;
    let end = start + text[start..].find(']').context("Cargo.toml has no end of members")? + 1;
    let members = format!("members = {PARTS:?}");
    fs::write(&manifest, [&text[..start], &members, &text[end..]].concat())?;
    Ok(copy)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The line that runs the world again in which the mutation was noticed.
fn noticed(copy: &Path, mutation: &Mutation) -> Result<Option<String>> {
    let path = copy.join("fs-core/src").join(mutation.file);
    let sound = fs::read_to_string(&path).with_context(|| mutation.file)?;
    let found = sound.matches(mutation.from).count();
    ensure!(found == 1, "{}: its text is there {found} times, not once", mutation.file);
    fs::write(&path, sound.replacen(mutation.from, mutation.to, 1))?;
    let output = Command::new("cargo")
        .args(["test", "--quiet", "--package", "simulation", "--test", "seeds", "many_seeds"])
        .args(["--", "--nocapture"])
        .env("SEEDS", WORLDS.to_string())
        .env("CARGO_TARGET_DIR", copy.join("target"))
        .current_dir(copy)
        .output();
    fs::write(&path, sound)?;
    let output = output?;
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let seed = said.lines().chain(errors.lines()).find(|line| line.starts_with("SEED="));
    let is_sound = output.status.success();
    ensure!(
        is_sound || seed.is_some(),
        "it does not compile, or the worlds did not run:\n{errors}"
    );
    Ok(seed.filter(|_| !is_sound).map(str::to_owned))
}
