//! A line between devices and the store that can be slow, narrow or cut, and that counts.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes that are taken from a connection at a time.
const PIECE: usize = 16 << 10;
/// Pieces on their way in one direction of one connection: 4 MiB, above bandwidth x delay of any
/// line that the tests lay.
const PIECES: usize = 256;

/// What the line is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    pub round_trip: Duration,
    /// Bits a second in each direction, shared by all connections; `None`: no bound.
    pub bits_per_second: Option<u64>,
}

impl Line {
    /// Adds nothing, only counts.
    pub const FAST: Line = Line { round_trip: Duration::ZERO, bits_per_second: None };

    pub fn new(round_trip_ms: u64, megabits_per_second: u64) -> Line {
        Line {
            round_trip: Duration::from_millis(round_trip_ms),
            bits_per_second: Some(megabits_per_second * 1_000_000),
        }
    }
}

/// What has gone over the line so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Bytes from devices to the store.
    pub up: u64,
    /// Bytes from the store to devices.
    pub down: u64,
    pub connections: u64,
    pub requests: u64,
}

impl Traffic {
    /// What came since an earlier look.
    pub fn since(self, earlier: Traffic) -> Traffic {
        Traffic {
            up: self.up - earlier.up,
            down: self.down - earlier.down,
            connections: self.connections - earlier.connections,
            requests: self.requests - earlier.requests,
        }
    }
}

/// Listens at a free port of the loopback until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    target: String,
    round_trip: Mutex<Line>,
    is_cut: AtomicBool,
    ended: AtomicBool,
    up: Lane,
    down: Lane,
    connections: AtomicU64,
    requests: AtomicU64,
    /// Connections up to this number lead nowhere any more.
    stranded: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// One direction.
#[derive(Debug)]
struct Lane {
    bytes: AtomicU64,
    /// When the last piece will have left the sender.
    busy_until: Mutex<Instant>,
    /// Bytes that still pass before every connection breaks.
    budget: AtomicU64,
}

impl Lane {
    fn new() -> Lane {
        Lane {
            bytes: AtomicU64::new(0),
            busy_until: Mutex::new(Instant::now()),
            budget: AtomicU64::new(u64::MAX),
        }
    }

    /// Takes its place in the lane; when the piece arrives.
    fn arrival(&self, bytes: usize, line: Line) -> Instant {
        let mut busy = self.busy_until.lock().unwrap();
        let start = (*busy).max(Instant::now());
        *busy = match line.bits_per_second {
            Some(rate) => start + Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64),
            None => start,
        };
        *busy + line.round_trip / 2
    }
}

impl Proxy {
    /// A line to the store at `target` (`host:port`).
    pub fn start(target: &str, line: Line) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: target.into(),
            round_trip: Mutex::new(line),
            is_cut: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            up: Lane::new(),
            down: Lane::new(),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            stranded: AtomicU64::new(0),
            open: Mutex::new(Vec::new()),
        });
        let accepting = shared.clone();
        thread::spawn(move || accept(&listener, &accepting));
        Proxy { shared, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn traffic(&self) -> Traffic {
        Traffic {
            up: self.shared.up.bytes.load(Relaxed),
            down: self.shared.down.bytes.load(Relaxed),
            connections: self.shared.connections.load(Relaxed),
            requests: self.shared.requests.load(Relaxed),
        }
    }

    pub fn set_line(&self, line: Line) {
        *self.shared.round_trip.lock().unwrap() = line;
    }

    /// Breaks every connection and takes no new one.
    pub fn cut(&self) {
        self.shared.is_cut.store(true, Relaxed);
        self.shared.break_all();
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.shared.down.budget.store(u64::MAX, Relaxed);
        self.shared.is_cut.store(false, Relaxed);
    }

    /// From now on every open connection takes all in and gives nothing out, and nobody is told: what a
    /// router does that has forgotten them. New connections pass.
    pub fn strand(&self) {
        self.shared.stranded.store(self.shared.connections.load(Relaxed), Relaxed);
    }

    /// Lets `bytes` more through to the devices, then cuts in the middle of whatever that was.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.down.budget.store(bytes, Relaxed);
    }

    pub fn is_cut(&self) -> bool {
        self.shared.is_cut.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Relaxed);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// Takes the ends of a connection in; false if the line is cut. Asked under the lock of `open`: a
    /// cut comes either before that and is seen, or after it and breaks this connection too.
    fn admit(&self, ends: [TcpStream; 2]) -> bool {
        let mut open = self.open.lock().unwrap();
        let admitted = !self.is_cut.load(Relaxed);
        if admitted {
            open.extend(ends);
        }
        admitted
    }

    fn break_all(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.ended.load(Relaxed) {
            return;
        }
        let Ok(client) = client else { continue };
        if !shared.is_cut.load(Relaxed) {
            connect(client, shared);
        }
    }
}

fn connect(client: TcpStream, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect(&shared.target) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let twin = |stream: &TcpStream| stream.try_clone().unwrap();
    if !shared.admit([twin(&client), twin(&server)]) {
        return;
    }
    let number = shared.connections.fetch_add(1, Relaxed) + 1;
    carry((twin(&client), twin(&server)), (shared, number), true);
    carry((server, client), (shared, number), false);
}

/// Carries one direction of a connection: one thread takes pieces in, one gives them out in time.
fn carry((from, to): (TcpStream, TcpStream), (shared, number): (&Arc<Shared>, u64), is_up: bool) {
    let (sender, receiver) = sync_channel(PIECES);
    let taking = shared.clone();
    thread::spawn(move || take(from, &sender, &taking, is_up));
    let giving = shared.clone();
    thread::spawn(move || give(to, &receiver, (&giving, number), is_up));
}

