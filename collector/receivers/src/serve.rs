//! Connections: how many, for how long, and what becomes of those that never ask for anything.
//!
//! A connection is *new* until the head of its first request is there. New ones are the cheap way to hurt a server
//! (half-open, or trickling), so they have a deadline, there is a bound on how many there are, and beyond it the
//! oldest makes room: a sender that speaks at once always finds a place.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Counters;

/// New connections that may be open at once; each costs some 10 KiB.
const MAX_NEW: usize = 1024;
/// A sender's calls in flight on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// A request in fewer pieces is read in fewer steps; a piece is buffered whole before it is seen.
const FRAME: u32 = 64 << 10;
/// How much of a call may lie in HTTP/2's buffers, and of all calls of one connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// A peer that went away without a word is found so.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The address of the one who sent a request, as its extensions carry it.
#[derive(Clone, Copy, Debug)]
struct Peer(IpAddr);

/// Who sent `request`.
pub(crate) fn sender<B>(request: &Request<B>) -> IpAddr {
    // Every request that came through `serve` has it.
    let unknown = IpAddr::from([0, 0, 0, 0]);
    request
        .extensions()
        .get()
        .map_or(unknown, |Peer(address)| *address)
}

/// Which protocols a port speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1 and HTTP/2.
    Http,
    /// HTTP/2, which gRPC needs.
    Http2,
}

/// What holds for every connection of a port.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Time for the head of a request.
    pub(crate) head: Duration,
    /// Connections open at once.
    pub(crate) connections: usize,
}

/// Serves `answer` on `listener` until `shutdown`, then answers what has begun and returns.
pub(crate) async fn serve<A, F, B>(
    listener: TcpListener,
    speaks: Speaks,
    limits: Limits,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let door = Arc::new(Door::default());
    let open = TaskTracker::new();
    let builder = Arc::new(builder(speaks, limits));
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    wait_after(&error).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        let Some(guest) = door.enter(open.len(), limits.connections) else {
            counters.connection_refused();
            continue;
        };
        // Requests are small and each waits for its answer: Nagle's delay would be added to each.
        let _ = stream.set_nodelay(true);
        let peer = Peer(peer.ip().to_canonical());
        open.spawn(connection(
            Arc::clone(&builder),
            stream,
            peer,
            guest,
            limits.head,
            shutdown.clone(),
            answer.clone(),
        ));
    }
    drop(listener);
    open.close();
    open.wait().await;
}

fn builder(speaks: Speaks, limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_frame_size(FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    match speaks {
        Speaks::Http => builder,
        Speaks::Http2 => builder.http2_only(),
    }
}

async fn connection<A, F, B>(
    builder: Arc<Builder<TokioExecutor>>,
    stream: TcpStream,
    peer: Peer,
    guest: Guest,
    head: Duration,
    shutdown: CancellationToken,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let guest = Arc::new(guest);
    let service = service_fn(|mut request: Request<Incoming>| {
        guest.speaks();
        request.extensions_mut().insert(peer);
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Raced against the connection below: a bound, not a wait.
    let deadline = tokio::time::sleep(head);
    tokio::pin!(deadline);
    let (mut waiting, mut closing) = (true, false);
    loop {
        tokio::select! {
            // A peer that breaks the protocol or goes away is no news.
            _ = served.as_mut() => return,
            () = guest.asked_to_leave.cancelled(), if waiting => {
                if guest.is_new() {
                    return;
                }
                waiting = false;
            }
            () = &mut deadline, if waiting => {
                if guest.is_new() {
                    return;
                }
                waiting = false;
            }
            () = shutdown.cancelled(), if !closing => {
                if guest.is_new() {
                    return;
                }
                closing = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A peer that is gone before it was accepted needs no pause; too many open files do.
async fn wait_after(error: &std::io::Error) {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        tracing::error!(%error, "cannot accept connections");
        // Out of files, most likely: accepting again at once would only spin.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The connections that are new, in the order in which they came.
#[derive(Default)]
struct Door {
    new: Mutex<New>,
}

#[derive(Default)]
struct New {
    next: u64,
    waiting: BTreeMap<u64, CancellationToken>,
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, New> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one in, and asks the oldest new one to leave if there is no room; `None` when there is none to ask.
    fn enter(self: &Arc<Self>, open: usize, most: usize) -> Option<Guest> {
        let mut new = self.lock();
        if new.waiting.len() >= MAX_NEW || open >= most {
            let (_, oldest) = new.waiting.pop_first()?;
            oldest.cancel();
        }
        let (number, asked_to_leave) = (new.next, CancellationToken::new());
        new.next += 1;
        new.waiting.insert(number, asked_to_leave.clone());
        Some(Guest {
            door: Arc::clone(self),
            number,
            new: AtomicBool::new(true),
            asked_to_leave,
        })
    }
}

/// One connection's place.
struct Guest {
    door: Arc<Door>,
    number: u64,
    new: AtomicBool,
    asked_to_leave: CancellationToken,
}

impl Guest {
    fn is_new(&self) -> bool {
        self.new.load(Relaxed)
    }

    fn speaks(&self) {
        if self.new.swap(false, Relaxed) {
            self.door.lock().waiting.remove(&self.number);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.speaks();
    }
}
