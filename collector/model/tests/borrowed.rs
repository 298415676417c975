//! The borrowed walk against prost: both take a span and give it the same meaning, or both refuse it.
//!
//! Spans are written field by field, so that they hold what an encoder never writes: fields in any order, repeated
//! and merged, of unknown numbers and kinds, groups among them, and in a third of the cases damaged bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use highwater_model::Words;
use highwater_model::normalise::{OriginFacts, Rules, normalise_from};
use highwater_model::otlp::{decode_span, read_span};
use highwater_model::raw::Origin;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::encoding::{WireType, encode_key, encode_varint};

type Bytes = Vec<u8>;

fn key(number: u32, wire_type: WireType) -> Bytes {
    let mut out = Vec::new();
    encode_key(number, wire_type, &mut out);
    out
}

fn delimited(number: u32, content: &[u8]) -> Bytes {
    let mut out = key(number, WireType::LengthDelimited);
    encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn varint(number: u32, value: u64) -> Bytes {
    let mut out = key(number, WireType::Varint);
    encode_varint(value, &mut out);
    out
}

fn fixed64(number: u32, value: u64) -> Bytes {
    [
        key(number, WireType::SixtyFourBit),
        value.to_le_bytes().into(),
    ]
    .concat()
}

fn fixed32(number: u32, value: u32) -> Bytes {
    [
        key(number, WireType::ThirtyTwoBit),
        value.to_le_bytes().into(),
    ]
    .concat()
}

fn group(number: u32, content: &[u8]) -> Bytes {
    let (begin, end) = (WireType::StartGroup, WireType::EndGroup);
    [key(number, begin), content.to_vec(), key(number, end)].concat()
}

/// A field of any number, so that it is unknown to most messages and of the wrong kind to some.
fn stray() -> impl Strategy<Value = Bytes> {
    let number = 1..24_u32;
    let plain = prop_oneof![
        (number.clone(), any::<u64>()).prop_map(|(n, v)| varint(n, v)),
        (number.clone(), any::<u64>()).prop_map(|(n, v)| fixed64(n, v)),
        (number.clone(), any::<u32>()).prop_map(|(n, v)| fixed32(n, v)),
        (number, vec(any::<u8>(), 0..6)).prop_map(|(n, v)| delimited(n, &v)),
    ];
    plain.prop_recursive(3, 8, 3, |inner| {
        (1..24_u32, vec(inner, 0..3)).prop_map(|(n, fields)| group(n, &fields.concat()))
    })
}

/// Fields joined into a message; one in twenty is a stray.
fn message(field: impl Strategy<Value = Bytes> + 'static, most: usize) -> BoxedStrategy<Bytes> {
    let field = prop_oneof![19 => field.boxed(), 1 => stray()];
    vec(field, 0..most)
        .prop_map(|fields| fields.concat())
        .boxed()
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "kafka",
            "Kafka",
            "rabbitmq",
            "aws_sqs",
            "nats",
            "receive",
            "process",
            "send",
            "true",
            "7",
            "-1",
            " 12 ",
            "orders.1.2",
            "a - b",
            "KafkaBackoffException",
            "exception",
            "",
        ])
        .prop_map(str::to_owned),
        ".{0,12}",
    ]
}

fn keys() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => prop::sample::select(vec![
            "messaging.system", "messaging.destination.name", "messaging.destination", "messaging.operation.type",
            "messaging.operation", "messaging.destination.partition.id", "messaging.kafka.offset",
            "messaging.kafka.message.offset", "messaging.message.id", "messaging.consumer.group.name",
            "messaging.consumer.id", "messaging.client.id", "messaging.batch.message_count", "messaging.url",
            "messaging.kafka.message.key", "messaging.kafka.message.tombstone", "messaging.message.body.size",
            "messaging.header.correlation_id", "messaging.header.x-correlation-id", "correlation_id",
            "messaging.message.conversation_id", "order.id", "server.address", "server.port", "error.type",
            "exception.type", "exception.message", "exception.stacktrace", "peer.service", "rpc.method",
            "messaging.destination.temporary", "spring.kafka.listener.id",
        ])
        .prop_map(str::to_owned),
        1 => ".{0,12}",
    ]
}

