//! Answered after the commit, retryable when it cannot be, and never silent.

use highwater_receivers::Options;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use tonic::Code;

use super::http::{JSON, PROTOBUF, post};
use super::{
    RETRY_INFO, Receiver, RpcStatus, large_request, receiver, receiver_with, request, span, within,
};

async fn client(receiver: &Receiver) -> TraceServiceClient<tonic::transport::Channel> {
    TraceServiceClient::connect(format!("http://{}", receiver.grpc))
        .await
        .unwrap()
}

#[tokio::test]
async fn requests_are_answered_after_their_spans_are_committed_and_not_before() {
    let receiver = receiver().await;
    receiver.close();
    let http =
        tokio::spawn(post(&receiver, PROTOBUF, request(vec![span(1)]).encode_to_vec()).send());
    receiver.commit_begins().await;
    let mut client = client(&receiver).await;
    let grpc = tokio::spawn(async move { client.export(request(vec![span(2)])).await });
    // An empty request has nothing to wait for and passes both.
    assert!(
        post(&receiver, JSON, "{}")
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    assert!(!http.is_finished() && !grpc.is_finished() && receiver.spans().is_empty());
    receiver.open();
    assert!(within(http).await.unwrap().unwrap().status().is_success());
    assert_eq!(
        within(grpc)
            .await
            .unwrap()
            .unwrap()
            .into_inner()
            .partial_success,
        None
    );
    assert_eq!(receiver.names(), ["span 1", "span 2"]);
}

#[tokio::test]
async fn a_full_queue_is_retryable_and_the_same_request_succeeds_later() {
    let receiver = receiver_with(Options::default(), 2).await;
    receiver.close();
    let first = tokio::spawn(
        post(
            &receiver,
            PROTOBUF,
            request(vec![span(1), span(2)]).encode_to_vec(),
        )
        .send(),
    );
    receiver.commit_begins().await;

    let again = || post(&receiver, PROTOBUF, request(vec![span(3)]).encode_to_vec());
    let response = again().send().await.unwrap();
    assert_eq!(response.status().as_u16(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["content-type"], PROTOBUF);
    let status = RpcStatus::decode(response.bytes().await.unwrap()).unwrap();
    assert_eq!(
        (status.code, status.details[0].type_url.as_str()),
        (14, RETRY_INFO)
    );

    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"}]}]}]}"#;
    let response = post(&receiver, JSON, json).send().await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["retry-after"]
        ),
        (503, &"1".parse().unwrap())
    );
    let status: serde_json::Value = response.json().await.unwrap();
    assert_eq!(
        (&status["code"], &status["details"][0]["retryDelay"]),
        (&14.into(), &"1s".into())
    );

    let mut client = client(&receiver).await;
    let refused = client.export(request(vec![span(4)])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let details = RpcStatus::decode(refused.details()).unwrap();
    assert_eq!(
        (details.code, details.details[0].type_url.as_str()),
        (14, RETRY_INFO)
    );
    assert_eq!(
        details.details[0].value,
        [0x0a, 2, 0x08, 1],
        "a delay of one second"
    );

    receiver.open();
    assert!(within(first).await.unwrap().unwrap().status().is_success());
    assert!(again().send().await.unwrap().status().is_success());
    client.export(request(vec![span(4)])).await.unwrap();
    assert_eq!(receiver.names(), ["span 1", "span 2", "span 3", "span 4"]);
    assert_eq!(receiver.counters().refused_retryable, 3);
}

#[tokio::test]
async fn a_failed_commit_is_retryable_and_says_nothing_of_the_disk() {
    let receiver = receiver().await;
    *receiver.fail_next.lock() = true;
    let body = || request(vec![span(1)]).encode_to_vec();
    let response = post(&receiver, PROTOBUF, body()).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 503);
    let status = RpcStatus::decode(response.bytes().await.unwrap()).unwrap();
    assert!(!status.message.contains("space"), "{}", status.message);
    assert!(
        post(&receiver, PROTOBUF, body())
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    assert_eq!(receiver.names(), ["span 1"]);
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_over_all_requests() {
    let options = Options {
        max_in_flight_bytes: 100_000,
        ..Options::default()
    };
    let receiver = receiver_with(options, 1_000).await;
    receiver.close();
    let first =
        tokio::spawn(post(&receiver, PROTOBUF, large_request(60_000).encode_to_vec()).send());
    receiver.commit_begins().await;
    let refused = post(&receiver, PROTOBUF, large_request(60_000).encode_to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status().as_u16(), 503);
    // What it would become counts, not what was sent.
    let compressed = super::gzip(&large_request(60_000).encode_to_vec());
    let refused = post(&receiver, PROTOBUF, compressed)
        .header("content-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status().as_u16(), 503);
    receiver.open();
    assert!(within(first).await.unwrap().unwrap().status().is_success());
    // Given back with the answer.
    let after = post(&receiver, PROTOBUF, large_request(60_000).encode_to_vec())
        .send()
        .await
        .unwrap();
    assert!(after.status().is_success());
}

#[tokio::test]
async fn many_tiny_spans_count_as_what_they_become_in_both_encodings() {
    let options = Options {
        max_in_flight_bytes: 1_000_000,
        ..Options::default()
    };
    let receiver = receiver_with(options, 100_000).await;
    receiver.close();
    // One in flight, as a request alone may take more than the budget.
    let first =
        tokio::spawn(post(&receiver, PROTOBUF, request(vec![span(1)]).encode_to_vec()).send());
    receiver.commit_begins().await;
    let held = receiver.context.in_flight().bytes();
    let tiny = |count| {
        let spans = vec![
            r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"}"#;
            count
        ];
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
            spans.join(",")
        )
    };
    let as_protobuf = |count| {
        let ids = opentelemetry_proto::tonic::trace::v1::Span {
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            ..Default::default()
        };
        request(vec![ids; count]).encode_to_vec()
    };
    for (encoding, body) in [
        (JSON, tiny(5_000).into_bytes()),
        (PROTOBUF, as_protobuf(5_000)),
    ] {
        assert!(body.len() < 500_000);
        let refused = within(post(&receiver, encoding, body).send())
            .await
            .unwrap();
        assert_eq!(refused.status().as_u16(), 503, "{encoding}");
        assert!(refused.headers().contains_key("retry-after"), "{encoding}");
        assert_eq!(receiver.context.in_flight().bytes(), held, "{encoding}");
    }
    receiver.open();
    assert!(within(first).await.unwrap().unwrap().status().is_success());
    for (encoding, body) in [(JSON, tiny(100).into_bytes()), (PROTOBUF, as_protobuf(100))] {
        let taken = within(post(&receiver, encoding, body).send())
            .await
            .unwrap();
        assert_eq!(taken.status().as_u16(), 200, "{encoding}");
    }
    assert_eq!(receiver.spans().len(), 201);
    assert_eq!(receiver.context.in_flight().bytes(), 0);
}

#[tokio::test]
async fn shutting_down_answers_what_has_begun_and_takes_no_more() {
    let mut receiver = receiver().await;
    receiver.close();
    let mut client = client(&receiver).await;
    let grpc = tokio::spawn(async move { client.export(request(vec![span(1)])).await });
    receiver.commit_begins().await;
    let http =
        tokio::spawn(post(&receiver, PROTOBUF, request(vec![span(2)]).encode_to_vec()).send());
    while receiver.context.counters().snapshot().spans_received < 2 {
        tokio::task::yield_now().await;
    }
    receiver.shutdown.cancel();
    receiver.open();
    within(grpc).await.unwrap().unwrap();
    assert!(within(http).await.unwrap().unwrap().status().is_success());
    for server in std::mem::take(&mut receiver.servers) {
        within(server).await.unwrap().unwrap();
    }
    assert_eq!(receiver.names(), ["span 1", "span 2"]);
    assert!(
        post(&receiver, JSON, "{}").send().await.is_err(),
        "the port is closed"
    );
}