type Piece = (Instant, Vec<u8>);

fn take(mut from: TcpStream, to: &SyncSender<Piece>, shared: &Shared, is_up: bool) {
    let mut requests = Requests::default();
    let mut buffer = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let piece = buffer[..count].to_vec();
        if is_up {
            shared.requests.fetch_add(requests.count(&piece), Relaxed);
        }
        let line = *shared.round_trip.lock().unwrap();
        let lane = if is_up { &shared.up } else { &shared.down };
        if to.send((lane.arrival(count, line), piece)).is_err() {
            return;
        }
    }
}

fn give(mut to: TcpStream, from: &Receiver<Piece>, (shared, number): (&Shared, u64), is_up: bool) {
    let is_stranded = || number <= shared.stranded.load(Relaxed);
    let lane = if is_up { &shared.up } else { &shared.down };
    for (arrival, piece) in from {
        thread::sleep(arrival.saturating_duration_since(Instant::now()));
        if is_stranded() {
            continue;
        }
        let left = lane.budget.load(Relaxed);
        let pass = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if left != u64::MAX {
            lane.budget.fetch_sub(pass as u64, Relaxed);
        }
        if to.write_all(&piece[..pass]).is_err() {
            return;
        }
        lane.bytes.fetch_add(pass as u64, Relaxed);
        if pass < piece.len() {
            shared.is_cut.store(true, Relaxed);
            shared.break_all();
            return;
        }
    }
    if !is_stranded() {
        let _ = to.shutdown(Shutdown::Write);
    }
}

/// Counts requests in what a client sends: request lines of HTTP/1.1, HEADERS frames of HTTP/2
/// (RFC 9113, 6.2; trailers would count too, but our client sends none).
#[derive(Debug, Default)]
struct Requests {
    seen: Vec<u8>,
    is_h2: Option<bool>,
    /// Bytes of the current frame's payload, or of the preface, that are still to come.
    skip: usize,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const LINE_END: &[u8] = b" HTTP/1.1\r\n";

impl Requests {
    fn count(&mut self, piece: &[u8]) -> u64 {
        self.seen.extend_from_slice(piece);
        if self.is_h2.is_none() && self.seen.len() >= 3 {
            let is_h2 = PREFACE.starts_with(&self.seen[..3]);
            self.skip = if is_h2 { PREFACE.len() } else { 0 };
            self.is_h2 = Some(is_h2);
        }
        match self.is_h2 {
            Some(true) => self.frames(),
            Some(false) => self.lines(),
            None => 0,
        }
    }

    fn frames(&mut self) -> u64 {
        let mut count = 0;
        loop {
            let skipped = self.skip.min(self.seen.len());
            self.seen.drain(..skipped);
            self.skip -= skipped;
            if self.skip > 0 || self.seen.len() < FRAME_HEAD {
                return count;
            }
            let length = self.seen[..3].iter().fold(0, |all, byte| all << 8 | usize::from(*byte));
            count += u64::from(self.seen[3] == HEADERS);
            self.skip = FRAME_HEAD + length;
        }
    }

    fn lines(&mut self) -> u64 {
        let found = self.seen.windows(LINE_END.len()).filter(|part| *part == LINE_END).count();
        // What could be the beginning of one more stays.
        let keep = self.seen.len().min(LINE_END.len() - 1);
        self.seen.drain(..self.seen.len() - keep);
        found as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_in_both_versions() {
        let mut plain = Requests::default();
        let text = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\nPOST /b HTTP/1.1\r\n\r\n";
        let found: u64 = text.chunks(5).map(|part| plain.count(part)).sum();
        assert_eq!(found, 2);

        let mut framed = Requests::default();
        let mut bytes = PREFACE.to_vec();
        for kind in [4, HEADERS, 0, HEADERS] {
            bytes.extend([0, 0, 3, kind, 0, 0, 0, 0, 1, 7, 7, 7]);
        }
        let found: u64 = bytes.chunks(4).map(|part| framed.count(part)).sum();
        assert_eq!(found, 2);
    }

    #[test]
    fn the_line_counts_and_breaks() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(&listener.local_addr().unwrap().to_string(), Line::new(2, 100));
        let mut near = TcpStream::connect(proxy.address).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"ping").unwrap();
        let mut buffer = [0; 4];
        far.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"ping");
        crate::wait::wait_until("it is counted", || proxy.traffic().up == 4);
        proxy.cut_after(2);
        far.write_all(b"pong").unwrap();
        let mut rest = Vec::new();
        let _ = near.read_to_end(&mut rest);
        assert_eq!((rest.as_slice(), proxy.is_cut()), (&b"po"[..], true));
    }

    #[test]
    fn no_connection_outlives_a_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap().to_string();
        // Whoever is connected waits for bytes that do not come.
        thread::spawn(move || listener.incoming().map(Result::unwrap).collect::<Vec<_>>());
        for round in 0..300 {
            let proxy = Proxy::start(&target, Line::FAST);
            let address = proxy.address;
            let connecting =
                thread::spawn(move || [(); 4].map(|()| TcpStream::connect(address).unwrap()));
            // Anywhere in the midst of it.
            (0..round * 20).for_each(|_| std::hint::spin_loop());
            proxy.cut();
            for mut near in connecting.join().unwrap() {
                near.set_read_timeout(Some(crate::wait::PATIENCE / 6)).unwrap();
                let ended = match near.read(&mut [0]) {
                    Ok(count) => count == 0,
                    Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
                };
                assert!(ended, "a connection of round {round} goes on");
            }
        }
    }
}
