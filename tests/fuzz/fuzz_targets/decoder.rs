//! The borrowed walk against prost, on one span; and a whole request, which must never panic.
#![no_main]

use highwater_model::Words;
use highwater_model::normalise::{OriginFacts, Rules, normalise_from};
use highwater_model::otlp::{batch_from_bytes, decode_span, read_span};
use highwater_model::raw::Origin;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let rules = Rules {
        correlation_attributes: vec!["order.id".into()],
        ..Rules::default()
    };
    let origin = OriginFacts::read(&Origin::default());
    let reference = decode_span(data).map(|raw| normalise_from(&origin, &raw, &rules));
    let borrowed = read_span(&origin, data, &rules, &mut Words::unshared());
    match (reference, borrowed) {
        (Ok(reference), Ok(borrowed)) => assert_eq!(reference, borrowed),
        (Err(_), Err(_)) => {}
        (reference, borrowed) => panic!("prost: {reference:?}\nborrowed: {borrowed:?}"),
    }
    let _ = batch_from_bytes(data.to_vec().into(), &rules);
});
