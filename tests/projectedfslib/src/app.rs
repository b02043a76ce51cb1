//! What other programs do, as the kernel carries it out.

use crate::{
    App, Code, Listed, Scan,
    calls::{Ask, GONE, OK, Provider, violation, violations, win32},
    command::Pending,
    exports::is_name,
    instance::{self, Place, Root, Tree, join, lock, split},
    item::{Item, State},
    order,
};
use std::{
    cmp::Ordering,
    fs::{self, File},
    os::windows::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering as Atomic},
    },
    time::{Duration, UNIX_EPOCH},
};
use windows::{
    Win32::Storage::ProjectedFileSystem::{
        PRJ_CALLBACK_DATA, PRJ_DIR_ENTRY_BUFFER_HANDLE, PRJ_FILE_BASIC_INFO, PRJ_NOTIFICATION,
        PRJ_NOTIFICATION_FILE_HANDLE_CLOSED_FILE_DELETED,
        PRJ_NOTIFICATION_FILE_HANDLE_CLOSED_FILE_MODIFIED, PRJ_NOTIFICATION_FILE_OVERWRITTEN,
        PRJ_NOTIFICATION_FILE_PRE_CONVERT_TO_FULL, PRJ_NOTIFICATION_FILE_RENAMED,
        PRJ_NOTIFICATION_NEW_FILE_CREATED, PRJ_NOTIFICATION_PRE_DELETE,
        PRJ_NOTIFICATION_PRE_RENAME, PRJ_NOTIFICATION_PRE_SET_HARDLINK,
    },
    core::GUID,
};

const NOT_FOUND: i32 = win32(2);
const INSUFFICIENT_BUFFER: i32 = win32(122);
/// Bytes of a file that are asked for at once: what has been seen of Windows.
const PIECE: u64 = 1 << 30;
const RESTART: i32 = 1;
/// Ticks of 100 ns from 1601 to 1970 ("FILETIME structure", Microsoft).
const TICKS_TO_UNIX: u64 = 116_444_736_000_000_000;

pub(crate) struct Model;
pub(crate) static MODEL: Model = Model;
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A directory entry buffer.
pub(crate) struct Buffer {
    room: usize,
    entries: Vec<(Vec<u16>, bool, u64)>,
}

