//! Order of arrival, batches and restarts leave no trace on the map.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use highwater_flow::{Checkpoint, Flow, Row, Topology};
use proptest::prelude::*;
use std::collections::BTreeMap;
use world::{NOW, World, config, query};

/// A store of rows, as history keeps them.
#[derive(Default)]
struct History {
    rows: BTreeMap<(Vec<u8>, u64), Vec<u8>>,
    pending: Vec<u8>,
    last_block: u64,
}

impl History {
    fn save(&mut self, checkpoint: Checkpoint) {
        for row in checkpoint.rows {
            if row.value.is_empty() {
                self.rows.remove(&(row.key, row.bucket.0));
            } else {
                self.rows.insert((row.key, row.bucket.0), row.value);
            }
        }
        self.pending = checkpoint.pending;
        self.last_block = checkpoint.last_block;
    }

    fn restore(&self) -> Flow {
        let rows = self.rows.iter().map(|((key, bucket), value)| Row {
            key: key.clone(),
            bucket: highwater_model::UnixNanos(*bucket),
            value: value.clone(),
        });
        let (flow, unreadable) =
            Flow::restore(config(), rows, &self.pending, self.last_block).unwrap();
        assert_eq!(unreadable, 0);
        flow
    }
}

fn in_order(world: &World) -> Topology {
    let mut flow = Flow::new(config());
    flow.apply(&world.spans, 1, NOW);
    flow.observe(&world.sample);
    flow.topology(&query(), NOW)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_any_batches_give_the_same_map(
        world in world::any_world(),
        order in any::<u64>(),
        batch in 1usize..12,
    ) {
        let expected = in_order(&world);
        let mut flow = Flow::new(config());
        for (at, spans) in world::shuffled(&world.spans, order).chunks(batch).enumerate() {
            flow.apply(spans, at as u64 + 1, NOW);
            if at == 1 {
                flow.observe(&world.sample);
            }
        }
        flow.observe(&world.sample);
        prop_assert_eq!(flow.topology(&query(), NOW), expected);
    }

    #[test]
    fn a_restart_from_a_checkpoint_gives_the_same_map(
        world in world::any_world(),
        order in any::<u64>(),
        batch in 1usize..12,
        every in 1usize..5,
        failing in 2usize..6,
        killed in 0usize..40,
    ) {
        let expected = in_order(&world);
        let spans = world::shuffled(&world.spans, order);
        let blocks: Vec<_> = spans.chunks(batch).collect();
        let killed = killed.min(blocks.len());
        let mut history = History::default();
        let mut flow = Flow::new(config());
        flow.observe(&world.sample);
        history.save(flow.take_checkpoint());
        for (at, spans) in blocks.iter().enumerate().take(killed) {
            flow.apply(*spans, at as u64 + 1, NOW);
            if at % every == 0 {
                let checkpoint = flow.take_checkpoint();
                // Some cannot be written.
                if at % failing == 0 {
                    flow.put_back(checkpoint.rows);
                } else {
                    history.save(checkpoint);
                }
            }
        }
        // Killed here: what was not checkpointed is replayed, from earlier than needed.
        let mut flow = history.restore();
        prop_assert_eq!(flow.last_block(), history.last_block);
        for (at, spans) in blocks.iter().enumerate() {
            flow.apply(*spans, at as u64 + 1, NOW);
        }
        flow.observe(&world.sample);
        prop_assert_eq!(flow.topology(&query(), NOW), expected.clone());
        // And once more, with nothing to replay.
        history.save(flow.take_checkpoint());
        prop_assert_eq!(history.restore().topology(&query(), NOW), expected);
    }
}
