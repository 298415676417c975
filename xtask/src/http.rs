//! Just enough HTTP to talk to our own servers on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Fetches `path` and returns the body; fails unless the status is 200.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    ask(address, "GET", path, "")
}

/// Posts nothing to `path` and returns the answer's body; fails unless the status is 200.
pub(crate) fn post(address: SocketAddr, path: &str) -> Result<String> {
    ask(address, "POST", path, "")
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

/// Sends a request whose body is JSON, or empty.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))
        .with_context(|| format!("nothing answers at {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    let mut part = [0; 16 * 1024];
    // Chromedriver keeps the connection open whatever it is asked: the length says when the answer is whole.
    while !is_whole(&answer) {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&part[..length]),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{address} did not answer {method} {path}"));
            }
        }
    }
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

/// Says whether an answer holds as many bytes after its head as the head announces; never so when it announces none.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let announced = head.lines().find_map(|line| {
        line.strip_prefix("content-length:")?
            .trim()
            .parse::<usize>()
            .ok()
    });
    announced.is_some_and(|length| answer.len() - end - 4 >= length)
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn an_answer_is_whole_when_its_length_is_there() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length:4\r\n\r\n";
        assert!(!is_whole(&head[..20]));
        assert!(!is_whole(&[head, &b"abc"[..]].concat()));
        assert!(is_whole(&[head, &b"abcd"[..]].concat()));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\n\r\nabcd"));
    }
}
