//! Just enough of HTTP/1.1 to download from the store (RFC 9112): GET over one connection that is
//! kept, answers with a length.

use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

pub(super) struct Http {
    address: String,
    stream: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

impl Http {
    pub(super) fn connect(address: &str) -> Result<Http> {
        let stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
        stream.set_nodelay(true)?;
        let stream = BufReader::with_capacity(BUFFER, stream);
        Ok(Http { address: address.to_owned(), stream, buffer: vec![0; BUFFER] })
    }

    pub(super) fn text(&mut self, path: &str) -> Result<String> {
        let mut text = Vec::new();
        self.get(path, None, |part| text.extend_from_slice(part))?;
        Ok(String::from_utf8(text)?)
    }

    /// Downloads and drops a body; returns its length.
    pub(super) fn download(&mut self, path: &str, token: &str) -> Result<u64> {
        let mut total = 0;
        self.get(path, Some(token), |part| total += part.len() as u64)?;
        Ok(total)
    }

    /// Downloads a body into a file; returns its length.
    pub(super) fn download_to(&mut self, path: &str, token: &str, file: &mut File) -> Result<u64> {
        let (mut total, mut written) = (0, Ok(()));
        self.get(path, Some(token), |part| {
            total += part.len() as u64;
            if written.is_ok() {
                written = file.write_all(part);
            }
        })?;
        written?;
        Ok(total)
    }

    fn get(&mut self, path: &str, token: Option<&str>, mut take: impl FnMut(&[u8])) -> Result<()> {
        let who = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: {}\r\nmeshdrive-protocol: 1.0\r\n", self.address);
        let head = head + &who.unwrap_or_default() + "\r\n";
        self.stream.get_mut().write_all(head.as_bytes())?;
        let mut left = self.head().with_context(|| format!("GET {path}"))?;
        while left > 0 {
            let want = usize::try_from(left)?.min(self.buffer.len());
            let read = self.stream.read(&mut self.buffer[..want])?;
            if read == 0 {
                bail!("GET {path}: the answer ended early");
            }
            take(&self.buffer[..read]);
            left -= read as u64;
        }
        Ok(())
    }

    /// Reads the head of an answer; returns the length of its body.
    fn head(&mut self) -> Result<u64> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if line.split(' ').nth(1) != Some("200") {
            bail!("the store answered {}", line.trim_end());
        }
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                return length.context("an answer without a length");
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
    }
}
