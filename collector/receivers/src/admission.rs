//! Reading a body within its limit, its time and the memory that all requests share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Body;

use crate::ingest::Failure;

/// Bytes that all requests in flight may hold, from their arrival until their spans are committed, shared fairly
/// among senders, which are told apart by their address.
///
/// No sender may hold more than is still free, unless it has a single request in flight. So one that floods is held to
/// half of the budget, two to a third each, and room is left for whoever comes next, without a setting: the dynamic
/// thresholds of shared-memory switches (Choudhury and Hahne, "Dynamic queue length thresholds", 1998, with alpha 1).
#[derive(Clone)]
pub(crate) struct Budget(Arc<Shared>);

struct Shared {
    total: usize,
    // The mutex is std and held for a few additions, never across an await.
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    senders: HashMap<IpAddr, OfSender>,
}

#[derive(Default)]
struct OfSender {
    bytes: usize,
    requests: usize,
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Shared {
            total: bytes,
            held: Mutex::default(),
        }))
    }

    /// Bytes held now.
    pub(crate) fn held(&self) -> usize {
        self.0.held().bytes
    }

    /// Bytes that may be held.
    pub(crate) fn total(&self) -> usize {
        self.0.total
    }

    /// An empty share for one request of `sender`, which grows with what is read.
    pub(crate) fn share(&self, sender: IpAddr) -> Share {
        self.0.held().senders.entry(sender).or_default().requests += 1;
        Share {
            shared: Arc::clone(&self.0),
            sender,
            bytes: 0,
        }
    }
}

/// One request's part of the budget; given back when dropped.
pub(crate) struct Share {
    shared: Arc<Shared>,
    sender: IpAddr,
    bytes: usize,
}

impl Share {
    /// Takes `more` bytes, without waiting: what waits for memory also holds some.
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), Failure> {
        let mut held = self.shared.held();
        let free = self.shared.total.saturating_sub(held.bytes);
        // A request above the whole budget is let in alone: it could never be taken otherwise.
        let alone = held.bytes == self.bytes;
        let sender = held.senders.entry(self.sender).or_default();
        let fair = sender.requests <= 1 || sender.bytes.saturating_add(more) <= free;
        if !alone && more > free {
            return Err(Failure::Retry(
                "too many bytes of requests are in flight".into(),
            ));
        }
        if !alone && !fair {
            return Err(Failure::Retry(
                "too many bytes of this sender's requests are in flight".into(),
            ));
        }
        sender.bytes += more;
        held.bytes += more;
        self.bytes += more;
        Ok(())
    }

    /// Gives `less` bytes back.
    pub(crate) fn shrink(&mut self, less: usize) {
        let less = less.min(self.bytes);
        let mut held = self.shared.held();
        held.bytes -= less;
        if let Some(sender) = held.senders.get_mut(&self.sender) {
            sender.bytes -= less;
        }
        self.bytes -= less;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.bytes);
        let mut held = self.shared.held();
        if let Some(sender) = held.senders.get_mut(&self.sender) {
            sender.requests -= 1;
            if sender.requests == 0 {
                held.senders.remove(&self.sender);
            }
        }
    }
}

/// How long a body may take.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// From one piece to the next.
    pub(crate) idle: Duration,
    /// From the first to the last.
    pub(crate) whole: Duration,
}

/// How a body tells its length.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    /// By its `Content-Length`, if it has one.
    Header(Option<u64>),
    /// By gRPC's frame, in its first five bytes.
    Frame,
}