fn any_value() -> impl Strategy<Value = Bytes> {
    let leaf = prop_oneof![
        4 => words().prop_map(|text| delimited(1, text.as_bytes())),
        1 => any::<u64>().prop_map(|n| varint(2, n)),
        2 => any::<u64>().prop_map(|n| varint(3, n)),
        2 => (0..20_u64).prop_map(|n| varint(3, n)),
        1 => any::<f64>().prop_map(|n| fixed64(4, n.to_bits())),
        1 => (0..20_i32).prop_map(|n| fixed64(4, f64::from(n).to_bits())),
        1 => vec(any::<u8>(), 0..6).prop_map(|bytes| delimited(7, &bytes)),
        1 => any::<u64>().prop_map(|n| varint(8, n)),
    ];
    // Mostly one field; several merge.
    let value =
        |field: BoxedStrategy<Bytes>| prop_oneof![4 => field.clone(), 1 => message(field, 4)];
    value(leaf.boxed()).prop_recursive(3, 16, 4, move |inner| {
        let array = message(inner.clone().prop_map(|item| delimited(1, &item)), 4)
            .prop_map(|items| delimited(5, &items));
        let pair = (keys(), inner.clone())
            .prop_map(|(k, v)| [delimited(1, k.as_bytes()), delimited(2, &v)].concat());
        let pairs = message(pair.prop_map(|pair| delimited(1, &pair)), 3)
            .prop_map(|pairs| delimited(6, &pairs));
        let field = prop_oneof![2 => inner, 2 => array, 1 => pairs].boxed();
        prop_oneof![4 => field.clone(), 1 => message(field, 3)]
    })
}

fn attribute(number: u32) -> impl Strategy<Value = Bytes> {
    let usual = (keys(), any_value())
        .prop_map(|(k, v)| [delimited(1, k.as_bytes()), delimited(2, &v)].concat());
    let parts = prop_oneof![
        keys().prop_map(|k| delimited(1, k.as_bytes())),
        any_value().prop_map(|v| delimited(2, &v)),
        any::<u64>().prop_map(|n| varint(3, n)),
    ];
    prop_oneof![4 => usual.boxed(), 1 => message(parts, 5)]
        .prop_map(move |pair| delimited(number, &pair))
}

fn id(number: u32, length: usize) -> impl Strategy<Value = Bytes> {
    prop_oneof![
        9 => (1..=255_u8).prop_map(move |byte| vec![byte; length]),
        1 => vec(any::<u8>(), 0..20),
    ]
    .prop_map(move |id| delimited(number, &id))
}

