//! Connections: how many, for how long, and what becomes of those that never ask for anything.
//!
//! A connection is *new* until the head of its first request is there. New ones are the cheap way to hurt a server
//! (half-open, or trickling), so they have a deadline, there is a bound on how many there are, and beyond it the
//! oldest makes room: a sender that speaks at once always finds a place.
//!
//! One that has asked may stay for as long as it answers pings. So a port that is full is shared by address: the one
//! with the most connections makes room for one with fewer, with what costs it the least. One address may have them all
//! while nobody else wants any.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
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

impl Peer {
    /// Whom its connections count for. A network of 64 bits is the least that is given out with IPv6, and who has one
    /// may use every address in it.
    fn host(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()
            }
        }
    }
}

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
        let peer = Peer(peer.ip().to_canonical());
        let Some(guest) = door.enter(peer.host(), limits.connections, &counters) else {
            counters.connection_refused();
            continue;
        };
        // Requests are small and each waits for its answer: Nagle's delay would be added to each.
        let _ = stream.set_nodelay(true);
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
    let service = service_fn(|mut request: Request<Incoming>| {
        let asking = guest.asks();
        request.extensions_mut().insert(peer);
        let answer = answer(request);
        async move {
            let answer = answer.await;
            drop(asking);
            Ok::<_, Infallible>(answer)
        }
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
            // What it may have asked is not answered, so its sender tries again.
            () = guest.seat.asked_to_leave.cancelled() => return,
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

/// The connections of a port that have a place, by whom they count for.
#[derive(Default)]
struct Door {
    // The mutex is std and never held across an await.
    places: Mutex<Places>,
    /// Counts what happens on connections, so that they can be told apart by when something last did.
    clock: AtomicU64,
}

#[derive(Default)]
struct Places {
    next: u64,
    taken: usize,
    of: HashMap<IpAddr, BTreeMap<u64, Arc<Seat>>>,
    /// The new ones, in the order in which they came.
    new: BTreeMap<u64, IpAddr>,
}

impl Places {
    /// Who makes room for one more of `host` where all places are taken; `None` when nobody has to.
    fn dispensable(&self, host: IpAddr) -> Option<(u64, IpAddr)> {
        let own = self.of.get(&host).map_or(0, BTreeMap::len);
        let (crowd, seats) = self.of.iter().max_by_key(|(_, seats)| seats.len())?;
        // By more than one: two that had the same would take places from each other without end.
        if seats.len() > own + 1 {
            let (number, _) = seats.iter().min_by_key(|(_, seat)| seat.worth())?;
            return Some((*number, *crowd));
        }
        let mut new = self.new.iter().map(|(number, of)| (*number, *of));
        new.find(|(_, of)| own == 0 || *of == host)
    }

    fn remove(&mut self, number: u64, host: IpAddr) -> Option<Arc<Seat>> {
        self.new.remove(&number);
        let seats = self.of.get_mut(&host)?;
        let seat = seats.remove(&number)?;
        if seats.is_empty() {
            self.of.remove(&host);
        }
        self.taken -= 1;
        Some(seat)
    }
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one of `host` in, and asks another to leave if there is no room; `None` when there is none to ask. Costs a
    /// look at all connections of one address when the port is full.
    fn enter(self: &Arc<Self>, host: IpAddr, most: usize, counters: &Counters) -> Option<Guest> {
        let mut places = self.lock();
        let leaves = if places.new.len() >= MAX_NEW {
            let oldest = places.new.first_key_value();
            oldest.map(|(number, of)| (*number, *of))
        } else if places.taken >= most {
            Some(places.dispensable(host)?)
        } else {
            None
        };
        if let Some(seat) = leaves.and_then(|(number, of)| places.remove(number, of)) {
            if !seat.new.load(Relaxed) {
                counters.connection_refused();
            }
            seat.asked_to_leave.cancel();
        }
        let number = places.next;
        places.next += 1;
        places.taken += 1;
        let seat = Arc::new(Seat {
            new: AtomicBool::new(true),
            asking: AtomicUsize::new(0),
            last: AtomicU64::new(self.clock.fetch_add(1, Relaxed)),
            asked_to_leave: CancellationToken::new(),
        });
        places.new.insert(number, host);
        let seats = places.of.entry(host).or_default();
        seats.insert(number, Arc::clone(&seat));
        Some(Guest {
            door: Arc::clone(self),
            number,
            host,
            seat,
        })
    }
}

/// What is known of a connection that has a place.
struct Seat {
    new: AtomicBool,
    /// Requests that are not answered yet.
    asking: AtomicUsize,
    /// When a request last began or was answered, by [`Door::clock`].
    last: AtomicU64,
    asked_to_leave: CancellationToken,
}

impl Seat {
    /// The least is the first to go: what never asked, then what asks for nothing now, the longest silent first.
    fn worth(&self) -> (bool, bool, u64) {
        let asking = self.asking.load(Relaxed) > 0;
        (!self.new.load(Relaxed), asking, self.last.load(Relaxed))
    }
}

/// One connection's place.
struct Guest {
    door: Arc<Door>,
    number: u64,
    host: IpAddr,
    seat: Arc<Seat>,
}

impl Guest {
    fn is_new(&self) -> bool {
        self.seat.new.load(Relaxed)
    }

    /// A request's head is there; it is being answered until what is returned is dropped.
    fn asks(&self) -> Asking {
        if self.seat.new.swap(false, Relaxed) {
            self.door.lock().new.remove(&self.number);
        }
        self.seat.asking.fetch_add(1, Relaxed);
        let asking = Asking {
            door: Arc::clone(&self.door),
            seat: Arc::clone(&self.seat),
        };
        asking.touch();
        asking
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.door.lock().remove(self.number, self.host);
    }
}

/// A request under way. It may outlive its connection, whose place is free then.
struct Asking {
    door: Arc<Door>,
    seat: Arc<Seat>,
}

impl Asking {
    fn touch(&self) {
        let now = self.door.clock.fetch_add(1, Relaxed);
        self.seat.last.store(now, Relaxed);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.touch();
        self.seat.asking.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::IpAddr;
    use std::sync::Arc;

    use super::{Door, Guest, Peer};
    use crate::Counters;

    const MOST: usize = 8;

    fn host(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn enter(door: &Arc<Door>, of: u8) -> Option<Guest> {
        door.enter(host(of), MOST, &Counters::default())
    }

    /// So many that have asked and are answered.
    fn asked(door: &Arc<Door>, of: u8, count: usize) -> Vec<Guest> {
        let guests: Vec<_> = (0..count).map(|_| enter(door, of).unwrap()).collect();
        guests.iter().for_each(|guest| drop(guest.asks()));
        guests
    }

    fn left(guests: &[Guest]) -> Vec<usize> {
        let gone = |guest: &Guest| guest.seat.asked_to_leave.is_cancelled();
        (0..guests.len()).filter(|at| gone(&guests[*at])).collect()
    }

    #[test]
    fn one_address_may_have_every_place_until_another_wants_one() {
        let door = Arc::new(Door::default());
        let crowd = asked(&door, 1, MOST);
        assert!(
            enter(&door, 1).is_none(),
            "there is no place for more of it"
        );
        assert!(left(&crowd).is_empty());
        let other = enter(&door, 2).unwrap();
        assert_eq!(left(&crowd), [0]);
        assert_eq!(door.lock().taken, MOST);
        drop(other);
        // Its place is free, and who left does not give back another.
        drop(crowd);
        assert_eq!(door.lock().taken, 0);
        assert!(door.lock().of.is_empty() && door.lock().new.is_empty());
    }

    #[test]
    fn two_addresses_end_with_half_each_and_take_nothing_from_each_other_then() {
        let door = Arc::new(Door::default());
        let first = asked(&door, 1, MOST);
        let second = asked(&door, 2, MOST / 2);
        assert_eq!(left(&first), [0, 1, 2, 3]);
        assert!(enter(&door, 1).is_none() && enter(&door, 2).is_none());
        assert!(left(&second).is_empty());
    }

    #[test]
    fn what_never_asked_leaves_first_then_the_longest_silent_and_last_what_is_being_answered() {
        let door = Arc::new(Door::default());
        let mut crowd = asked(&door, 1, 3);
        let _answering = crowd[0].asks();
        drop(crowd[1].asks());
        crowd.push(enter(&door, 1).unwrap());
        let mut others: Vec<_> = (2..6).flat_map(|of| asked(&door, of, 1)).collect();
        let mut leaves = |of| {
            let before = left(&crowd);
            others.extend(asked(&door, of, 1));
            let mut after = left(&crowd);
            after.retain(|at| !before.contains(at));
            after
        };
        assert_eq!(leaves(6), [3]);
        assert_eq!(leaves(7), [2]);
        assert_eq!(leaves(8), [1]);
        // With one each nobody has to go for one more.
        assert!(enter(&door, 9).is_none());
        assert_eq!(left(&crowd), [1, 2, 3]);
    }

    #[test]
    fn where_nobody_has_more_a_newcomer_takes_the_place_of_what_never_asked() {
        let door = Arc::new(Door::default());
        let asked: Vec<_> = (1..MOST as u8).flat_map(|of| asked(&door, of, 1)).collect();
        let new = [enter(&door, 100).unwrap()];
        let _newcomer = enter(&door, 101).unwrap();
        assert_eq!((left(&asked), left(&new)), (vec![], vec![0]));
    }

    #[test]
    fn a_network_of_ipv6_is_one_sender() {
        let host = |text: &str| Peer(text.parse().unwrap()).host();
        assert_eq!(host("2001:db8:1:2:3::4"), host("2001:db8:1:2::9"));
        assert_ne!(host("2001:db8:1:2::9"), host("2001:db8:1:3::9"));
        assert_ne!(host("10.0.0.1"), host("10.0.0.2"));
    }
}
