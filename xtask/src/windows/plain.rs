//! Just enough of a server of HTTP/1.1 (RFC 9112) to compare downloads with: `GET /N` gives N bytes.

use anyhow::{Context, Result};
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// Bytes written at once.
const BUFFER: usize = 256 << 10;

/// Its thread ends with the process.
pub(super) struct Plain {
    /// `host:port`
    pub(super) address: String,
}

impl Plain {
    pub(super) fn start() -> Result<Plain> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a server to compare with")?;
        let address = listener.local_addr()?.to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever asked for it notices.
                let _ = serve(stream);
            }
        });
        Ok(Plain { address })
    }
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
    }
    let wanted = first.split(' ').nth(1).and_then(|path| path.strip_prefix('/')?.parse().ok());
    let mut left: usize = wanted.unwrap_or(0);
    let mut stream = reader.into_inner();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {left}\r\nconnection: close\r\n\r\n")?;
    let buffer = vec![0x5a; BUFFER];
    while left > 0 {
        let part = left.min(BUFFER);
        stream.write_all(&buffer[..part])?;
        left -= part;
    }
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn as_many_bytes_come_as_were_asked_for() {
        let plain = Plain::start().unwrap();
        let mut stream = TcpStream::connect(&plain.address).unwrap();
        stream.write_all(b"GET /300000 HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
        assert_eq!(answer.len() - head - 4, 300_000);
    }
}
