use super::*;
use crate::test_records::{Memory, all_spring};
use highwater_model::UnixNanos;

fn record(partition: i32, offset: i64, millis: i64, value: &str) -> SourceRecord {
    SourceRecord {
        partition,
        offset,
        timestamp: Some(UnixNanos::from_millis(millis)),
        value: Some(value.as_bytes().to_vec()),
        ..SourceRecord::default()
    }
}

fn bounds(partitions: &[(i32, i64, i64)]) -> Vec<PartitionBounds> {
    partitions
        .iter()
        .map(|&(partition, log_start, end)| PartitionBounds {
            partition,
            log_start,
            end,
        })
        .collect()
}

fn query(limit: usize) -> PageQuery {
    PageQuery {
        limit,
        ..PageQuery::default()
    }
}

/// Follows cursors to the end, through their text as a browser sends them; (partition, offset) of every record.
fn walk(source: &Memory, bounds: &[PartitionBounds], mut query: PageQuery) -> Vec<(i32, i64)> {
    let mut seen = Vec::new();
    for _ in 0..10_000 {
        let page = read_page(source, "t", bounds, &query).unwrap();
        seen.extend(page.records.iter().map(|r| (r.partition, r.offset)));
        let Some(next) = page.next else {
            return seen;
        };
        query.cursor = Some(next.to_string().parse().unwrap());
    }
    panic!("the pages never end");
}

/// 3 partitions of 40, 25 and 10 records with rising times, and a gap of offsets in the first.
fn three() -> (Memory, Vec<PartitionBounds>) {
    let memory = Memory::default();
    for n in 0..40 {
        memory.push(
            "t",
            record(0, if n < 20 { n } else { n + 500 }, n * 10, "a"),
        );
    }
    for n in 0..25 {
        memory.push("t", record(1, n + 7, n * 15 + 3, "b"));
    }
    for n in 0..10 {
        memory.push("t", record(2, n, n * 33 + 1, "needle in c"));
    }
    (
        memory,
        bounds(&[(0, 0, 540), (1, 7, 32), (2, 0, 10), (3, 5, 5)]),
    )
}

#[test]
fn pages_hold_every_record_once_newest_first() {
    let (mut memory, bounds) = three();
    for cap in [None, Some(1), Some(3)] {
        memory.cap = cap;
        for limit in [1, 2, 7, 50, 500] {
            let seen = walk(&memory, &bounds, query(limit));
            assert_eq!(seen.len(), 75, "limit {limit}, cap {cap:?}");
            let time = |&(partition, offset): &(i32, i64)| match partition {
                0 => (if offset < 20 { offset } else { offset - 500 }) * 10,
                1 => (offset - 7) * 15 + 3,
                _ => offset * 33 + 1,
            };
            assert!(seen.windows(2).all(|pair| time(&pair[0]) >= time(&pair[1])));
            let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
            assert_eq!(distinct.len(), 75);
        }
    }
}

#[test]
fn within_a_partition_the_order_is_the_offsets_whatever_the_clocks_say() {
    let memory = Memory::default();
    for (offset, millis) in [(0, 900), (1, 100), (2, 500)] {
        memory.push("t", record(0, offset, millis, ""));
    }
    memory.push("t", record(1, 0, 300, ""));
    let seen = walk(&memory, &bounds(&[(0, 0, 3), (1, 0, 1)]), query(10));
    assert_eq!(seen, [(0, 2), (1, 0), (0, 1), (0, 0)]);
}

#[test]
fn a_partition_and_offset_give_that_record_first() {
    let (memory, bounds) = three();
    let query = PageQuery {
        partition: Some(1),
        from_offset: Some(12),
        ..query(3)
    };
    let page = read_page(&memory, "t", &bounds, &query).unwrap();
    let seen: Vec<_> = page
        .records
        .iter()
        .map(|r| (r.partition, r.offset))
        .collect();
    assert_eq!(seen, [(1, 12), (1, 11), (1, 10)]);
    assert_eq!(walk(&memory, &bounds, query).len(), 6);
}

