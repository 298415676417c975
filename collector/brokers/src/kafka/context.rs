//! What a client hears about its connections while it works.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Collects connection errors, so that a failed call can say what went wrong.
#[derive(Clone, Default)]
pub(crate) struct Context {
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    all_down: bool,
    last: Option<(RDKafkaErrorCode, String)>,
}

impl Context {
    /// Every broker was down when last heard of, and none has answered since.
    pub(crate) fn all_down(&self) -> bool {
        self.heard.lock().all_down
    }

    /// A broker answered.
    pub(crate) fn answered(&self) {
        let mut heard = self.heard.lock();
        heard.all_down = false;
        heard.last = None;
    }

    /// The last connection error since a broker answered, as the library words it.
    pub(crate) fn last_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.heard.lock().last.clone()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Some failures of a handshake are only logged: a plain connection to a TLS port, for one.
        if facility == "FAIL" {
            let mut heard = self.heard.lock();
            if heard.last.is_none() {
                let code = RDKafkaErrorCode::BrokerTransportFailure;
                heard.last = Some((code, message.to_owned()));
            }
        }
        // The library repeats itself while a broker is away; the poller says it once, as a state.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Debug => {
                tracing::trace!(target: "librdkafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        let mut heard = self.heard.lock();
        if code == RDKafkaErrorCode::AllBrokersDown {
            heard.all_down = true;
        } else {
            heard.last = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Context {}
