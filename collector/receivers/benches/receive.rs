//! What receiving costs, without what comes after: `cargo xtask bench receive [SECONDS A WAY]`.
//!
//! A server in a process of its own takes requests of 512 spans (about 950 bytes and 25 attributes each) over loopback
//! from a client in another; so its CPU time and memory are its own. **The pipeline's committer does nothing**: a
//! request is admitted, decompressed, decoded, normalised, queued, and answered.
//!
//! Printed for each way in: spans a second of wall clock (client and server share the machine), spans per second of
//! the server's CPU time, how long an answer took, and the server's peak memory. Last, what the two gzip libraries
//! make of the same bodies.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use highwater_model::Batch;
use highwater_model::normalise::Rules;
use highwater_pipeline::{Commit, CommitError, Committed, LatencyHistogram, pipeline};
use highwater_receivers::{Options, ReceiverContext, serve_grpc, serve_http};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tikv_jemallocator::Jemalloc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::{Service, ServiceExt};

#[path = "../../model/tests/support/load.rs"]
mod load;

// As in the program itself.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SPANS: u64 = 512;
const REQUESTS: u64 = 32;
/// Requests that wait for their answer at any time.
const IN_FLIGHT: usize = 8;
const WAYS: [(&str, &str); 6] = [
    ("grpc", "none"),
    ("grpc", "gzip"),
    ("grpc", "zstd"),
    ("http", "none"),
    ("http", "gzip"),
    ("http", "zstd"),
];

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", protocol] => serve(protocol),
        ["send", protocol, compression, address, seconds] => {
            send(protocol, compression, address, seconds.parse()?)
        }
        // `cargo bench` adds a flag of its own.
        words => compare(
            words
                .iter()
                .find_map(|word| word.parse().ok())
                .unwrap_or(5.0),
        ),
    }
}

fn compare(seconds: f64) -> Outcome<()> {
    println!(
        "{SPANS} spans a request, {IN_FLIGHT} requests in flight, {seconds} s a way; the committer does nothing"
    );
    println!(
        "  {:<10} {:>10} {:>18} {:>16} {:>12}",
        "way", "spans/s", "spans/CPU second", "ack p50 / p99", "peak memory"
    );
    for (protocol, compression) in WAYS {
        let mut server = Running::start(&["serve", protocol], Stdio::piped())?;
        let address = server.line()?;
        let seconds = seconds.to_string();
        let client = ["send", protocol, compression, &address, &seconds];
        let mut client = Running::start(&client, Stdio::null())?;
        let sent = client.line()?;
        client.child.wait()?;
        // The end of its input ends the server.
        drop(server.child.stdin.take());
        let [spans, wall, p50, p99] = numbers(&sent)?;
        let [cpu, memory] = numbers(&server.line()?)?;
        server.child.wait()?;
        println!(
            "  {:<10} {:>9.0}k {:>17.0}k {:>7.1} / {:>4.1} ms {:>8.0} MiB",
            format!("{protocol} {compression}"),
            spans / wall / 1e3,
            spans / cpu / 1e3,
            p50,
            p99,
            memory / 1024.0
        );
    }
    gunzip()
}

/// A child of this program, ended with it.
struct Running {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(words: &[&str], stdin: Stdio) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(words)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        Ok(Self {
            child,
            output: BufReader::new(output),
        })
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("it ended too early".into());
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already unless something failed.
        let _ = self.child.kill();
    }
}

fn numbers<const N: usize>(line: &str) -> Outcome<[f64; N]> {
    let numbers: Vec<f64> = line
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    numbers
        .try_into()
        .map_err(|_| "another number of numbers".into())
}

struct Nothing;

impl Commit for Nothing {
    async fn commit(&mut self, batches: &[Batch]) -> Result<Committed, CommitError> {
        Ok(Committed {
            block: 1,
            stored: batches.iter().map(|batch| batch.spans.len()).sum(),
            duplicates: 0,
        })
    }
}