impl Buffer {
    /// Whether it had room.
    pub(crate) fn take(&mut self, name: &[u16], info: &PRJ_FILE_BASIC_INFO) -> bool {
        if self.entries.len() >= self.room {
            return false;
        }
        if !is_name(name) {
            violation("PrjFillDirEntryBuffer: not a name");
        }
        let size = u64::try_from(info.FileSize).unwrap_or(0);
        self.entries.push((name.to_vec(), info.IsDirectory, size));
        true
    }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn find(root: &Path) -> Result<(Arc<Root>, Provider), Code> {
    let root = instance::root(root).ok_or(NOT_FOUND)?;
    // What is on the disk can be used without a provider too; tests do that only through `std::fs`.
    let provider = lock(&root.state).provider.ok_or(GONE)?;
    Ok((root, provider))
}

fn failed<T>(_: std::io::Error) -> Result<T, Code> {
    Err(win32(1117))
}

/// Makes sure that every part of a path is on the disk.
fn reach(root: &Root, provider: &Provider, place: &[u16]) -> Result<Item, Code> {
    let mut at: Place = Vec::new();
    let mut last = None;
    for name in place.split(|&unit| unit == instance::SEPARATOR) {
        let next = join(&at, name);
        let item = reach_one(root, provider, &at, &next)?;
        at = join(&at, &item.name);
        last = Some(item);
    }
    last.ok_or(NOT_FOUND)
}

fn on_disk(root: &Root, parent: &[u16], place: &[u16]) -> Result<Option<Item>, Code> {
    let tree = lock(&root.state);
    match tree.get(place) {
        Some(item) if item.state == State::Tombstone => Err(NOT_FOUND),
        Some(item) => Ok(Some(item.clone())),
        None if tree.is_projected(parent) => Ok(None),
        None => Err(NOT_FOUND),
    }
}

fn reach_one(
    root: &Root,
    provider: &Provider,
    parent: &[u16],
    place: &[u16],
) -> Result<Item, Code> {
    if let Some(item) = on_disk(root, parent, place)? {
        return Ok(item);
    }
    let _one_at_a_time = lock(&root.filling);
    if let Some(item) = on_disk(root, parent, place)? {
        return Ok(item);
    }
    let Some(get) = provider.callbacks.0.GetPlaceholderInfoCallback else { return Err(NOT_FOUND) };
    let pending = Pending { target: place.to_vec(), ..Pending::default() };
    let mut call = |data: *const PRJ_CALLBACK_DATA| {
        // SAFETY: the data is valid during the call.
        unsafe { get(data) }.0
    };
    let (result, pending) = provider.command(&Ask::of(place), pending, &mut call);
    if result != OK {
        return Err(result);
    }
    if pending.placeholder.is_none() {
        violation("GetPlaceholderInfo: S_OK without a placeholder");
        return Err(NOT_FOUND);
    }
    lock(&root.state).get(place).cloned().ok_or(NOT_FOUND)
}

/// Fetches a file whole.
fn hydrate(root: &Root, provider: &Provider, place: &[u16]) -> Result<(), Code> {
    let _one_at_a_time = lock(&root.filling);
    let Some(item) = lock(&root.state).get(place).cloned() else { return Err(NOT_FOUND) };
    if !matches!(item.state, State::Placeholder | State::Dirty) || item.size == 0 {
        return Ok(());
    }
    let mut at = 0;
    while at < item.size {
        let len = PIECE.min(item.size - at);
        let (result, pending) = fetch(provider, place, &item, (at, len), false);
        if result != OK {
            return Err(result);
        }
        if !covers(&pending.written, at, at + len) {
            violation("GetFileData: S_OK without all the bytes");
            return Err(win32(1392));
        }
        at += len;
    }
    if let Some(item) = lock(&root.state).get_mut(place)
        && item.state == State::Placeholder
    {
        item.state = State::Hydrated;
    }
    Ok(())
}

fn fetch(
    provider: &Provider,
    place: &[u16],
    item: &Item,
    (at, len): (u64, u64),
    leave: bool,
) -> (i32, Pending) {
    let Some(get) = provider.callbacks.0.GetFileDataCallback else {
        return (NOT_FOUND, Pending::default());
    };
    let stream = u128::from(NEXT.fetch_add(1, Atomic::Relaxed)) << 64 | 0xda7a;
    let pending = Pending {
        stream: Some(stream),
        size: item.size,
        target: place.to_vec(),
        // Nobody may make a placeholder for it.
        placeholder: Some(Vec::new()),
        ..Pending::default()
    };
    let ask = Ask { version: item.version.as_ref(), stream, ..Ask::of(&item.made_as) };
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let mut call = |data: *const PRJ_CALLBACK_DATA| {
        // SAFETY: the data is valid during the call.
        unsafe { get(data, at, len) }.0
    };
    if leave {
        provider.command_cancelled(&ask, pending, &mut call);
        return (OK, Pending::default());
    }
    provider.command(&ask, pending, &mut call)
}

fn covers(written: &[(u64, u64)], from: u64, to: u64) -> bool {
    let mut parts = written.to_vec();
    parts.sort_unstable();
    let reached =
        parts.iter().fold(
            from,
            |reached, &(start, end)| {
                if start <= reached { reached.max(end) } else { reached }
            },
        );
    reached >= to
}

fn project(
    provider: &Provider,
    place: &[u16],
    scan: Scan<'_>,
) -> Result<Vec<(Vec<u16>, bool, u64)>, Code> {
    let id = GUID::from_u128(u128::from(NEXT.fetch_add(1, Atomic::Relaxed)) << 32 | 0xe);
    let started = provider.start_listing(place, &id);
    if started != OK {
        return Err(started);
    }
    let pattern = scan.pattern.map(wide);
    let mut all = Vec::new();
    let mut flags = 0;
    let mut restart = scan.restart;
    let mut first = None;
    let result = loop {
        let mut buffer = Buffer { room: scan.room, entries: Vec::new() };
        let handle = PRJ_DIR_ENTRY_BUFFER_HANDLE((&raw mut buffer).cast());
        let got = provider.get_listing(place, (&id, flags), pattern.as_deref(), handle);
        flags = 0;
        if got == INSUFFICIENT_BUFFER && scan.room == 0 {
            break Err(got);
        }
        if got != OK {
            break Err(got);
        }
        if buffer.entries.is_empty() {
            break Ok(());
        }
        if std::mem::take(&mut restart) {
            flags = RESTART;
            first = buffer.entries.first().cloned();
            continue;
        }
        if let Some(first) = first.take()
            && buffer.entries.first() != Some(&first)
        {
            violation("GetDirectoryEnumeration: RESTART_SCAN was ignored");
        }
        all.extend(buffer.entries);
    };
    provider.end_listing(place, &id);
    check_listing(&all, pattern.as_deref());
    result.map(|()| all)
}

fn check_listing(entries: &[(Vec<u16>, bool, u64)], pattern: Option<&[u16]>) {
    for pair in entries.windows(2) {
        match order::compare(&pair[0].0, &pair[1].0) {
            Ordering::Less => {}
            Ordering::Equal => violation("GetDirectoryEnumeration: a name twice"),
            Ordering::Greater => violation("GetDirectoryEnumeration: not in order"),
        }
    }
    if let Some(pattern) = pattern
        && entries.iter().any(|(name, ..)| !order::matches(name, pattern))
    {
        violation("GetDirectoryEnumeration: a name that does not match");
    }
}

/// Leaves a mark that something was removed, where it would show again.
fn bury(root: &Root, tree: &mut Tree, place: &[u16]) -> Result<(), Code> {
    let (parent, name) = split(place);
    if !tree.is_projected(parent) {
        tree.items.remove(&order::key(place));
        return Ok(());
    }
    File::create(root.disk(place)).or_else(failed)?;
    tree.put(place, Item { state: State::Tombstone, ..Item::full(name, place, false) });
    Ok(())
}

fn create(root: &Root, provider: &Provider, place: &[u16], dir: bool) -> Result<(), Code> {
    let (parent, name) = split(place);
    if !parent.is_empty() {
        reach(root, provider, parent)?;
    }
    {
        let mut tree = lock(&root.state);
        if dir {
            // The mark of an earlier removal goes.
            let _ = root.unlink(place, false);
            fs::create_dir(root.disk(place)).or_else(failed)?;
        } else {
            File::create(root.disk(place)).or_else(failed)?;
        }
        tree.put(place, Item::full(name, place, dir));
    }
    provider.notify(PRJ_NOTIFICATION_NEW_FILE_CREATED, place, dir, &[]);
    Ok(())
}

/// Makes a file one that may be written.
fn convert(root: &Root, provider: &Provider, place: &[u16], truncate: bool) -> Result<(), Code> {
    let item = reach(root, provider, place)?;
    if item.dir {
        return Err(win32(5));
    }
    if item.state.is_placeholder() {
        ask(provider, PRJ_NOTIFICATION_FILE_PRE_CONVERT_TO_FULL, place, false)?;
        if !truncate {
            hydrate(root, provider, place)?;
        }
    }
    let mut tree = lock(&root.state);
    if truncate {
        File::create(root.disk(place)).or_else(failed)?;
    }
    if let Some(item) = tree.get_mut(place) {
        item.state = State::Full;
        item.version = None;
    }
    drop(tree);
    if truncate {
        provider.notify(PRJ_NOTIFICATION_FILE_OVERWRITTEN, place, false, &[]);
    }
    Ok(())
}

fn ask(provider: &Provider, what: PRJ_NOTIFICATION, place: &[u16], dir: bool) -> Result<(), Code> {
    match provider.notify(what, place, dir, &[]) {
        OK => Ok(()),
        refused => Err(refused),
    }
}

impl App for Model {
    fn list(&self, root: &Path, place: &str, scan: Scan<'_>) -> Result<Vec<Listed>, Code> {
        let (root, provider) = find(root)?;
        let place = wide(place);
        if !place.is_empty() {
            reach(&root, &provider, &place)?;
        }
        let projected = if lock(&root.state).is_projected(&place) {
            project(&provider, &place, scan)?
        } else {
            Vec::new()
        };
        let tree = lock(&root.state);
        let mut all: Vec<_> = projected
            .into_iter()
            .filter(|(name, ..)| tree.get(&join(&place, name)).is_none())
            .collect();
        for (_, item) in tree.children(&place) {
            let wanted =
                scan.pattern.is_none_or(|wanted| order::matches(&item.name, &wide(wanted)));
            if item.state != State::Tombstone && wanted {
                let size = match item.state {
                    State::Full => {
                        let at = root.disk(&join(&place, &item.name));
                        fs::metadata(at).map_or(0, |found| if item.dir { 0 } else { found.len() })
                    }
                    _ => item.size,
                };
                all.push((item.name, item.dir, size));
            }
        }
        all.sort_by(|left, right| order::compare(&left.0, &right.0));
        let listed = |(name, dir, size): (Vec<u16>, bool, u64)| Listed {
            name: String::from_utf16_lossy(&name),
            dir,
            size,
        };
        Ok(all.into_iter().map(listed).collect())
    }

