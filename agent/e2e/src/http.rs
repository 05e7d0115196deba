//! One HTTP request at a time, timed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use crate::Outcome;

/// An answer.
pub struct Response {
    /// The status line and headers.
    pub head: String,
    /// The body.
    pub body: String,
    /// From connecting until the last byte.
    pub took: Duration,
}

/// Fetches a path from a port on loopback.
///
/// # Errors
/// Where nothing answers within five seconds, or not with success.
pub fn get(port: u16, path: &str, accept: &str) -> Outcome<Response> {
    let began = Instant::now();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_nodelay(true)?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::with_capacity(256 * 1024);
    stream.read_to_end(&mut bytes)?;
    let took = began.elapsed();
    let text = String::from_utf8(bytes)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no end of the headers")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("{path}: {}", head.lines().next().unwrap_or("")).into());
    }
    let chunked = head.to_lowercase().contains("\r\ntransfer-encoding: chunked");
    let body = if chunked { whole(body).ok_or("a chunk ends early")? } else { body.to_owned() };
    Ok(Response { head: head.to_owned(), body, took })
}

/// A chunked body in one piece, as Prometheus sends answers of more than 2 KiB.
fn whole(mut chunks: &str) -> Option<String> {
    let mut body = String::with_capacity(chunks.len());
    loop {
        let (length, rest) = chunks.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.push_str(rest.get(..length)?);
        chunks = rest.get(length..)?.strip_prefix("\r\n")?;
    }
}

/// A connection that stays open from scrape to scrape, as Prometheus keeps it.
pub struct Scraper(BufReader<TcpStream>);

impl Scraper {
    /// Connects to a port on loopback.
    ///
    /// # Errors
    /// Where nothing listens there.
    pub fn connect(port: u16) -> Outcome<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(256 * 1024, stream)))
    }

    /// From sending the request until the last byte of the answer; and its length.
    ///
    /// # Errors
    /// Where the answer is no success, or does not come.
    pub fn scrape(&mut self) -> Outcome<(Duration, usize)> {
        let began = Instant::now();
        self.0.get_mut().write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200") {
            return Err(line.into());
        }
        let mut length = None;
        while line.trim_end() != "" {
            line.clear();
            self.0.read_line(&mut line)?;
            if let Some(stated) = line.to_lowercase().strip_prefix("content-length:") {
                length = Some(stated.trim().parse()?);
            }
        }
        let mut body = vec![0; length.ok_or("no length")?];
        self.0.read_exact(&mut body)?;
        Ok((began.elapsed(), body.len()))
    }
}

/// The value of one series in a classic scrape, written exactly as there.
pub fn value(scrape: &str, series: &str) -> Option<f64> {
    scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}
