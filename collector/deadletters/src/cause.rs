//! The class to group by: what really went wrong, under the wrappers that frameworks put around it.

use crate::payload::cut;

/// Classes that say only that something failed; the next "Caused by" says what.
const WRAPPERS: &[&str] = &[
    "org.springframework.kafka.listener.ListenerExecutionFailedException",
    "org.springframework.kafka.listener.TimestampedException",
    "org.springframework.messaging.MessageHandlingException",
    "org.apache.kafka.connect.errors.ConnectException",
    "org.apache.kafka.connect.errors.DataException",
    "org.apache.kafka.streams.errors.StreamsException",
    "java.lang.reflect.InvocationTargetException",
    "java.lang.reflect.UndeclaredThrowableException",
    "java.util.concurrent.CompletionException",
    "java.util.concurrent.ExecutionException",
];

/// More of a stack trace than this is not searched.
const MAX_SEARCHED: usize = 256 * 1024;

/// A class that failed and what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause<'a> {
    /// Its class.
    pub class: &'a str,
    /// Its message, first line only; empty when none.
    pub message: &'a str,
}

/// Whether a class only wraps another.
pub(crate) fn is_wrapper(class: &str) -> bool {
    WRAPPERS.contains(&class)
}

/// Finds the outermost exception of a Java stack trace that is no mere wrapper, following its `Caused by:` lines.
///
/// When there are only wrappers, the innermost. Suppressed exceptions and those of other threads are passed over:
/// their `Caused by:` lines are indented. `None` when the text is no stack trace.
#[must_use]
pub fn in_stack_trace(trace: &str) -> Option<Cause<'_>> {
    let mut innermost = None;
    let (trace, _) = cut(trace, MAX_SEARCHED);
    for (number, line) in trace.lines().enumerate() {
        let text = match line.strip_prefix("Caused by: ") {
            Some(text) => text,
            None if number == 0 => line
                .strip_prefix("Exception in thread ")
                .and_then(|rest| rest.split_once("\" "))
                .map_or(line, |(_, rest)| rest),
            None => continue,
        };
        let Some(cause) = class_and_message(text) else {
            continue;
        };
        if !is_wrapper(cause.class) {
            return Some(cause);
        }
        innermost = Some(cause);
    }
    innermost
}

/// Splits `a.b.C: message`; `None` unless the front looks like a class.
fn class_and_message(line: &str) -> Option<Cause<'_>> {
    let (class, message) = line
        .split_once(": ")
        .unwrap_or((line.trim_end_matches(':'), ""));
    let class = class.trim();
    let looks = class.len() <= 256
        && class.contains('.')
        && !class.starts_with('.')
        && !class.ends_with('.')
        && class
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '$'));
    looks.then_some(Cause {
        class,
        message: message.trim(),
    })
}

/// Folds what differs between messages of one kind: numbers to `{n}`, ids to `{id}`, quoted text to `{s}`.
///
/// First line only, at most 160 bytes: it groups records that name no class.
#[must_use]
pub fn normalise_message(message: &str) -> String {
    let (line, _) = cut(message.lines().next().unwrap_or("").trim(), 512);
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if matches!(c, '"' | '\'' | '`')
            && !out.ends_with(char::is_alphanumeric)
            && let Some(end) = rest[1..].find(c)
        {
            out.push_str("{s}");
            rest = &rest[end + 2..];
        } else if c.is_ascii_alphanumeric() {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .unwrap_or(rest.len());
            let word = &rest[..end];
            out.push_str(fold(word).as_deref().unwrap_or(word));
            rest = &rest[end..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    cut(&out, 160).0.to_owned()
}

/// What a word of letters, digits and dashes stands for, when it is no word.
fn fold(word: &str) -> Option<String> {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    if word.bytes().all(|b| b.is_ascii_digit()) {
        return Some("{n}".to_owned());
    }
    // `2000ms` keeps its unit.
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit());
    if unit.len() < word.len() && unit.len() <= 3 && unit.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Some(format!("{{n}}{unit}"));
    }
    let hexadecimal = word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    ((hexadecimal && word.len() >= 8) || digits >= 3 || word.contains('-'))
        .then(|| "{id}".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_lies_under_the_wrappers() {
        let trace = "org.springframework.kafka.listener.ListenerExecutionFailedException: Listener failed\n\tat a.B.c(B.java:1)\n\
            \tSuppressed: x.Y: z\n\t\tat q\n\tCaused by: not.This: one\n\
            Caused by: org.springframework.kafka.listener.TimestampedException: Exception thrown at 2026-11-21T01:51:21Z\n\tat d\n\
            Caused by: org.springframework.kafka.listener.ListenerExecutionFailedException: Listener method 'x' threw exception\n\
            Caused by: java.lang.IllegalArgumentException: printer jam on attempt 3\n\tat e\n\
            Caused by: java.io.IOException: deeper\n";
        assert_eq!(
            in_stack_trace(trace),
            Some(Cause {
                class: "java.lang.IllegalArgumentException",
                message: "printer jam on attempt 3"
            })
        );
    }

    #[test]
    fn only_wrappers_give_the_innermost() {
        let trace = "java.util.concurrent.ExecutionException: a\nCaused by: java.util.concurrent.CompletionException: b";
        assert_eq!(in_stack_trace(trace).unwrap().message, "b");
    }

    #[test]
    fn a_class_without_message_and_a_thread_prefix_are_read() {
        assert_eq!(
            in_stack_trace("java.lang.NullPointerException\n\tat a.B"),
            Some(Cause {
                class: "java.lang.NullPointerException",
                message: ""
            })
        );
        assert_eq!(
            in_stack_trace("Exception in thread \"main\" java.lang.Error: x")
                .unwrap()
                .class,
            "java.lang.Error"
        );
    }

    #[test]
    fn other_text_is_no_stack_trace() {
        for text in [
            "",
            "boom",
            "cannot read order: bad",
            "...: x",
            "goroutine 1 [running]:\nmain.main()",
        ] {
            assert_eq!(in_stack_trace(text), None, "{text}");
        }
    }

    #[test]
    fn what_differs_between_messages_is_folded() {
        for (message, folded) in [
            (
                "psp did not answer within 2000 ms",
                "psp did not answer within {n} ms",
            ),
            ("took 2000ms", "took {n}ms"),
            (
                "currency \"XAU\" is not enabled for 'DE'",
                "currency {s} is not enabled for {s}",
            ),
            (
                "order 4f2c9d1b-e07a-4b2a-9c1d-000000000000 is gone",
                "order {id} is gone",
            ),
            (
                "customer-17 has no order A-1048-7731",
                "{id} has no order {id}",
            ),
            ("can't read v2 of it\nsecond line", "can't read v2 of it"),
            ("", ""),
        ] {
            assert_eq!(normalise_message(message), folded);
        }
    }

    #[test]
    fn a_giant_message_folds_to_a_short_one() {
        assert!(normalise_message(&"é".repeat(1_000_000)).len() <= 160);
    }
}