/// Collects a body of at most `limit` bytes. What it tells of its length is believed to refuse early, and for the
/// size of a buffer once a good part of it is there.
pub(crate) async fn read_body<B>(
    mut body: B,
    length: Length,
    limit: usize,
    patience: Patience,
    share: &mut Share,
) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut announced = match length {
        Length::Header(length) => length,
        Length::Frame => None,
    };
    let too_large = |announced: Option<u64>| announced.is_some_and(|length| length > limit as u64);
    if too_large(announced) {
        return Err(Failure::TooLarge { limit });
    }
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    let end = tokio::time::Instant::now() + patience.whole;
    loop {
        // A sender that trickles is never idle, so the whole has its time too.
        let next = (tokio::time::Instant::now() + patience.idle).min(end);
        let frame = match tokio::time::timeout_at(next, body.frame()).await {
            Err(_) => return Err(Failure::TooSlow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Failure::Bad("the request's body was cut off".into())),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > limit {
            return Err(Failure::TooLarge { limit });
        }
        // Most requests are one frame, which is then not copied.
        if first.is_empty() && rest.is_empty() {
            share.grow(data.len())?;
            if let (Length::Frame, Some([_, length @ ..])) = (length, data.first_chunk::<5>()) {
                announced = Some(5 + u64::from(u32::from_be_bytes(*length)));
                if too_large(announced) {
                    return Err(Failure::TooLarge { limit });
                }
            }
            first = data;
        } else {
            let length = first.len() + rest.len() + data.len();
            if length > rest.capacity() {
                // What was announced, if it is not far from what came; a promise alone takes no memory.
                let announced = announced.and_then(|length| usize::try_from(length).ok());
                let room = announced
                    .filter(|announced| (length..=length.saturating_mul(16)).contains(announced))
                    .unwrap_or(length.saturating_mul(2))
                    .min(limit);
                share.grow(room - rest.capacity().max(first.len()))?;
                rest.reserve_exact(room - rest.len());
            }
            rest.extend_from_slice(&first);
            first.clear();
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

/// Compares in a time that does not depend on where the two differ.
pub(crate) fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

/// Takes gRPC's one message out of a unary call's body: a flag, a length, the message.
pub(crate) fn unframe(mut body: Bytes) -> Result<(bool, Bytes), &'static str> {
    if body.remaining() < 5 {
        return Err("the call holds no message");
    }
    let compressed = match body.get_u8() {
        0 => false,
        1 => true,
        _ => return Err("the message's compression flag is neither 0 nor 1"),
    };
    if body.get_u32() as usize != body.remaining() {
        return Err("the message's length is not what the call holds");
    }
    Ok((compressed, body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{Budget, Share};

    const FLOOD: [u8; 4] = [10, 0, 0, 1];

    /// Requests of one sender, of 1,000 bytes each, until it is refused.
    fn flood(budget: &Budget, sender: [u8; 4]) -> Vec<Share> {
        let mut shares = Vec::new();
        loop {
            let mut share = budget.share(sender.into());
            if share.grow(1_000).is_err() {
                return shares;
            }
            shares.push(share);
        }
    }

    #[test]
    fn one_sender_that_floods_gets_half_and_two_a_third_each() {
        let budget = Budget::new(90_000);
        let first = flood(&budget, FLOOD);
        assert_eq!(first.len(), 45);
        drop(first);
        assert_eq!(budget.held(), 0);
        let mut shares = Vec::new();
        for round in 0.. {
            let mut both = [FLOOD, [10, 0, 0, 2]].map(|sender| budget.share(sender.into()));
            let taken = both.each_mut().map(|share| share.grow(1_000).is_ok());
            if taken == [false, false] {
                assert_eq!(round, 30);
                break;
            }
            shares.push(both);
        }
    }

    #[test]
    fn a_single_request_may_take_all_that_is_free_and_alone_even_more() {
        let budget = Budget::new(10_000);
        let mut other = budget.share([10, 0, 0, 9].into());
        other.grow(1_000).unwrap();
        let mut single = budget.share(FLOOD.into());
        assert!(single.grow(9_001).is_err());
        single.grow(9_000).unwrap();
        drop((other, single));
        budget.share(FLOOD.into()).grow(1_000_000).unwrap();
    }

    #[test]
    fn what_is_dropped_is_given_back_and_forgotten() {
        let budget = Budget::new(1_000);
        let mut share = budget.share(FLOOD.into());
        share.grow(500).unwrap();
        share.shrink(200);
        assert_eq!(budget.held(), 300);
        drop(share);
        assert_eq!(budget.held(), 0);
        assert!(budget.0.held().senders.is_empty());
    }
}
