//! Real telemetry of nine instrumentations through the binary: the map shows what their ledgers say and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use highwater_shared::status::Status;
use highwater_shared::topology::{EdgeKind, NodeKind, Topology};
use highwater_tests::captures::{Capture, Expected, expected};
use highwater_tests::highwater::Highwater;
use highwater_tests::process::eventually;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use crate::stage::{SOON, now};

/// Kind, from, to.
type Way = (&'static str, String, String);
/// Messages, records, errors.
type Counts = (Option<u64>, Option<u64>, u64);

#[tokio::test(flavor = "multi_thread")]
async fn captures_draw_the_ledgers_edges_and_no_others() -> Result<()> {
    let data = tempfile::tempdir()?;
    let highwater = Highwater::start(data.path(), &[]).await?;
    let expected = expected()?;
    ensure!(expected.len() == 9, "{:?}", expected.keys());
    let mut sent = 0;
    for (number, name) in expected.keys().enumerate() {
        let mut capture = Capture::read(name)?;
        // A second ago, so that nothing is ahead of the collector's clock.
        capture.shift_to(now().0 - 1_000_000_000);
        sent += capture.spans() as u64;
        for request in &capture.requests {
            // SDKs send compressed or not.
            post(
                &highwater.otlp_http,
                &request.encode_to_vec(),
                number % 2 == 0,
            )
            .await
            .with_context(|| format!("a request of {name}"))?;
        }
    }
    // Captures are of one environment each; all of them together must be what was sent.
    let status: Status = highwater.get("/api/v1/status").await?;
    assert_eq!(
        (status.ingest.spans_received, status.ingest.duplicates),
        (sent, 0)
    );
    ensure!(
        status.ingest.rejected.is_empty(),
        "{:?}",
        status.ingest.rejected
    );

    let mut truth: BTreeMap<Way, Counts> = BTreeMap::new();
    for (name, capture) in &expected {
        edges_of(capture, &mut truth).with_context(|| name.clone())?;
    }
    eventually("the maps of all captures", SOON, || async {
        let mut seen: BTreeMap<Way, Counts> = BTreeMap::new();
        for environment in &status.environments {
            let map: Topology = highwater
                .get(&format!("/api/v1/topology?env={environment}"))
                .await?;
            seen.extend(edges_shown(&map, &truth)?);
        }
        let ways: BTreeSet<&Way> = truth.keys().chain(seen.keys()).collect();
        let differ: Vec<String> = ways
            .into_iter()
            .filter(|way| truth.get(*way) != seen.get(*way))
            .map(|way| format!("{way:?}: ({:?}, {:?})", truth.get(way), seen.get(way)))
            .collect();
        ensure!(
            differ.is_empty(),
            "edge: (expected, shown)\n{}",
            differ.join("\n")
        );
        Ok(())
    })
    .await?;
    let (code, output) = highwater.interrupt().await?;
    ensure!(code == Some(0), "{output:?}");
    Ok(())
}

/// Sends one request over OTLP/HTTP as protobuf; all of it must be taken.
async fn post(otlp_http: &str, body: &[u8], compress: bool) -> Result<()> {
    let mut request = reqwest::Client::new()
        .post(format!("{otlp_http}/v1/traces"))
        .header("content-type", "application/x-protobuf");
    request = if compress {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body)?;
        request
            .header("content-encoding", "gzip")
            .body(encoder.finish()?)
    } else {
        request.body(body.to_vec())
    };
    let answer = request.send().await?.error_for_status()?;
    let answer = ExportTraceServiceResponse::decode(answer.bytes().await?)?;
    ensure!(answer.partial_success.is_none(), "{answer:?}");
    Ok(())
}

/// Adds what the spans of a capture can show of its ledger.
fn edges_of(capture: &Expected, truth: &mut BTreeMap<Way, Counts>) -> Result<()> {
    let service = |name: &str| format!("service:{name}");
    let topic = |name: &str| format!("topic:unknown/{name}");
    let mut add = |way: Way, counts: Counts| {
        ensure!(
            truth.insert(way.clone(), counts).is_none(),
            "{way:?} is expected twice"
        );
        Ok(())
    };
    for row in &capture.produced {
        let way = ("produces", service(&row.service), topic(&row.topic));
        add(way, (Some(row.messages), None, 0))?;
    }
    for row in &capture.recovered {
        let kind = if row.topic.ends_with("-dlt") {
            "dead_letters"
        } else {
            "retries"
        };
        let way = (
            kind,
            format!("group:unknown/{}", row.group),
            topic(&row.topic),
        );
        add(way, (Some(row.messages), None, 0))?;
    }
    let mut delivered: BTreeMap<Way, Counts> = BTreeMap::new();
    for row in capture.handled.iter().filter(|row| row.messages > 0) {
        let group = match &row.group {
            Some(group) => format!("group:unknown/{group}"),
            None => format!("unknown:group/unknown/{}", row.topic),
        };
        let way = ("consumes", group.clone(), service(&row.service));
        add(way, (Some(row.messages), row.records, row.errors))?;
        let sum = delivered
            .entry(("delivers", topic(&row.topic), group))
            .or_insert((Some(0), None, 0));
        sum.0 = sum.0.map(|messages| messages + row.messages);
        sum.2 += row.errors;
    }
    delivered
        .into_iter()
        .try_for_each(|(way, counts)| add(way, counts))
}

/// Returns the edges of a map in the terms of the ledgers: services without their namespace, and no records where the
/// ledger's rows tell none.
fn edges_shown(map: &Topology, truth: &BTreeMap<Way, Counts>) -> Result<BTreeMap<Way, Counts>> {
    let plain = |id: &str| -> Result<String> {
        let node = map
            .nodes
            .iter()
            .find(|node| node.id == id)
            .context("an edge without its node")?;
        Ok(match node.kind {
            NodeKind::Service => format!("service:{}", node.name),
            _ => id.to_owned(),
        })
    };
    let mut seen = BTreeMap::new();
    for edge in &map.edges {
        let kind = match edge.kind {
            EdgeKind::Produces => "produces",
            EdgeKind::Delivers => "delivers",
            EdgeKind::Consumes => "consumes",
            EdgeKind::Retries => "retries",
            EdgeKind::DeadLetters => "dead_letters",
            EdgeKind::Calls => "calls",
            // What handlers send: follows from the edges beside it.
            EdgeKind::Derives => continue,
        };
        let way = (kind, plain(&edge.from)?, plain(&edge.to)?);
        let records = edge
            .records
            .filter(|_| kind == "consumes" || !truth.contains_key(&way));
        seen.insert(way, (edge.messages, records, edge.errors.unwrap_or(0)));
    }
    Ok(seen)
}
