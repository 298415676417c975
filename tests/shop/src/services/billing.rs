//! Billing: charges orders over a payment provider. What cannot be charged is tried again once, from the retry topic.

use std::time::Duration;

use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use serde_json::json;

use super::{Bench, Handle, json, persist};
use crate::intake::Record;
use crate::orders::{self, Fate, Order};
use crate::plan::PAYMENTS;
use crate::spring::Failure;
use crate::telemetry;

/// Which attempt a record gets from this handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Charge {
    /// The first, from `orders`.
    First,
    /// The one from the retry topic.
    Again,
}

const LISTENER: &str = "billing.ChargeListener.charge(ChargeListener.java:57)";

impl Handle for Charge {
    async fn handle(&self, bench: &Bench, span: &Context, record: &Record) -> Result<(), Failure> {
        let order: Order = serde_json::from_slice(&record.value).map_err(|error| Failure {
            class: "com.fasterxml.jackson.core.JsonParseException",
            message: error.to_string(),
            listener: LISTENER,
            worth_retrying: false,
        })?;
        if order.currency == "XTS" {
            return Err(Failure {
                class: "java.lang.IllegalArgumentException",
                message: format!(
                    "unknown currency {} in order {}",
                    order.currency, order.order
                ),
                listener: LISTENER,
                worth_retrying: false,
            });
        }
        if order.amount < 0 {
            return Err(Failure {
                class: "java.lang.IllegalStateException",
                message: format!("negative amount {} in order {}", order.amount, order.order),
                listener: LISTENER,
                worth_retrying: true,
            });
        }
        self.charge(bench, span, &order).await?;
        let payment = json(&json!({
            "order": order.order,
            "customer": order.customer,
            "amount": order.amount,
            "currency": order.currency,
            "reference": format!("psp-{}", order.order.to_lowercase()),
        }));
        persist(|| bench.publish(span, &PAYMENTS, &record.key, &order.order, &payment)).await;
        Ok(())
    }

    fn broken(&self) -> Failure {
        Failure {
            class: "java.net.ConnectException",
            message: "psp-gateway:443: connection refused".to_owned(),
            listener: LISTENER,
            worth_retrying: true,
        }
    }
}

impl Charge {
    /// Asks the payment provider.
    async fn charge(self, bench: &Bench, span: &Context, order: &Order) -> Result<(), Failure> {
        let call = bench.telemetry.start_work(
            span,
            "POST /v2/charge",
            SpanKind::Client,
            vec![
                KeyValue::new("http.request.method", "POST"),
                KeyValue::new("url.full", "https://psp-gateway/v2/charge"),
                KeyValue::new("server.address", "psp-gateway"),
                KeyValue::new("server.port", 443_i64),
            ],
        );
        bench
            .spend(&order.order, "charge", Duration::from_millis(24))
            .await;
        let fate = orders::number(&order.order).map(|number| bench.dice.fate(number));
        if fate == Some(Fate::Late) && self == Charge::First {
            let failure = Failure {
                class: "java.util.concurrent.TimeoutException",
                message: format!(
                    "psp-gateway did not answer for order {} within 800 ms",
                    order.order
                ),
                listener: LISTENER,
                worth_retrying: true,
            };
            telemetry::failed(&call, failure.class, &failure.message, None);
            return Err(failure);
        }
        telemetry::succeeded(&call);
        Ok(())
    }
}
