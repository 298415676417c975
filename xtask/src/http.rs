//! Just enough HTTP to talk to our own servers on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Fetches `path` and returns the body; fails unless the status is 200.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    ask(address, "GET", path)
}

/// Posts nothing to `path` and returns the answer's body; fails unless the status is 200.
pub(crate) fn post(address: SocketAddr, path: &str) -> Result<String> {
    ask(address, "POST", path)
}

/// Reads `http://127.0.0.1:1234` or `127.0.0.1:1234`.
pub(crate) fn address(text: &str) -> Result<SocketAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    bare.parse()
        .with_context(|| format!("{text:?} is not the address of a server"))
}

fn ask(address: SocketAddr, method: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))
        .with_context(|| format!("nothing answers at {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // HTTP/1.0: the body is neither cut into chunks nor compressed, and ends with the connection.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .with_context(|| format!("{address} did not answer {method} {path}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| {
        format!("{address} answered {method} {path} with something else than HTTP")
    })?;
    let status = head.split(' ').nth(1).unwrap_or("nothing");
    if status != "200" {
        bail!(
            "{method} {path} was answered with status {status}: {}",
            body.trim()
        );
    }
    Ok(body.to_owned())
}