/// Prints its address, serves until its input ends, prints its CPU seconds and its peak memory in KiB.
#[tokio::main]
async fn serve(protocol: &str) -> Outcome<()> {
    let (sender, writer) = pipeline(131_072);
    tokio::spawn(writer.run(Nothing));
    let context = ReceiverContext::new(sender, Rules::default(), Options::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let before = cpu_seconds();
    let shutdown = CancellationToken::new();
    let (context, stop) = (Arc::new(context), shutdown.clone());
    let serving = if protocol == "grpc" {
        tokio::spawn(serve_grpc(listener, context, stop))
    } else {
        tokio::spawn(serve_http(listener, context, stop))
    };
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    println!("{} {}", cpu_seconds() - before, peak_memory_kib());
    shutdown.cancel();
    serving.await??;
    Ok(())
}

/// Prints how many spans were acknowledged, in how many seconds, and the answers' p50 and p99 in milliseconds.
#[tokio::main]
async fn send(protocol: &str, compression: &str, address: &str, seconds: f64) -> Outcome<()> {
    let bodies = (0..REQUESTS)
        .map(|n| {
            let body = load::request(load::Kind::Messaging, n * SPANS, SPANS).encode_to_vec();
            Ok(compress(compression, body)?.into())
        })
        .collect::<Outcome<Vec<Bytes>>>()?;
    let url = format!("http://{address}");
    let (bodies, began) = (Arc::new(bodies), Instant::now());
    let end = began + Duration::from_secs_f64(seconds);
    let mut senders = tokio::task::JoinSet::new();
    for first in 0..IN_FLIGHT {
        let bodies = Arc::clone(&bodies);
        let (url, compression) = (url.clone(), compression.to_owned());
        if protocol == "grpc" {
            senders.spawn(send_grpc(url, compression, bodies, first, end));
        } else {
            senders.spawn(send_http(url, compression, bodies, first, end));
        }
    }
    let mut took = Vec::new();
    for sender in senders.join_all().await {
        took.extend(sender?);
    }
    let wall = began.elapsed().as_secs_f64();
    let mut latency = LatencyHistogram::default();
    for time in &took {
        latency.record(*time);
    }
    let ms = |q| latency.quantile(q).unwrap_or(0) as f64 / 1e6;
    println!(
        "{} {wall} {} {}",
        took.len() as u64 * SPANS,
        ms(0.5),
        ms(0.99)
    );
    Ok(())
}

async fn send_grpc(
    url: String,
    compression: String,
    bodies: Arc<Vec<Bytes>>,
    first: usize,
    end: Instant,
) -> Outcome<Vec<Duration>> {
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let mut channel = Endpoint::from_shared(url.clone())?.connect().await?;
    let mut took = Vec::new();
    for body in bodies.iter().cycle().skip(first) {
        let began = Instant::now();
        if began >= end {
            break;
        }
        let mut frame = vec![u8::from(compression != "none")];
        frame.extend_from_slice(&u32::try_from(body.len())?.to_be_bytes());
        frame.extend_from_slice(body);
        let mut request = http::Request::post(format!("{url}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if compression != "none" {
            request = request.header("grpc-encoding", &compression);
        }
        let request = request.body(Body::new(Full::from(frame)))?;
        let response = channel
            .ready()
            .await?
            .call(request)
            .await?
            .collect()
            .await?;
        let status = response
            .trailers()
            .and_then(|trailers| trailers.get("grpc-status"));
        if status.is_none_or(|status| status != "0") {
            return Err(format!("a call failed: {status:?}").into());
        }
        took.push(began.elapsed());
    }
    Ok(took)
}

async fn send_http(
    url: String,
    compression: String,
    bodies: Arc<Vec<Bytes>>,
    first: usize,
    end: Instant,
) -> Outcome<Vec<Duration>> {
    let client = reqwest::Client::builder().build()?;
    let mut took = Vec::new();
    for body in bodies.iter().cycle().skip(first) {
        let began = Instant::now();
        if began >= end {
            break;
        }
        let mut request = client
            .post(format!("{url}/v1/traces"))
            .header("content-type", "application/x-protobuf");
        if compression != "none" {
            request = request.header("content-encoding", &compression);
        }
        let response = request
            .body(body.clone())
            .send()
            .await?
            .error_for_status()?;
        response.bytes().await?;
        took.push(began.elapsed());
    }
    Ok(took)
}

fn compress(compression: &str, body: Vec<u8>) -> Outcome<Vec<u8>> {
    Ok(match compression {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&body)?;
            encoder.finish()?
        }
        "zstd" => zstd::bulk::compress(&body, 3)?,
        _ => body,
    })
}

/// libdeflate against zlib-rs, in turns.
fn gunzip() -> Outcome<()> {
    let bodies = (0..REQUESTS)
        .map(|n| {
            let body = load::request(load::Kind::Messaging, n * SPANS, SPANS).encode_to_vec();
            Ok((body.len(), compress("gzip", body)?))
        })
        .collect::<Outcome<Vec<_>>>()?;
    let mut libdeflate = libdeflater::Decompressor::new();
    let (mut with_zlib, mut with_libdeflate) = (Duration::ZERO, Duration::ZERO);
    const TURNS: u32 = 5;
    for _ in 0..TURNS {
        let began = load::thread_cpu();
        for (length, body) in &bodies {
            let mut out = Vec::with_capacity(*length);
            MultiGzDecoder::new(&**body).read_to_end(&mut out)?;
            assert_eq!(out.len(), *length);
        }
        let between = load::thread_cpu();
        for (length, body) in &bodies {
            let mut out = vec![0; *length];
            assert_eq!(libdeflate.gzip_decompress(body, &mut out)?, *length);
        }
        with_zlib += between - began;
        with_libdeflate += load::thread_cpu() - between;
    }
    let spans = (SPANS * REQUESTS) as f64 * f64::from(TURNS);
    println!(
        "gunzip alone: zlib-rs {:.0}k spans per CPU second, libdeflate {:.0}k, {:.2} x",
        spans / with_zlib.as_secs_f64() / 1e3,
        spans / with_libdeflate.as_secs_f64() / 1e3,
        with_zlib.as_secs_f64() / with_libdeflate.as_secs_f64()
    );
    Ok(())
}

/// User and system time of the process, of every thread; zero where the kernel does not tell.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold spaces; fields 14 and 15 follow it, in hundredths of a second.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