    fn read(&self, root: &Path, place: &str, offset: u64, len: usize) -> Result<Vec<u8>, Code> {
        let (root, provider) = find(root)?;
        let place = wide(place);
        reach(&root, &provider, &place)?;
        hydrate(&root, &provider, &place)?;
        let file = File::open(root.disk(&place)).or_else(failed)?;
        let size = file.metadata().or_else(failed)?.len();
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(left)];
        let mut done = 0;
        while done < bytes.len() {
            match file.seek_read(&mut bytes[done..], offset + done as u64).or_else(failed)? {
                0 => break,
                count => done += count,
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    fn read_and_leave(&self, root: &Path, place: &str) -> Result<(), Code> {
        let (root, provider) = find(root)?;
        let place = wide(place);
        let item = reach(&root, &provider, &place)?;
        let len = PIECE.min(item.size);
        fetch(&provider, &place, &item, (0, len), true);
        Ok(())
    }

    fn write(
        &self,
        root: &Path,
        place: &str,
        at: u64,
        data: &[u8],
        truncate: bool,
    ) -> Result<(), Code> {
        let (root, provider) = find(root)?;
        let place = wide(place);
        match convert(&root, &provider, &place, truncate) {
            Err(NOT_FOUND) => create(&root, &provider, &place, false)?,
            converted => converted?,
        }
        let file = File::options().write(true).open(root.disk(&place)).or_else(failed)?;
        let mut done = 0;
        while done < data.len() {
            done += file.seek_write(&data[done..], at + done as u64).or_else(failed)?;
        }
        drop(file);
        provider.notify(PRJ_NOTIFICATION_FILE_HANDLE_CLOSED_FILE_MODIFIED, &place, false, &[]);
        Ok(())
    }

    fn make_dir(&self, root: &Path, place: &str) -> Result<(), Code> {
        let (root, provider) = find(root)?;
        let place = wide(place);
        match reach(&root, &provider, &place) {
            Ok(_) => Err(win32(183)),
            Err(NOT_FOUND) => create(&root, &provider, &place, true),
            Err(other) => Err(other),
        }
    }

    fn rename(&self, root: &Path, from: &str, to: &str) -> Result<(), Code> {
        let (root, provider) = find(root)?;
        let (from, to) = (wide(from), wide(to));
        let item = reach(&root, &provider, &from)?;
        if item.dir && item.state.is_placeholder() {
            return Err(win32(50));
        }
        let (parent, name) = split(&to);
        if !parent.is_empty() {
            reach(&root, &provider, parent)?;
        }
        // What is there is opened first, to be replaced.
        let _ = reach(&root, &provider, &to);
        match provider.notify(PRJ_NOTIFICATION_PRE_RENAME, &from, item.dir, &to) {
            OK => {}
            refused => return Err(refused),
        }
        {
            let mut tree = lock(&root.state);
            let is_moved = order::key(&from) != order::key(&to);
            if is_moved && tree.get(&to).is_some_and(|there| !there.dir) {
                root.unlink(&to, false).or_else(failed)?;
            }
            fs::rename(root.disk(&from), root.disk(&to)).or_else(failed)?;
            let below = order::key(&join(&from, &[]));
            let moved: Vec<Vec<u16>> =
                tree.items.keys().filter(|at| at.starts_with(&below)).cloned().collect();
            for at in moved {
                if let Some(child) = tree.items.remove(&at) {
                    let rest = &at[below.len()..];
                    tree.put(&join(&to, rest), child);
                }
            }
            tree.items.remove(&order::key(&from));
            tree.put(&to, Item { name: name.to_vec(), ..item.clone() });
            if is_moved {
                bury(&root, &mut tree, &from)?;
            }
        }
        provider.notify(PRJ_NOTIFICATION_FILE_RENAMED, &from, item.dir, &to);
        Ok(())
    }

    fn delete(&self, root: &Path, place: &str) -> Result<(), Code> {
        let text = place;
        let (found, provider) = find(root)?;
        let place = wide(place);
        let item = reach(&found, &provider, &place)?;
        if item.dir && !self.list(root, text, Scan::default())?.is_empty() {
            return Err(win32(145));
        }
        ask(&provider, PRJ_NOTIFICATION_PRE_DELETE, &place, item.dir)?;
        // A removal ends with the last handle, and whoever closes that one has caused it: if the file is
        // open here, the provider, whose process this is. It may have closed it when it hears of it.
        let mut told = Ask::of(&place);
        {
            let mut tree = lock(&found.state);
            if !item.dir && found.have_alone(&place).is_err() {
                told.process = std::process::id();
            }
            for (at, child) in tree.children(&place) {
                let _ = found.unlink(&join(&place, &child.name), false);
                tree.items.remove(&at);
            }
            found.unlink(&place, item.dir).or_else(failed)?;
            bury(&found, &mut tree, &place)?;
        }
        provider.tell(PRJ_NOTIFICATION_FILE_HANDLE_CLOSED_FILE_DELETED, &told, item.dir, &[]);
        Ok(())
    }

    fn touch(&self, root: &Path, place: &str, ticks: u64) -> Result<(), Code> {
        let (root, provider) = find(root)?;
        let place = wide(place);
        reach(&root, &provider, &place)?;
        let unix = ticks.saturating_sub(TICKS_TO_UNIX).saturating_mul(100);
        let time = UNIX_EPOCH + Duration::from_nanos(unix);
        let file = File::options().write(true).open(root.disk(&place)).or_else(failed)?;
        file.set_modified(time).or_else(failed)?;
        if let Some(item) = lock(&root.state).get_mut(&place)
            && item.state.is_placeholder()
        {
            item.state = State::Dirty;
        }
        Ok(())
    }

    fn link(&self, root: &Path, place: &str) -> Result<(), Code> {
        let (root, provider) = find(root)?;
        let place = wide(place);
        reach(&root, &provider, &place)?;
        ask(&provider, PRJ_NOTIFICATION_PRE_SET_HARDLINK, &place, false)
    }

    fn open(&self, root: &Path, place: &str) -> Result<(), Code> {
        let (root, provider) = find(root)?;
        reach(&root, &provider, &wide(place)).map(drop)
    }

    fn exists(&self, root: &Path, place: &str) -> Result<bool, Code> {
        let (_, provider) = find(root)?;
        let place = wide(place);
        let Some(query) = provider.callbacks.0.QueryFileNameCallback else { return Err(NOT_FOUND) };
        let mut call = |data: *const PRJ_CALLBACK_DATA| {
            // SAFETY: the data is valid during the call.
            unsafe { query(data) }.0
        };
        match provider.command(&Ask::of(&place), Pending::default(), &mut call).0 {
            OK => Ok(true),
            NOT_FOUND => Ok(false),
            other => Err(other),
        }
    }

    fn hold(&self, root: &Path, place: &str, on: bool) {
        if let Some(root) = instance::root(root)
            && let Some(item) = lock(&root.state).get_mut(&wide(place))
        {
            item.held = if on { item.held + 1 } else { item.held.saturating_sub(1) };
        }
    }

    fn state(&self, root: &Path, place: &str) -> &'static str {
        let root = instance::root(root);
        root.and_then(|root| lock(&root.state).get(&wide(place)).map(|item| item.state.name()))
            .unwrap_or("virtual")
    }

    fn violations(&self) -> Vec<String> {
        violations()
    }
}
