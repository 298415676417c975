//! History: long ranges add up, late spans find their bucket, and the room it takes is bounded.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use std::time::Duration;

use highwater_flow::{Checkpoint, Config, Flow, Row, Topology, TopologyQuery};
use highwater_model::{Span, UnixNanos};
use proptest::prelude::*;
use world::{MS, Maker, NOW, config, place, query};

const SECOND: u64 = 1_000 * MS;
const HOUR: u64 = 3_600 * SECOND;
const PRODUCES: &str = "produces service:a>topic:unknown/t";

/// A send that took 5 ms, at an instant.
fn sent(make: &mut Maker, at: u64, offset: i64) -> Span {
    let trace = make.trace();
    make.at = at;
    place(make.send(trace, None, "a", "t"), 0, offset).clone()
}

fn between(flow: &Flow, from: u64, to: u64, now: u64) -> Topology {
    let query = TopologyQuery {
        from: UnixNanos(from),
        to: UnixNanos(to),
        ..query()
    };
    flow.topology(&query, UnixNanos(now))
}

/// Messages and distinct records of the one edge.
fn counts(map: &Topology) -> (u64, u64) {
    let edge = map.edge(PRODUCES);
    edge.map_or((0, 0), |edge| {
        (edge.messages.unwrap(), edge.records.unwrap())
    })
}

/// Time goes on, a minute at a time at first, so that all that is over is sealed and summed; long enough at the end for a
/// pause to be believed.
fn wait(flow: &mut Flow, from: u64, to: u64) {
    let block = flow.last_block();
    let instants = [
        from + 60 * SECOND,
        from + 600 * SECOND,
        to - 600 * SECOND,
        to,
    ];
    for (nth, now) in instants.iter().enumerate() {
        flow.apply(&[], block + 1 + nth as u64, UnixNanos(*now));
    }
}

fn restored(config: Config, checkpoint: Checkpoint) -> Flow {
    let rows: Vec<Row> = checkpoint.rows;
    let (flow, unreadable) =
        Flow::restore(config, rows, &checkpoint.pending, checkpoint.last_block).unwrap();
    assert_eq!(unreadable, 0);
    flow
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_range_has_the_messages_that_are_in_it(
        back in prop::collection::vec(0..72 * HOUR, 1..120),
        late in prop::collection::vec(0..72 * HOUR, 0..10),
        from in 0u64..72,
        hours in 1u64..72,
        restart in any::<bool>(),
    ) {
        let now = NOW.0;
        let mut make = Maker::default();
        let spans: Vec<Span> = back
            .iter()
            .enumerate()
            .map(|(offset, back)| sent(&mut make, now - back, offset as i64 / 2))
            .collect();
        let mut flow = Flow::new(config());
        flow.apply(&spans, 1, NOW);
        wait(&mut flow, now, now + 2 * HOUR);
        let now = now + 2 * HOUR;
        // These come when their time is long over.
        let late: Vec<Span> = late
            .iter()
            .enumerate()
            .map(|(nth, back)| sent(&mut make, now - back, 1_000 + nth as i64))
            .collect();
        let block = flow.last_block();
        flow.apply(&late, block + 1, UnixNanos(now));
        if restart {
            flow = restored(config(), flow.take_checkpoint());
        }
        wait(&mut flow, now, now + 600 * SECOND);
        let now = now + 600 * SECOND;
        // Whole hours, so that the range is what was asked for whatever the widths.
        let start = (now - (from + hours) * HOUR) / HOUR * HOUR;
        let end = start + hours * HOUR;
        let map = between(&flow, start, end, now);
        prop_assert_eq!((map.window.from.0, map.window.to.0), (start, end));
        let within: Vec<&Span> = spans
            .iter()
            .chain(&late)
            .filter(|span| (start..end).contains(&span.end.0))
            .collect();
        let mut offsets: Vec<_> = within
            .iter()
            .map(|span| span.messaging.as_ref().unwrap().offset)
            .collect();
        offsets.sort_unstable();
        offsets.dedup();
        prop_assert_eq!(counts(&map), (within.len() as u64, offsets.len() as u64));
    }
}

