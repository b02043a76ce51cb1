//! Lines that lie, refuse or lead nowhere: no storm of requests, nothing wedged, nothing lost.

// A failed step of a test is a failed test.
#![allow(clippy::unwrap_used)]

use meshdrive_tests::{
    Device, Line, Passing, Proxy, Relay, World, comes_about, content, skip, wait_until,
};
use std::{
    fs, io,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// How long requests are counted for.
const WATCHED: Duration = Duration::from_secs(8);

/// A device behind a line that can turn bad: whatever the store answers then becomes `harm`.
struct Behind {
    device: Device,
    line: Proxy,
    is_bad: Arc<AtomicBool>,
    _relay: Relay,
}

impl Behind {
    fn new(world: &World, harm: fn(&mut Passing)) -> Behind {
        let is_bad = Arc::new(AtomicBool::new(false));
        let bad = is_bad.clone();
        let relay = Relay::start(world.server.address(), None, move |answer| {
            if bad.load(Relaxed) {
                harm(answer);
            }
        });
        let target = relay.url().trim_start_matches("http://").to_string();
        let line = Proxy::start(&target, Line::FAST);
        let device = world.join_at("b", &line.url());
        device.mount_with(&["--read-deadline", "3s", "--offline-deadline", "2s"]);
        device.knows_the_tree();
        Behind { device, line, is_bad, _relay: relay }
    }

    fn turn(&self, bad: bool) {
        self.is_bad.store(bad, Relaxed);
        // What is open would go on as before.
        self.line.cut();
        self.line.mend();
    }

    /// Requests that the device makes in a while in which somebody works on it all the time.
    fn requests(&self) -> u64 {
        let (before, start) = (self.line.traffic().requests, Instant::now());
        let mut round = 0;
        while start.elapsed() < WATCHED {
            round += 1;
            let b = &self.device;
            fs::write(b.path(format!("new{}", round % 10)), content(round, 10_000)).unwrap();
            let _ = fs::read_dir(b.root()).unwrap().count();
            let absent = fs::read(b.path("absent"));
            assert!(absent.is_err(), "bytes that are not here cannot be read");
        }
        self.line.traffic().requests - before
    }
}

/// `says`: what the status says is wrong. `most`: requests while the line is bad.
fn scenario(test: &str, harm: fn(&mut Passing), says: &str, most: u64) {
    let Some(world) = World::mounted(test) else { return };
    fs::write(world.a.path("absent"), content(1, 100_000)).unwrap();
    world.a.sync();
    let behind = Behind::new(&world, harm);
    behind.turn(true);
    wait_until("it is told what is wrong", || {
        let status = behind.device.status();
        status["online"] == false && status["sentence"].to_string().contains(says)
    });
    let requests = behind.requests();
    println!("{says}: {requests} requests in {WATCHED:?}");
    assert!(requests <= most, "{says}: {requests} requests in {WATCHED:?}");
    behind.turn(false);
    // `sync` does not wait for a store that is away.
    wait_until("the store is found again", || behind.device.status()["online"] == true);
    behind.device.sync();
    for round in 0..10 {
        let name = format!("new{round}");
        let Ok(ours) = fs::read(behind.device.path(&name)) else { continue };
        wait_until("it has arrived", || fs::read(world.a.path(&name)).is_ok_and(|it| it == ours));
    }
    assert!(world.a.path("new1").exists());
    assert_eq!(fs::read(behind.device.path("absent")).unwrap(), content(1, 100_000));
}

fn page(answer: &mut Passing) {
    answer.status = "HTTP/1.1 200 OK".into();
    answer.headers = vec![("content-type".into(), "text/html".into())];
    answer.body = b"<html><body>Welcome! Log in to use this network.</body></html>".to_vec();
}

fn overloaded(answer: &mut Passing) {
    answer.status = "HTTP/1.1 503 Service Unavailable".into();
    answer.headers = vec![("content-type".into(), "text/plain".into())];
    answer.body = b"try later".to_vec();
}

fn too_many(answer: &mut Passing) {
    overloaded(answer);
    answer.status = "HTTP/1.1 429 Too Many Requests".into();
    answer.headers.push(("retry-after".into(), "5".into()));
}

/// All at once, as each mostly waits. One that asks to be left alone is left alone for as long as it asks.
#[test]
fn stores_that_answer_wrongly_are_not_stormed() {
    let test = "trouble::stores_that_answer_wrongly_are_not_stormed";
    thread::scope(|scope| {
        scope.spawn(|| scenario(test, page, "captive portal", 50));
        scope.spawn(|| scenario(test, overloaded, "503", 50));
        scope.spawn(|| scenario(test, too_many, "429", 16));
    });
}

/// Connections that take everything in and never answer, as after a night's sleep: what is sent finds
/// another way, and so does the news.
#[test]
fn connections_that_lead_nowhere_are_left() {
    let Some(world) = World::mounted("trouble::connections_that_lead_nowhere_are_left") else {
        return;
    };
    let line = Proxy::start(world.server.address(), Line::FAST);
    let b = world.join_at("b", &line.url());
    b.mount();
    b.knows_the_tree();
    fs::write(b.path("before"), b"sent").unwrap();
    b.sync();
    line.strand();
    fs::write(b.path("after"), b"sent too").unwrap();
    fs::write(world.a.path("news"), b"heard").unwrap();
    // A request that moves no byte is given up after half a minute, and then it all goes by another way.
    let patience = Duration::from_secs(50);
    let arrived = || fs::read(world.a.path("after")).is_ok_and(|bytes| bytes == b"sent too");
    assert!(comes_about(patience, arrived), "{}", world.a.status());
    let heard = || fs::read(b.path("news")).is_ok_and(|bytes| bytes == b"heard");
    assert!(comes_about(patience, heard), "{}", b.status());
}

/// The machine gets another address: nobody waits for old connections to be found dead.
#[test]
fn another_network_is_noticed_at_once() {
    let test = "trouble::another_network_is_noticed_at_once";
    let Some(world) = World::mounted(test) else { return };
    let line = Proxy::start(world.server.address(), Line::FAST);
    let b = world.join_at("b", &line.url());
    b.mount();
    b.knows_the_tree();
    line.strand();
    let address = Address::add();
    if address.is_none() {
        return skip(test, "`ip address add` is not allowed or not there");
    }
    fs::write(world.a.path("news"), b"heard").unwrap();
    // A feed that is silent is given up after a minute only.
    let heard = || fs::read(b.path("news")).is_ok_and(|bytes| bytes == b"heard");
    assert!(comes_about(Duration::from_secs(30), heard), "{}", b.status());
}

/// A second address of the loopback, until it is dropped.
struct Address;

impl Address {
    const TEXT: &str = "127.83.41.9/32";

    fn add() -> Option<Address> {
        Address::change("add").ok().filter(|added| *added).map(|_| Address)
    }

    fn change(verb: &str) -> io::Result<bool> {
        let arguments = ["address", verb, Address::TEXT, "dev", "lo"];
        Ok(Command::new("ip").args(arguments).output()?.status.success())
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let gone = Address::change("del").is_ok_and(|gone| gone);
        assert!(gone || thread::panicking(), "the address stays");
    }
}
