//! Whether a span failed, and why.

use std::borrow::Cow;

use super::values::{View, cut, text};
use crate::raw::StatusCode;
use crate::sent::{Key, keys};
use crate::span::ErrorInfo;
use crate::words::Words;

const MAX_KIND: usize = 256;
const MAX_MESSAGE: usize = 1024;
/// Thrown by Spring when a record of a retry topic is read before it is due. The record is read again later.
const BACKOFF: &str = "KafkaBackoffException";

/// The failure of a messaging span: `error.type`, else a status of ERROR, else an `exception` event, which is all
/// that some SDKs leave. A status of OK says that the exception was dealt with.
pub(super) fn of_message(view: &View<'_>, words: &mut Words) -> Option<ErrorInfo> {
    let failed = match view.span.status {
        StatusCode::Error => true,
        StatusCode::Ok => view.has(&keys!["error.type"]),
        StatusCode::Unset => view.has(&keys!["error.type"]) || view.span.exception.is_some(),
    };
    failed.then(|| info(view, words))
}

/// The failure of any other span: its status alone.
pub(super) fn of_any(view: &View<'_>, words: &mut Words) -> Option<ErrorInfo> {
    (view.span.status == StatusCode::Error).then(|| info(view, words))
}

fn info(view: &View<'_>, words: &mut Words) -> ErrorInfo {
    let kind = view
        .text(&keys!["error.type"])
        .or_else(|| of_exception(view, &keys!["exception.type"]))
        .unwrap_or(Cow::Borrowed("error"));
    let message = if view.span.status_message.is_empty() {
        of_exception(view, &keys!["exception.message"]).unwrap_or_default()
    } else {
        Cow::Borrowed(view.span.status_message)
    };
    ErrorInfo {
        kind: words.share(cut(&kind, MAX_KIND)),
        message: cut(&message, MAX_MESSAGE).into(),
    }
}

fn of_exception<'a>(view: &View<'a>, keys: &[Key]) -> Option<Cow<'a, str>> {
    text(view.span.exception.as_ref()?, keys)
}

/// Whether the span's failure is only that the record is not due yet. The class may be the exception's own or the
/// cause inside a listener's exception, where only the stack trace names it.
pub(super) fn is_backoff(view: &View<'_>) -> bool {
    if view.span.status == StatusCode::Ok {
        return false;
    }
    view.text(&keys!["error.type"])
        .is_some_and(|kind| kind.ends_with(BACKOFF))
        || keys![
            "exception.type",
            "exception.message",
            "exception.stacktrace",
        ]
        .iter()
        .any(|key| of_exception(view, &[*key]).is_some_and(|text| text.contains(BACKOFF)))
        || view.span.status_message.contains(BACKOFF)
}
