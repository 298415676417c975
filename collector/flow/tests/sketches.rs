//! Sketches against exact quantiles, and distinct records against a plain multiset.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use highwater_flow::Sketch;
use highwater_flow::records::Records;
use highwater_flow::sketch::RELATIVE_ERROR;
use proptest::prelude::*;

fn sketch(values: &[u64]) -> Sketch {
    let mut sketch = Sketch::default();
    values.iter().for_each(|&v| sketch.add(v));
    sketch
}

/// Durations of every magnitude, from nothing to ten years.
fn durations() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(
        prop_oneof![
            0u64..100,
            (0u32..58).prop_flat_map(|bits| 0u64..(1 << bits).max(1))
        ],
        1..200,
    )
}

#[test]
fn the_slowest_of_a_few_is_not_hidden() {
    let few = sketch(&[10, 11, 12, 99_000_000]);
    let slow = few.quantile(0.99).unwrap();
    assert!(slow.abs_diff(99_000_000) < 990_000, "{slow}");
    assert_eq!(few.quantile(0.5), Some(11));
}

proptest! {
    #[test]
    fn a_quantile_is_within_one_percent_of_the_exact_one(mut values in durations(), q in 0.0f64..=1.0) {
        let found = sketch(&values).quantile(q).unwrap();
        values.sort_unstable();
        let rank = (q * values.len() as f64 - 1e-9).ceil() as usize;
        let exact = values[rank.saturating_sub(1)];
        // Half a nanosecond of rounding beside the one percent.
        let allowed = exact as f64 * RELATIVE_ERROR * 1.0001 + 0.5;
        prop_assert!(exact.abs_diff(found) as f64 <= allowed, "{exact} {found}");
    }

    #[test]
    fn a_merge_is_the_sketch_of_both(a in durations(), b in durations()) {
        let mut merged = sketch(&a);
        merged.merge(&sketch(&b));
        prop_assert_eq!(merged, sketch(&[a, b].concat()));
    }

    #[test]
    fn what_was_added_can_be_taken_out_again(a in durations(), b in durations()) {
        let mut both = sketch(&[a.clone(), b.clone()].concat());
        b.iter().for_each(|&v| both.remove(v));
        prop_assert_eq!(both, sketch(&a));
    }

    #[test]
    fn a_sketch_survives_its_encoding(values in durations()) {
        let sketch = sketch(&values);
        let bytes = postcard::to_allocvec(&sketch).unwrap();
        prop_assert_eq!(bytes[0], 1);
        prop_assert_eq!(postcard::from_bytes::<Sketch>(&bytes).unwrap(), sketch);
    }

    #[test]
    fn a_histogram_holds_every_sample_once(values in durations(), bars in 2usize..40) {
        let histogram = sketch(&values).histogram(bars);
        prop_assert!(histogram.len() <= bars);
        prop_assert_eq!(histogram.iter().map(|b| b.count).sum::<u64>(), values.len() as u64);
        prop_assert!(histogram.windows(2).all(|w| w[0].to_ns <= w[1].from_ns.max(1)));
    }

    #[test]
    fn distinct_records_are_counted_as_a_multiset_would(
        changes in prop::collection::vec((any::<bool>(), 0i32..2, 0i64..30), 0..200),
        other in prop::collection::vec((0i32..3, 0i64..60), 0..60),
    ) {
        let mut truth: BTreeMap<(i32, i64), u32> = BTreeMap::new();
        let mut records = Records::default();
        for (insert, partition, offset) in changes {
            let count = truth.entry((partition, offset)).or_default();
            if insert {
                *count += 1;
                records.insert(partition, offset);
            } else if *count > 0 {
                *count -= 1;
                records.remove(partition, offset);
            }
            truth.retain(|_, count| *count > 0);
            prop_assert_eq!(records.distinct(), Some(truth.len() as u64));
        }
        let mut second = Records::default();
        other.iter().for_each(|&(p, o)| second.insert(p, o));
        let mut united = records.clone();
        united.union(&second);
        records.merge(&second);
        other.iter().for_each(|&at| *truth.entry(at).or_default() += 1);
        prop_assert_eq!(united.distinct(), Some(truth.len() as u64));
        prop_assert_eq!(records.distinct(), Some(truth.len() as u64));
        // Every addition can be taken back after a merge too.
        for (&(partition, offset), &count) in &truth {
            for _ in 0..count {
                records.remove(partition, offset);
            }
        }
        prop_assert_eq!(records.distinct(), Some(0));
        prop_assert!(records.is_empty());
    }
}

#[test]
fn a_sketch_of_another_version_is_refused() {
    let mut bytes = postcard::to_allocvec(&sketch(&[1, 2, 3])).unwrap();
    bytes[0] = 2;
    assert!(postcard::from_bytes::<Sketch>(&bytes).is_err());
    // Bins that do not rise, or hold nothing, are no sketch.
    assert!(postcard::from_bytes::<Sketch>(&[1, 2, 5, 1, 5, 1]).is_err());
    assert!(postcard::from_bytes::<Sketch>(&[1, 1, 5, 0]).is_err());
}

#[test]
fn a_sketch_reaches_from_a_nanosecond_to_a_decade() {
    let decade = 10 * 365 * 24 * 3_600 * 1_000_000_000u64;
    let sketch = sketch(&[0, 1, decade]);
    assert_eq!(sketch.quantile(0.0), Some(0));
    assert_eq!(sketch.quantile(0.5), Some(1));
    assert!(sketch.quantile(1.0).unwrap().abs_diff(decade) < decade / 100);
    assert_eq!(Sketch::default().percentiles(), None);
}

#[test]
fn too_many_scattered_records_are_unknown_and_not_wrong() {
    let mut records = Records::default();
    for offset in 0..=i64::from(Records::BOUND) {
        records.insert(0, offset * 2);
    }
    assert_eq!(records.distinct(), None);
    let mut dense = Records::default();
    for offset in 0..1_000_000 {
        dense.insert(0, offset);
    }
    assert_eq!(dense.distinct(), Some(1_000_000));
}
