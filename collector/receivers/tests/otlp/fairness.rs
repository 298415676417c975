//! One sender that floods, and another that does not.

use std::net::IpAddr;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use highwater_receivers::Options;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use reqwest::header::CONTENT_TYPE;

use super::http::PROTOBUF;
use super::{DEADLINE, large_request, receiver_with, request, span, within};

/// Senders are told apart by their address.
const FLOODS: [u8; 4] = [127, 0, 0, 2];
const SENDS: [u8; 4] = [127, 0, 0, 3];

async fn send(
    url: String,
    from: [u8; 4],
    request: ExportTraceServiceRequest,
) -> Result<u16, reqwest::Error> {
    let response = reqwest::Client::builder()
        .local_address(IpAddr::from(from))
        .timeout(DEADLINE)
        .build()?
        .post(url)
        .header(CONTENT_TYPE, PROTOBUF)
        .body(request.encode_to_vec())
        .send()
        .await?;
    Ok(response.status().as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_floods_is_refused_while_another_is_taken() {
    const FLOOD: u64 = 40;
    let options = Options {
        max_in_flight_bytes: 1_000_000,
        ..Options::default()
    };
    let receiver = receiver_with(options, 100_000).await;
    // The store stands still, so that whatever is taken stays in flight.
    receiver.close();
    let flood: FuturesUnordered<_> = (0..FLOOD)
        .map(|_| {
            tokio::spawn(send(
                receiver.url("/v1/traces"),
                FLOODS,
                large_request(60_000),
            ))
        })
        .collect();
    let settled = || {
        let counters = receiver.counters();
        let all = counters.refused_retryable + counters.spans_received;
        (all == FLOOD).then_some(counters.spans_received)
    };
    let taken = within(async {
        loop {
            match settled() {
                Some(taken) => break taken,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    // Half of the budget, a little less for what decoding adds.
    assert!((5..=9).contains(&taken), "{taken} of the flood were taken");
    let held = receiver.context.in_flight().bytes();
    assert!((300_000..=600_000).contains(&held), "{held}");

    // Fifty requests of the other are all taken, beside the flood.
    let others: Vec<_> = (1..=50)
        .map(|id| {
            tokio::spawn(send(
                receiver.url("/v1/traces"),
                SENDS,
                request(vec![span(id)]),
            ))
        })
        .collect();
    within(async {
        while receiver.counters().spans_received < taken + 50 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    receiver.open();
    for answer in others {
        assert_eq!(within(answer).await.unwrap().unwrap(), 200);
    }
    // What was taken of the flood is answered too, and what it held is given back.
    let flood: Vec<_> = within(flood.collect::<Vec<_>>()).await;
    let (kept, refused): (Vec<_>, Vec<_>) = flood
        .into_iter()
        .map(|answer| answer.unwrap().unwrap())
        .partition(|status| *status == 200);
    assert_eq!(kept.len() as u64, taken);
    assert!(refused.iter().all(|status| *status == 503));
    assert_eq!(receiver.context.in_flight().bytes(), 0);
}
