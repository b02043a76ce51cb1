//! What works when all is well.

use super::*;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

#[test]
fn a_file_is_written_read_and_reaches_the_cloud() {
    let world = World::new();
    let engine = world.start();
    let port = engine.port();
    let ino = save(&port, "a", b"hello");
    assert_eq!(lookup(&port, "a"), Ok(ino));
    assert_eq!(read(&port, ino, 100), Ok(b"hello".to_vec()));
    eventually("upload", || world.cloud.content("a").is_some_and(|bytes| bytes == b"hello"));
}

#[test]
fn an_answer_comes_after_its_batch_is_journalled() {
    let world = World::new();
    let engine = world.start();
    let (sender, receiver) = mpsc::channel();
    let local = Arc::clone(&world.local);
    engine.port().submit(create_request("a"), move |answer| {
        let made = matches!(answer, Ok(Response::Created { attr, .. }) if local.knows(attr.ino));
        sender.send(made).unwrap();
    });
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn async_callers_are_answered_too() {
    let world = World::new();
    let engine = world.start();
    let port = engine.port();
    let file = create(&port, "a");
    write(&port, file, 0, b"abc");
    let answers = world.runtime.block_on(async {
        let (ino, handle) = file;
        let read = port.ask(Request::Read { ino, handle, offset: 1, len: 2 });
        let stat = tokio::spawn(port.ask(Request::Getattr { ino }));
        (read.await, stat.await.unwrap())
    });
    assert_eq!(answers.0, Ok(Response::Data(bytes::Bytes::from_static(b"bc"))));
    assert!(matches!(answers.1, Ok(Response::Attr(attr)) if attr.size == 3));
}

#[test]
fn a_sync_is_answered() {
    let world = World::new();
    let engine = world.start();
    let port = engine.port();
    let file = create(&port, "a");
    write(&port, file, 0, b"abc");
    let answer = port.call(Request::Fsync { ino: file.0, data_only: false });
    assert_eq!(answer, Ok(Response::Done));
    // The core may sync for itself as well, before it sends.
    assert!(world.local.syncs.load(Ordering::SeqCst) >= 1);
}

#[test]
fn what_another_device_writes_is_invalidated_fetched_and_read() {
    let world = World::new();
    let engine = world.start();
    let port = engine.port();
    let told = Arc::new(Told::default());
    engine.attach(Arc::clone(&told) as Arc<dyn Driver>);
    let ino = save(&port, "a", b"old");
    eventually("upload", || world.cloud.content("a").is_some());
    assert_eq!(lookup(&port, "a"), Ok(ino));
    let new = vec![7; 300_000];
    world.cloud.overwrite("a", &new);
    eventually("invalidation", || {
        let told = told.0.lock().unwrap();
        told.iter().any(|stale| matches!(stale, Stale::Data(of) | Stale::Attrs(of) if *of == ino))
            || told.contains(&Stale::Entry { parent: Ino::ROOT, name: name("a") })
    });
    let ino = lookup(&port, "a").unwrap();
    assert_eq!(read(&port, ino, 300_000), Ok(new));
    assert!(world.cloud.fetches.load(Ordering::SeqCst) > 0);
}

#[test]
fn everything_is_there_after_a_restart() {
    let world = World::new();
    let engine = world.start();
    let ino = save(&engine.port(), "a", b"kept");
    engine.shutdown().unwrap();
    assert!(world.local.shut.load(Ordering::SeqCst));
    assert_eq!(lookup(&engine.port(), "a"), Err(FsError::Io));
    let engine = world.start();
    let port = engine.port();
    assert_eq!(lookup(&port, "a"), Ok(ino));
    assert_eq!(read(&port, ino, 9), Ok(b"kept".to_vec()));
}

#[test]
fn many_callers_at_once_are_each_answered() {
    let world = World::new();
    let engine = world.start();
    let port = engine.port();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let port = port.clone();
            scope.spawn(move || {
                for file in 0..50 {
                    let text = format!("{thread}-{file}");
                    let ino = save(&port, &text, text.as_bytes());
                    assert_eq!(read(&port, ino, 99), Ok(text.into_bytes()));
                }
            });
        }
    });
    eventually("uploads", || world.cloud.sky().contents.len() >= 200);
}
