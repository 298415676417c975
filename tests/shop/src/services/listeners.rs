//! The services that handle record by record and need a page no longer than this: inventory, fraud, notifications.

use std::time::Duration;

use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use serde_json::json;

use super::{Bench, Handle, json, persist};
use crate::intake::Record;
use crate::plan::STOCK_RESERVED;
use crate::spring::Failure;

/// Sets the goods of an order aside.
pub(crate) struct Inventory;

impl Handle for Inventory {
    async fn handle(&self, bench: &Bench, span: &Context, record: &Record) -> Result<(), Failure> {
        let update = bench.work(
            span,
            &record.order,
            "UPDATE stock",
            SpanKind::Client,
            Duration::from_millis(7),
            vec![
                KeyValue::new("db.system.name", "postgresql"),
                KeyValue::new("db.namespace", "inventory"),
                KeyValue::new("db.operation.name", "UPDATE"),
                KeyValue::new("db.collection.name", "stock"),
            ],
        );
        update.await;
        let value = json(&json!({ "order": record.order, "warehouse": "north" }));
        persist(|| bench.publish(span, &STOCK_RESERVED, &record.key, &record.order, &value)).await;
        Ok(())
    }

    fn broken(&self) -> Failure {
        Failure {
            class: "org.postgresql.util.PSQLException",
            message: "FATAL: the database system is in recovery mode".to_owned(),
            listener: "inventory.ReserveListener.reserve(ReserveListener.java:41)",
            worth_retrying: true,
        }
    }
}

/// Scores an order.
pub(crate) struct Fraud;

impl Handle for Fraud {
    async fn handle(&self, bench: &Bench, span: &Context, record: &Record) -> Result<(), Failure> {
        let model = vec![KeyValue::new("shop.model", "gradient-boosted-7")];
        bench
            .work(
                span,
                &record.order,
                "score order",
                SpanKind::Internal,
                Duration::from_millis(9),
                model,
            )
            .await;
        Ok(())
    }

    fn broken(&self) -> Failure {
        Failure {
            class: "java.lang.IllegalStateException",
            message: "model gradient-boosted-7 is not loaded".to_owned(),
            listener: "fraud.ScoreListener.score(ScoreListener.java:33)",
            worth_retrying: true,
        }
    }
}

/// Tells a customer about a charge or a parcel.
pub(crate) struct Notifications;

impl Handle for Notifications {
    async fn handle(&self, bench: &Bench, span: &Context, record: &Record) -> Result<(), Failure> {
        let send = bench.work(
            span,
            &record.order,
            "POST /send",
            SpanKind::Client,
            Duration::from_millis(5),
            vec![
                KeyValue::new("http.request.method", "POST"),
                KeyValue::new("url.full", "https://mail-gateway/send"),
                KeyValue::new("server.address", "mail-gateway"),
                KeyValue::new("server.port", 443_i64),
            ],
        );
        send.await;
        Ok(())
    }

    fn broken(&self) -> Failure {
        Failure {
            class: "jakarta.mail.MessagingException",
            message: "mail-gateway: 451 try again later".to_owned(),
            listener: "notifications.MailListener.send(MailListener.java:29)",
            worth_retrying: true,
        }
    }
}
