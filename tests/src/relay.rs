//! A store that answers wrongly: passes requests on to a real one and changes what it says.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

/// An answer on its way.
#[derive(Debug)]
pub struct Passing {
    /// `GET /v1/...`, without the query.
    pub request: String,
    /// `HTTP/1.1 200 OK`
    pub status: String,
    /// Name in lower case, value.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How many bytes of the body get through before the connection breaks; `None`: all.
    pub break_after: Option<usize>,
}

/// The media type of a stream of events (HTML living standard, 9.2).
const EVENTS: &str = "text/event-stream";

type Change = Arc<Mutex<Box<dyn FnMut(&mut Passing) + Send>>>;

/// Speaks HTTP/1.1, one request a connection. Long-lived streams pass unchanged, unless they are made into
/// something else before they begin.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Relay {
    /// `version`: the protocol version that requests claim, in place of their own.
    pub fn start(
        target: &str,
        version: Option<&'static str>,
        change: impl FnMut(&mut Passing) + Send + 'static,
    ) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let (target, stop) = (target.to_string(), ended.clone());
        let change: Change = Arc::new(Mutex::new(Box::new(change)));
        thread::spawn(move || {
            for near in listener.incoming() {
                if stop.load(Relaxed) {
                    return;
                }
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(&target)) else { continue };
                let change = change.clone();
                // An error is a connection that one side has closed.
                thread::spawn(move || pass(&near, &far, version, &change).ok());
            }
        });
        Relay { address, ended }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

struct Head {
    first: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn read(from: &mut impl BufRead) -> std::io::Result<Head> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_string()),
            }
        }
        let first = if lines.is_empty() { String::new() } else { lines.remove(0) };
        let split = |line: String| {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            (name.to_lowercase(), value.trim().to_string())
        };
        Ok(Head { first, headers: lines.into_iter().map(split).collect() })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.into()));
    }

    fn write(&self, to: &mut impl Write) -> std::io::Result<()> {
        let mut text = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        to.write_all(text.as_bytes())
    }

    fn body(&self, from: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if self.get("transfer-encoding").is_some() {
            loop {
                let mut line = String::new();
                from.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
                let start = body.len();
                body.resize(start + size, 0);
                from.read_exact(&mut body[start..])?;
                from.read_line(&mut String::new())?;
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        let length = self.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        body.resize(length, 0);
        from.read_exact(&mut body)?;
        Ok(body)
    }
}

fn pass(
    near: &TcpStream,
    far: &TcpStream,
    version: Option<&str>,
    change: &Change,
) -> std::io::Result<()> {
    let (mut client, mut store) = (BufReader::new(near), BufReader::new(far));
    let mut request = Head::read(&mut client)?;
    let body = request.body(&mut client)?;
    request.set("connection", "close");
    request.set("content-length", &body.len().to_string());
    // What is to be changed must not be compressed.
    request
        .headers
        .retain(|(name, _)| !["transfer-encoding", "accept-encoding"].contains(&name.as_str()));
    if let Some(version) = version {
        request.set(protocol::PROTOCOL_HEADER, version);
    }
    let mut to_store = far;
    request.write(&mut to_store)?;
    to_store.write_all(&body)?;
    let mut answer = Head::read(&mut store)?;
    answer.set("connection", "close");
    let mut to_client = near;
    let is_stream = |kind: Option<&str>| kind.is_some_and(|kind| kind.starts_with(EVENTS));
    let was_stream = is_stream(answer.get("content-type"));
    let body = if was_stream { Vec::new() } else { answer.body(&mut store)? };
    let line = request.first.split(['?', ' ']).take(2).collect::<Vec<_>>().join(" ");
    let mut passing = Passing {
        request: line,
        status: answer.first,
        headers: answer.headers,
        body,
        break_after: None,
    };
    (change.lock().unwrap())(&mut passing);
    let mut answer = Head { first: passing.status, headers: passing.headers };
    if was_stream && is_stream(answer.get("content-type")) {
        answer.write(&mut to_client)?;
        std::io::copy(&mut store, &mut to_client)?;
        return near.shutdown(Shutdown::Both);
    }
    answer.headers.retain(|(name, _)| name != "transfer-encoding");
    answer.set("content-length", &passing.body.len().to_string());
    answer.write(&mut to_client)?;
    let through = passing.break_after.unwrap_or(usize::MAX).min(passing.body.len());
    to_client.write_all(&passing.body[..through])?;
    near.shutdown(Shutdown::Both)
}
