//! What reading a request costs, once it is in memory: `cargo xtask bench decode [SECONDS A MEASUREMENT]`.
//!
//! Requests of 512 spans as in the design's measurements: about 800 bytes of OTLP and 25 attributes a span. In one
//! run, in turns, so that the machine's other work falls on all alike: prost's decoding of the request alone; the way
//! through prost's messages (decode each span whole, then normalise); and the way a request goes. Spans per second of
//! this thread's CPU time, the median of several turns.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_model::Batch;
use highwater_model::normalise::{OriginFacts, Rules, normalise_from};
use highwater_model::otlp::{
    DecodeError, Decoder, ExportTraceServiceRequest, batch_from_bytes, decode_origin, decode_span,
};
use prost::Message;
use tikv_jemallocator::Jemalloc;
use xxhash_rust::xxh3::xxh3_64;

#[path = "../tests/support/load.rs"]
mod load;

// As in the program itself.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const SPANS: u64 = 512;
const REQUESTS: u64 = 16;
const TURNS: usize = 7;

type Way<'a> = Box<dyn FnMut(&Request) + 'a>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` adds a flag of its own.
    let seconds = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let turn = Duration::from_secs_f64(seconds.unwrap_or(0.5));
    for (name, kind) in [
        ("messaging", load::Kind::Messaging),
        ("plain", load::Kind::Plain),
    ] {
        let requests = (0..REQUESTS)
            .map(|n| {
                let body = Bytes::from(load::request(kind, n * SPANS, SPANS).encode_to_vec());
                let (batch, _) = batch_from_bytes(body.clone(), &Rules::default())?;
                Ok(Request { body, batch })
            })
            .collect::<Result<Vec<_>, DecodeError>>()?;
        let bytes: usize = requests.iter().map(|request| request.body.len()).sum();
        println!(
            "{name} spans: {} bytes of OTLP each, {SPANS} a request",
            bytes as u64 / (SPANS * REQUESTS)
        );
        let rules = Arc::new(Rules::default());
        let mut decoder = Decoder::new(Arc::clone(&rules));
        let mut ways: [(&str, Way<'_>); 3] = [
            (
                "prost, decode alone",
                Box::new(|request| {
                    black_box(ExportTraceServiceRequest::decode(request.body.clone()).ok());
                }),
            ),
            (
                "prost, decode and normalise",
                Box::new(|request| through_prost(request, &rules)),
            ),
            (
                "the request's way",
                Box::new(|request| {
                    black_box(decoder.batch(&request.body).ok());
                }),
            ),
        ];
        let mut rates = vec![Vec::new(); ways.len()];
        for _ in 0..TURNS {
            for ((_, way), rates) in ways.iter_mut().zip(&mut rates) {
                rates.push(rate(&requests, turn, way));
            }
        }
        let medians: Vec<f64> = rates
            .iter_mut()
            .map(|rates| {
                rates.sort_by(f64::total_cmp);
                rates[rates.len() / 2]
            })
            .collect();
        for ((way, _), median) in ways.iter().zip(&medians) {
            println!(
                "  {way:<28} {:>6.0}k spans per CPU second   {:.2} x prost's way",
                median / 1e3,
                median / medians[1]
            );
        }
    }
    Ok(())
}

/// The requests of one measurement: the bytes, and the spans and origins in them.
struct Request {
    body: Bytes,
    batch: Batch,
}

/// Every span decoded into owned messages, then normalised. Walking down to the spans is not counted.
fn through_prost(request: &Request, rules: &Rules) {
    let origins: Vec<_> = request
        .batch
        .origins
        .iter()
        .filter_map(|origin| Some(OriginFacts::read(&decode_origin(origin).ok()?)))
        .collect();
    let read: Vec<_> = request
        .batch
        .spans
        .iter()
        .filter_map(|span| {
            let raw = decode_span(&span.raw).ok()?;
            let origin = origins.get(span.origin as usize)?;
            Some((normalise_from(origin, &raw, rules), xxh3_64(&span.raw)))
        })
        .collect();
    black_box(read);
}

/// Spans per second of this thread's CPU time.
fn rate(requests: &[Request], turn: Duration, way: &mut dyn FnMut(&Request)) -> f64 {
    let (began, mut spans) = (load::thread_cpu(), 0);
    loop {
        for request in requests {
            way(request);
            spans += request.batch.spans.len();
        }
        let used = load::thread_cpu().saturating_sub(began);
        if used >= turn {
            return spans as f64 / used.as_secs_f64();
        }
    }
}
