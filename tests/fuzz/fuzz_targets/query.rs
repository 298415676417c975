//! The language of searches, as the collector reads it and as the dashboard checks it while it is typed.
#![no_main]

#[allow(dead_code, reason = "written for the page of traces")]
#[path = "../../../dashboard/src/pages/traces/expression.rs"]
mod expression;

use libfuzzer_sys::{Corpus, fuzz_target};

/// A regular expression is compiled by a crate that is not tried here, and takes longer than all else: a text has
/// room for a short one.
const LONGEST_WITH_A_REGEX: usize = 48;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else {
        return Corpus::Reject;
    };
    if text.len() > LONGEST_WITH_A_REGEX && text.contains('~') {
        return Corpus::Reject;
    }
    let understood = highwater_store::fuzzing::query(text);
    match expression::check(text) {
        Ok(()) => {}
        // The page says what the collector is sure to refuse, and where.
        Err(wrong) => {
            assert!(!understood, "the page refuses it: {wrong:?}");
            assert!(text.get(wrong.at.clone()).is_some(), "{wrong:?}");
        }
    }
    let _ = expression::refusal(text, "service = billing");
    let _ = expression::refusal("a value is missing here (at 9)", text);
    Corpus::Keep
});
