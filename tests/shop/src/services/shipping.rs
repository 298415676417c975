//! Shipping: packs parcels in batches. A batch has a trace of its own that links to every send in it.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::SpanKind;
use serde_json::json;

use super::{Bench, json, persist};
use crate::book::Handled;
use crate::dials::Mode;
use crate::intake::{Record, Work};
use crate::plan::{Group, SHIPMENTS};
use crate::spring::Failure;
use crate::telemetry;

pub(crate) struct Shipping {
    pub(crate) bench: Bench,
    pub(crate) group: &'static Group,
    pub(crate) client: String,
}

/// Batches that fail are tried this often, then skipped.
const ATTEMPTS: u32 = 3;

impl Work for Shipping {
    const BATCH: usize = 20;

    async fn handle(&self, records: Vec<Record>) {
        let group = self.bench.config.named(self.group.name);
        for _ in 0..ATTEMPTS {
            let span = self
                .bench
                .telemetry
                .start_batch(&records, &group, &self.client);
            let outcome = self.pack(&span, &records).await;
            telemetry::ended(&span, &outcome);
            for record in &records {
                self.bench.book.handled(Handled {
                    order: &record.order,
                    group: self.group,
                    place: record.place.clone(),
                    failed: outcome.is_err(),
                });
            }
            if outcome.is_ok() {
                return;
            }
        }
    }
}

impl Shipping {
    async fn pack(&self, span: &Context, records: &[Record]) -> Result<(), Failure> {
        let bench = &self.bench;
        let first = records.first().map_or("", |record| record.order.as_str());
        bench
            .work(
                span,
                first,
                "plan route",
                SpanKind::Internal,
                Duration::from_millis(12),
                Vec::new(),
            )
            .await;
        if bench.mode() == Mode::Failing {
            return Err(Failure {
                class: "java.net.SocketTimeoutException",
                message: "carrier-api did not answer within 2 s".to_owned(),
                listener: "shipping.PackListener.pack(PackListener.java:64)",
                worth_retrying: true,
            });
        }
        for record in records {
            let parcel =
                json(&json!({ "order": record.order, "carrier": "north-post", "parcels": 1 }));
            persist(|| bench.publish(span, &SHIPMENTS, &record.key, &record.order, &parcel)).await;
        }
        Ok(())
    }
}