fn span() -> impl Strategy<Value = Bytes> {
    let event = message(
        prop_oneof![
            any::<u64>().prop_map(|n| fixed64(1, n)),
            words().prop_map(|name| delimited(2, name.as_bytes())),
            Just(delimited(2, b"exception")),
            attribute(3),
            any::<u64>().prop_map(|n| varint(4, n)),
        ],
        5,
    );
    let link = message(
        prop_oneof![
            2 => id(1, 16),
            2 => id(2, 8),
            1 => words().prop_map(|state| delimited(3, state.as_bytes())),
            2 => attribute(4),
            1 => any::<u64>().prop_map(|n| varint(5, n)),
            1 => any::<u32>().prop_map(|n| fixed32(6, n)),
        ],
        7,
    );
    let status = message(
        prop_oneof![
            words().prop_map(|text| delimited(2, text.as_bytes())),
            (0..4_u64).prop_map(|code| varint(3, code)),
        ],
        3,
    );
    let field = prop_oneof![
        1 => words().prop_map(|state| delimited(3, state.as_bytes())),
        1 => id(4, 8),
        1 => words().prop_map(|name| delimited(5, name.as_bytes())),
        2 => prop_oneof![(0..7_u64).boxed(), any::<u64>().boxed()].prop_map(|kind| varint(6, kind)),
        1 => any::<u64>().prop_map(|n| fixed64(7, n)),
        1 => any::<u64>().prop_map(|n| fixed64(8, n)),
        12 => attribute(9),
        1 => any::<u64>().prop_map(|n| varint(10, n)),
        2 => event.prop_map(|event| delimited(11, &event)),
        2 => link.prop_map(|link| delimited(13, &link)),
        2 => status.prop_map(|status| delimited(15, &status)),
        1 => any::<u32>().prop_map(|n| fixed32(16, n)),
        2 => Just([delimited(9, &[delimited(1, b"messaging.system"), delimited(2, &delimited(1, b"kafka"))].concat()), varint(6, 5)].concat()),
    ];
    // Ids first or last; both are in order.
    (id(1, 16), id(2, 8), message(field, 14), any::<bool>()).prop_map(
        |(trace, span, rest, first)| {
            if first {
                [trace, span, rest].concat()
            } else {
                [rest, span, trace].concat()
            }
        },
    )
}

fn agree(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let rules = Rules {
        correlation_attributes: vec!["order.id".into(), "messaging.message.id".into()],
        ..Rules::default()
    };
    let origin = OriginFacts::read(&Origin::default());
    let reference = decode_span(bytes).map(|raw| normalise_from(&origin, &raw, &rules));
    let borrowed = read_span(&origin, bytes, &rules, &mut Words::unshared());
    match (reference, borrowed) {
        (Ok(reference), Ok(borrowed)) => {
            prop_assert_eq!(reference, borrowed);
            Ok(true)
        }
        (Err(_), Err(_)) => Ok(false),
        (reference, borrowed) => {
            prop_assert!(false, "prost: {reference:?}\nborrowed: {borrowed:?}");
            Ok(false)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn both_read_any_span_alike(bytes in span()) {
        agree(&bytes)?;
    }

    #[test]
    fn both_read_damaged_spans_alike(
        bytes in span(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
        end in proptest::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut bytes = bytes;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        agree(&bytes)?;
    }

    #[test]
    fn both_read_any_bytes_alike(bytes in vec(any::<u8>(), 0..64)) {
        agree(&bytes)?;
    }
}

/// The generator would prove nothing if most of what it makes were refused.
#[test]
fn most_spans_that_are_not_damaged_are_taken() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let taken = (0..500)
        .filter(|_| agree(&span().new_tree(&mut runner).unwrap().current()).unwrap())
        .count();
    assert!(taken > 200, "{taken} of 500");
}

/// Both count the levels of nesting alike, to the last one, for messages, unknown fields and groups.
#[test]
fn both_refuse_the_same_depth() {
    let ids = [delimited(1, &[1; 16]), delimited(2, &[1; 8])].concat();
    let (mut last_taken, mut taken) = (0, 0);
    for core in [
        delimited(1, b"core"),
        varint(100, 1),
        group(100, &varint(1, 1)),
        group(100, &[]),
    ] {
        let mut value = core;
        for depth in 0..120 {
            let attribute = delimited(9, &delimited(2, &value));
            if agree(&[ids.clone(), attribute].concat()).unwrap() {
                (last_taken, taken) = (depth, taken + 1);
            }
            value = if depth % 2 == 0 {
                delimited(5, &delimited(1, &value))
            } else {
                delimited(6, &delimited(1, &delimited(2, &value)))
            };
        }
    }
    assert!(taken > 100 && last_taken < 60, "{taken} {last_taken}");
    let mut deep = varint(1, 1);
    for depth in 0..120 {
        let taken = agree(&[ids.clone(), deep.clone()].concat()).unwrap();
        assert_eq!(taken, depth > 0 && depth < 100, "{depth} groups");
        deep = group(100, &deep);
    }
}
