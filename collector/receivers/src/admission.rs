//! Reading a body within its limit, its time and the memory that all requests share.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ingest::Failure;

/// Bytes that all requests in flight may hold, counted in KiB.
pub(crate) struct Budget {
    kib: Arc<Semaphore>,
    total_kib: u32,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let total_kib = to_kib(bytes).max(1);
        Self {
            kib: Arc::new(Semaphore::new(total_kib as usize)),
            total_kib,
        }
    }

    /// An empty share, which grows with what is read.
    pub(crate) fn share(&self) -> Share {
        Share {
            kib: Arc::clone(&self.kib),
            total_kib: self.total_kib,
            held: None,
            bytes: 0,
        }
    }
}

/// One request's part of the budget; given back when dropped.
pub(crate) struct Share {
    kib: Arc<Semaphore>,
    total_kib: u32,
    held: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Share {
    /// Takes `more` bytes, without waiting: what waits for memory also holds some.
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), Failure> {
        let wanted = self.bytes.saturating_add(more);
        let have = self
            .held
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        // A single request above the whole budget is let in alone.
        let need = to_kib(wanted).min(self.total_kib) as usize;
        if let Some(missing) = need.checked_sub(have).filter(|missing| *missing > 0) {
            let missing = u32::try_from(missing).unwrap_or(u32::MAX);
            let permit = Arc::clone(&self.kib)
                .try_acquire_many_owned(missing)
                .map_err(|_| Failure::Retry("too many bytes of requests are in flight".into()))?;
            match &mut self.held {
                Some(held) => held.merge(permit),
                none => *none = Some(permit),
            }
        }
        self.bytes = wanted;
        Ok(())
    }
}

fn to_kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// Collects a body of at most `limit` bytes. `announced` is its Content-Length, believed only to refuse early.
pub(crate) async fn read_body<B>(
    mut body: B,
    announced: Option<u64>,
    limit: usize,
    idle: Duration,
    share: &mut Share,
) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes> + Unpin,
{
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(Failure::TooLarge { limit });
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => {
                return Err(Failure::Bad(
                    "the request's body did not arrive in time".into(),
                ));
            }
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
        share.grow(data.len())?;
        // Most requests are one frame, which is then not copied.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
                first.clear();
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
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
