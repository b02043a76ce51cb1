//! A slow line: a TCP proxy with a delay, a rate that all connections share, and byte counters.

use anyhow::{Context, Result};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes taken from a connection at once.
const STEP: usize = 16 << 10;
/// Bytes that may wait in the line before a sender is held up, as time at the line's rate.
const QUEUE: Duration = Duration::from_millis(60);
/// Steps that may wait in memory for a receiver that does not take them.
const STEPS_WAITING: usize = 256;

/// What a line is like, in each direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) one_way: Duration,
    /// Bits a second; `None`: as fast as it goes.
    pub(super) rate: Option<u64>,
}

/// One direction of the line.
#[derive(Debug)]
struct Lane {
    line: Line,
    bytes: AtomicU64,
    /// When the last byte that was let in has gone out.
    free: Mutex<Instant>,
}

impl Lane {
    fn new(line: Line) -> Arc<Lane> {
        Arc::new(Lane { line, bytes: AtomicU64::new(0), free: Mutex::new(Instant::now()) })
    }

    /// Takes `len` bytes in; returns when they arrive at the other end.
    fn enter(&self, len: usize) -> Instant {
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
        let Some(rate) = self.line.rate else { return Instant::now() + self.line.one_way };
        let takes = Duration::from_secs_f64(len as f64 * 8.0 / rate as f64);
        let (out, wait) = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            *free = (*free).max(now) + takes;
            (*free, free.saturating_duration_since(now + QUEUE))
        };
        thread::sleep(wait);
        out + self.line.one_way
    }
}

/// Runs until the process ends: its threads hold nothing but sockets.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) url: String,
    up: Arc<Lane>,
    down: Arc<Lane>,
    connections: Arc<Mutex<Connections>>,
}

/// What goes through the line now.
#[derive(Debug, Default)]
struct Connections {
    cut: bool,
    open: Vec<TcpStream>,
}

impl Proxy {
    /// A line to `server`.
    pub(super) fn start(server: &str, line: Line) -> Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("the proxy's port")?;
        let url = format!("http://{}", listener.local_addr()?);
        let (up, down) = (Lane::new(line), Lane::new(line));
        let connections = Arc::<Mutex<Connections>>::default();
        let proxy = Proxy {
            url,
            up: Arc::clone(&up),
            down: Arc::clone(&down),
            connections: Arc::clone(&connections),
        };
        let server = server.to_owned();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
                if connections.cut {
                    continue;
                }
                // A connection that cannot be made is closed; the client sees that.
                if let Ok(far) = TcpStream::connect(&server) {
                    connections
                        .open
                        .extend([near.try_clone(), far.try_clone()].into_iter().flatten());
                    let _ = relay(near, far, &up, &down);
                }
            }
        });
        Ok(proxy)
    }

    /// Ends all connections and refuses new ones, or takes them again.
    pub(super) fn cut(&self, cut: bool) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.cut = cut;
        if cut {
            for stream in connections.open.drain(..) {
                // It may have ended by itself.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Bytes sent to the store and received from it so far.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.up.bytes.load(Ordering::Relaxed), self.down.bytes.load(Ordering::Relaxed))
    }
}

fn relay(near: TcpStream, far: TcpStream, up: &Arc<Lane>, down: &Arc<Lane>) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (from, to) = (near.try_clone()?, far.try_clone()?);
    carry(from, to, Arc::clone(up));
    carry(far, near, Arc::clone(down));
    Ok(())
}

/// Carries one direction of a connection: one thread takes bytes in, one lets them out when due.
fn carry(mut from: TcpStream, mut to: TcpStream, lane: Arc<Lane>) {
    let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(STEPS_WAITING);
    thread::spawn(move || {
        let mut buffer = vec![0; STEP];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let due = lane.enter(read);
            if sender.send((due, buffer[..read].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each byte with a byte.
    fn echo() -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                stream.write_all(&buffer[..read]).unwrap();
            }
        });
        address
    }

    #[test]
    fn a_round_trip_takes_at_least_both_ways_and_is_counted() {
        let line = Line { one_way: Duration::from_millis(15), rate: Some(8_000_000) };
        let proxy = Proxy::start(&echo(), line).unwrap();
        let mut stream = TcpStream::connect(proxy.url.trim_start_matches("http://")).unwrap();
        let start = Instant::now();
        stream.write_all(&[7; 10_000]).unwrap();
        let mut back = [0; 10_000];
        stream.read_exact(&mut back).unwrap();
        // Twice 15 ms, and twice 10 ms for 10 kB at 1 MB/s less what overlaps.
        assert!(start.elapsed() >= Duration::from_millis(40), "{:?}", start.elapsed());
        assert_eq!(back, [7; 10_000]);
        assert_eq!(proxy.bytes(), (10_000, 10_000));
    }

    #[test]
    fn a_line_that_is_cut_ends_what_is_open() {
        let line = Line { one_way: Duration::ZERO, rate: None };
        let proxy = Proxy::start(&echo(), line).unwrap();
        let mut stream = TcpStream::connect(proxy.url.trim_start_matches("http://")).unwrap();
        stream.write_all(&[7]).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        proxy.cut(true);
        assert!(!matches!(stream.read(&mut [0]), Ok(1)), "a byte came through a line that is cut");
    }
}