#[test]
fn a_text_is_searched_for_over_pages() {
    let (memory, bounds) = three();
    let query = PageQuery {
        text: Some(" NEEDLE ".to_owned()),
        ..query(4)
    };
    assert_eq!(walk(&memory, &bounds, query.clone()).len(), 10);
    let page = read_page(&memory, "t", &bounds, &query).unwrap();
    assert_eq!(page.records.len(), 4);
    assert!(page.scanned > 4);
}

#[test]
fn a_search_that_finds_nothing_stops_at_its_bound_and_can_go_on() {
    let memory = Memory::with((0..5_000).map(|n| ("t".to_owned(), record(0, n, n, "hay"))));
    let query = PageQuery {
        text: Some("needle".to_owned()),
        ..query(10)
    };
    let page = read_page(&memory, "t", &bounds(&[(0, 0, 5_000)]), &query).unwrap();
    assert_eq!((page.records.len(), page.scanned), (0, 2_000));
    assert_eq!(page.next.unwrap().to_string(), "0-3000");
}

#[test]
fn large_records_end_a_page_early() {
    let large = "x".repeat(6 * 1024 * 1024);
    let memory = Memory::with((0..8).map(|n| ("t".to_owned(), record(0, n, n, &large))));
    let page = read_page(&memory, "t", &bounds(&[(0, 0, 8)]), &query(8)).unwrap();
    assert_eq!(page.records.len(), 3);
    assert_eq!(page.next.unwrap().to_string(), "0-5");
}

#[test]
fn records_that_came_after_the_poll_are_on_the_first_page_and_push_none_off_the_second() {
    let (memory, bounds) = three();
    memory.push("t", record(0, 540, 10_000, "late"));
    let page = read_page(&memory, "t", &bounds, &query(2)).unwrap();
    assert_eq!(page.records[0].offset, 540);
    memory.push("t", record(0, 541, 11_000, "later"));
    let next = PageQuery {
        cursor: page.next,
        ..query(100)
    };
    let rest = walk(&memory, &bounds, next);
    assert_eq!(rest.len(), 74);
    assert!(!rest.contains(&(0, 541)));
}

#[test]
fn queries_that_make_no_sense_are_refused() {
    let (memory, bounds) = three();
    let ask = |query: PageQuery| read_page(&memory, "t", &bounds, &query).unwrap_err();
    assert_eq!(
        ask(PageQuery {
            from_offset: Some(3),
            ..query(1)
        }),
        ReadError::OffsetWithoutPartition
    );
    assert_eq!(
        ask(PageQuery {
            partition: Some(9),
            ..query(1)
        }),
        ReadError::NoPartition { partition: 9 }
    );
    let long = "1-1_".repeat(100_000);
    for text in [
        "",
        "1",
        "1-",
        "-1-5",
        "1--5",
        "1-2_1-3",
        "a-b",
        "1-99999999999999999999",
        &long,
    ] {
        assert_eq!(
            text.parse::<Cursor>(),
            Err(ReadError::BadCursor),
            "{text:.20}"
        );
    }
}

#[test]
fn a_broken_source_is_an_error_with_its_reason() {
    let (memory, bounds) = three();
    *memory.broken.lock().unwrap() = Some("cannot reach 127.0.0.1:9092");
    let error = read_page(&memory, "t", &bounds, &query(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read records: cannot reach 127.0.0.1:9092"
    );
}

#[test]
fn real_records_come_decoded() {
    let memory = Memory::with(all_spring());
    let page = read_page(
        &memory,
        "orders-dlt",
        &bounds(&[(0, 0, 1), (1, 0, 2)]),
        &query(10),
    )
    .unwrap();
    assert_eq!(page.records.len(), 3);
    assert!(
        page.records
            .windows(2)
            .all(|pair| pair[0].timestamp >= pair[1].timestamp)
    );
    let newest = &page.records[0];
    assert_eq!((newest.partition, newest.offset), (0, 0));
    assert_eq!(newest.key.as_ref().unwrap().text, "customer-1");
    let value = newest.value.as_ref().unwrap();
    assert_eq!(value.encoding, crate::Encoding::Json);
    assert!(
        value
            .text
            .starts_with("{\n  \"order\": \"ORD-0120\",\n  \"amount\": -130,")
    );
    assert_eq!(
        newest.traceparent.unwrap().trace_id.to_hex(),
        "6c776b7978c686d55f1aa884001cd473"
    );
    assert!(newest.traceparent.unwrap().sampled());
}
