//! A stored trace as the OTLP request that would send it again.

use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use highwater_model::TraceId;
use highwater_model::otlp::{ExportTraceServiceRequest, OriginMessage};
use highwater_store::{Inspection, TracePart};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use super::write_out;

/// Prints the trace. Exit code 1, beside what could be read, when a damaged block, or file, may have held more of it.
pub(super) async fn run(inspection: &Inspection, trace: &str) -> Result<ExitCode> {
    let Some(id) = TraceId::from_hex(trace) else {
        bail!("--trace {trace:?} is not a trace id: 32 hexadecimal digits");
    };
    let found = inspection.trace(id).await?;
    if !found.damaged.is_empty() {
        eprintln!(
            "highwater: blocks {:?} cannot be read, and may hold spans of this trace",
            found.damaged
        );
    }
    for finding in &found.findings {
        eprintln!(
            "highwater: {} is damaged, and may hold spans of this trace: {}",
            finding.file, finding.what
        );
    }
    ensure!(!found.parts.is_empty(), "there is no trace {trace} here");
    let request = request(&found.parts)?;
    let json = serde_json::to_string(&request).context("cannot write the trace as JSON")?;
    write_out(&(json + "\n"))?;
    Ok(if found.damaged.is_empty() && found.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn request(parts: &[TracePart]) -> Result<ExportTraceServiceRequest> {
    let resource_spans = parts.iter().map(|part| {
        let origin = OriginMessage::decode(part.origin.clone())
            .context("a stored resource cannot be decoded")?;
        let spans = part.spans.iter().map(|span| Span::decode(span.clone()));
        let spans = spans
            .collect::<Result<Vec<_>, _>>()
            .context("a stored span cannot be decoded")?;
        Ok(ResourceSpans {
            resource: origin.resource,
            scope_spans: vec![ScopeSpans {
                scope: origin.scope,
                spans,
                schema_url: origin.schema_url.clone(),
            }],
            schema_url: origin.schema_url,
        })
    });
    Ok(ExportTraceServiceRequest {
        resource_spans: resource_spans.collect::<Result<Vec<_>>>()?,
    })
}
