//! Whether a span failed, and why.

use std::borrow::Cow;

use super::values::{View, cut};
use crate::raw::{RawEvent, StatusCode, attribute};
use crate::span::ErrorInfo;

const MAX_KIND: usize = 256;
const MAX_MESSAGE: usize = 1024;
/// Thrown by Spring when a record of a retry topic is read before it is due. The record is read again later.
const BACKOFF: &str = "KafkaBackoffException";

/// The failure of a messaging span: `error.type`, else a status of ERROR, else an `exception` event, which is all
/// that some SDKs leave. A status of OK says that the exception was dealt with.
pub(super) fn of_message(view: &View<'_>) -> Option<ErrorInfo> {
    let failed = match view.span.status {
        StatusCode::Error => true,
        StatusCode::Ok => view.has("error.type"),
        StatusCode::Unset => view.has("error.type") || exception(view).is_some(),
    };
    failed.then(|| info(view))
}

/// The failure of any other span: its status alone.
pub(super) fn of_any(view: &View<'_>) -> Option<ErrorInfo> {
    (view.span.status == StatusCode::Error).then(|| info(view))
}

fn info(view: &View<'_>) -> ErrorInfo {
    let of_exception = |key| exception(view).and_then(|event| event_text(event, key));
    let kind = view
        .text(&["error.type"])
        .or_else(|| of_exception("exception.type"))
        .unwrap_or(Cow::Borrowed("error"));
    let message = if view.span.status_message.is_empty() {
        of_exception("exception.message").unwrap_or_default()
    } else {
        Cow::Borrowed(view.span.status_message.as_str())
    };
    ErrorInfo {
        kind: cut(&kind, MAX_KIND).into(),
        message: cut(&message, MAX_MESSAGE).into(),
    }
}

/// The last exception: a handler may record some that it got over before the one that ended it.
fn exception<'a>(view: &View<'a>) -> Option<&'a RawEvent> {
    view.span
        .events
        .iter()
        .rev()
        .find(|event| event.name == "exception")
}

fn event_text<'a>(event: &'a RawEvent, key: &str) -> Option<Cow<'a, str>> {
    attribute(&event.attributes, key).and_then(super::values::text)
}

/// Whether the span's failure is only that the record is not due yet. The class may be the exception's own or the
/// cause inside a listener's exception, where only the stack trace names it.
pub(super) fn is_backoff(view: &View<'_>) -> bool {
    if view.span.status == StatusCode::Ok {
        return false;
    }
    view.text(&["error.type"])
        .is_some_and(|kind| kind.ends_with(BACKOFF))
        || exception(view).is_some_and(|event| {
            [
                "exception.type",
                "exception.message",
                "exception.stacktrace",
            ]
            .iter()
            .filter_map(|key| event_text(event, key))
            .any(|text| text.contains(BACKOFF))
        })
        || view.span.status_message.contains(BACKOFF)
}