#[test]
fn a_full_history_is_coarser_and_loses_no_count() {
    let start = NOW.0 / HOUR * HOUR - 48 * HOUR;
    let small = Config {
        max_history: 64 << 10,
        ..config()
    };
    let bound = small.max_history;
    let (mut flow, mut whole) = (Flow::new(small.clone()), Flow::new(config()));
    let mut make = Maker::default();
    let mut restarts = 0;
    for minute in 0..48 * 60u64 {
        let at = start + minute * 60 * SECOND;
        let spans: Vec<Span> = (0..2)
            .map(|nth| sent(&mut make, at, minute as i64 * 2 + nth))
            .collect();
        for flow in [&mut flow, &mut whole] {
            flow.apply(&spans, minute + 1, UnixNanos(at + SECOND));
        }
        if minute == 30 * 60 {
            flow = restored(small.clone(), flow.take_checkpoint());
            restarts += 1;
        }
    }
    let end = start + 48 * HOUR;
    assert_eq!(restarts, 1);
    assert!(
        whole.history_bytes() > 2 * bound,
        "{}",
        whole.history_bytes()
    );
    assert!(flow.history_bytes() <= bound, "{}", flow.history_bytes());
    assert!(
        (1..=11).contains(&flow.stats().coarsened),
        "{:?}",
        flow.stats()
    );
    assert_eq!(whole.stats().coarsened, 0);
    assert_eq!(whole.coarser(), None);
    let said = flow.coarser().unwrap();
    assert!(said.contains("the map keeps minutes for"), "{said}");
    for back in [48, 24, 5, 1] {
        let (mine, full) = (
            between(&flow, end - back * HOUR, end, end),
            between(&whole, end - back * HOUR, end, end),
        );
        assert_eq!(counts(&mine), (back * 120, back * 120), "{back} h");
        assert_eq!(counts(&mine), counts(&full));
        // Latencies are of the last minutes, which nothing presses.
        assert_eq!(mine.edges[0].latency, full.edges[0].latency);
    }
}

#[test]
fn history_grows_fine_again_when_there_is_room() {
    let mut flow = Flow::new(Config {
        max_history: 64 << 10,
        ..config()
    });
    let mut make = Maker::default();
    let spans: Vec<Span> = (0..2_000)
        .map(|nth| sent(&mut make, NOW.0 - nth * 20 * SECOND, nth as i64))
        .collect();
    flow.apply(&spans, 1, NOW);
    wait(&mut flow, NOW.0, NOW.0 + HOUR);
    assert!(flow.stats().coarsened > 0);
    // All of it is past retention a hundred days later.
    for days in 100..140 {
        let now = NOW + Duration::from_secs(days * 86_400);
        flow.apply(&[], days + 100, now);
    }
    assert_eq!((flow.stats().coarsened, flow.history_bytes()), (0, 0));
}

#[test]
fn a_clock_that_was_ahead_for_a_moment_costs_no_count() {
    let mut make = Maker::default();
    let mut flow = Flow::new(config());
    let spans: Vec<Span> = (0..100)
        .map(|nth| sent(&mut make, NOW.0 - nth * 60 * SECOND, nth as i64))
        .collect();
    flow.apply(&spans, 1, NOW);
    let later = |ns: u64| NOW + Duration::from_nanos(ns);
    flow.apply(&[], 2, later(100 * 24 * HOUR));
    // Right again; and ahead once more, at a time that would be long after the first.
    let next = sent(&mut make, NOW.0 + SECOND, 100);
    flow.apply([&next], 3, later(2 * SECOND));
    flow.apply(&[], 4, later(200 * 24 * HOUR));
    let mut flow = restored(config(), flow.take_checkpoint());
    let last = sent(&mut make, NOW.0 + 3 * SECOND, 101);
    flow.apply([&last], 5, later(4 * SECOND));
    let end = NOW.0 + 10 * SECOND;
    let map = between(&flow, NOW.0 - 2 * HOUR, end, end);
    assert_eq!(counts(&map), (102, 102));
    assert_eq!(flow.stats().too_old, 0);
    // A year in which nothing came ends as one.
    wait(&mut flow, end, end + 365 * 24 * HOUR);
    assert_eq!(flow.history_bytes(), 0);
}
