//! Whom a new span changes: every entry that [`crate::evaluate`] may now see with other eyes.
//!
//! What an entry looks at, and therefore who must be looked at again when something new arrives:
//! - a send: what it is under or linked to (a create of the same message), sends under it, and the way up to the
//!   handler around it, with that handler's producers;
//! - a consuming span: what it is under or linked to, what names it, others that name the same, and those at its place;
//! - a request: the client span it is under.

use crate::evaluate::{MAX_DEPTH, handler_around};
use crate::identities::Slot;
use crate::table::{At, Role, Table, lane_of};

/// Descendants looked at for one new span.
const MAX_DESCENDANTS: usize = 4_096;

/// Entries to evaluate, each once. Kept from one block to the next for its room.
#[derive(Clone, Default, Debug)]
pub(crate) struct Touched {
    list: Vec<Slot>,
    /// By lane, a bit for each place, folded to a power of two that is more than the lane holds.
    seen: [Vec<u64>; 2],
}

impl Touched {
    /// Makes room for the table as it is now. Nothing must be in it.
    pub(crate) fn begin(&mut self, table: &Table) {
        for (lane, seen) in self.seen.iter_mut().enumerate() {
            let bits = table.lane_len(lane).max(64).next_power_of_two();
            if seen.len() < bits / 64 {
                seen.resize(bits / 64, 0);
            }
        }
    }

    fn bit(&mut self, slot: Slot) -> (&mut u64, u64) {
        let seen = &mut self.seen[slot.lane()];
        let place = slot.place() & (seen.len() * 64 - 1);
        (&mut seen[place / 64], 1 << (place % 64))
    }

    fn add(&mut self, slot: Slot) {
        let (word, bit) = self.bit(slot);
        if *word & bit == 0 {
            *word |= bit;
            self.list.push(slot);
        }
    }

    /// Adds one that is wanted if it consumes.
    fn add_consumer(&mut self, at: At<'_>) {
        if at.entry.role == Role::Consumer {
            self.add(at.slot);
        }
    }

    /// The entries so far.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, at: usize) -> Option<Slot> {
        self.list.get(at).copied()
    }

    /// Takes one out; `None` when none is left.
    pub(crate) fn pop(&mut self) -> Option<Slot> {
        let slot = self.list.pop()?;
        let (word, bit) = self.bit(slot);
        *word &= !bit;
        Some(slot)
    }

    /// Adds every entry whose value the arrival of `at` can change, itself included.
    pub(crate) fn arrived(&mut self, table: &Table, at: At<'_>) {
        let role = at.entry.role;
        if lane_of(role) == 0 || role == Role::Server {
            self.add(at.slot);
        }
        for child in table.refs(at.ident()) {
            match (role, child.entry.role) {
                (_, Role::Consumer) => {
                    self.add(child.slot);
                    if role == Role::Producer {
                        // Those that came to it through a receive.
                        self.consumers_naming(table, child);
                    }
                    if role == Role::Consumer {
                        // A receive under a process span now yields: another delivery of its message may be the
                        // first one.
                        for sent in child.targets() {
                            table.refs(sent).for_each(|other| self.add_consumer(other));
                        }
                    }
                }
                (Role::Producer, Role::Producer) | (Role::Client, Role::Server) => {
                    self.add(child.slot);
                }
                _ => {}
            }
        }
        match role {
            Role::Consumer => self.consumer_arrived(table, at),
            Role::Producer => {
                for target in at.targets().filter_map(|target| table.get(target)) {
                    if target.entry.role == Role::Producer {
                        self.add(target.slot);
                    }
                }
                // Now there may be two at one place, of which neither is stitched by its offset any more.
                for beside in table.producers_beside(at) {
                    self.consumers_of(table, beside);
                }
            }
            _ => {}
        }
        // Above what leads to no handler, nothing changes for the sends below.
        if table.is_named(at.ident())
            && (role == Role::Consumer || handler_around(table, at).is_some())
        {
            self.sends_below(table, at);
        }
    }

    fn consumers_naming(&mut self, table: &Table, at: At<'_>) {
        table
            .refs(at.ident())
            .for_each(|other| self.add_consumer(other));
    }

    /// Consuming spans that may be stitched to a producer: directly, through a receive, or by offset.
    fn consumers_of(&mut self, table: &Table, producer: At<'_>) {
        for first in table.refs(producer.ident()) {
            if first.entry.role == Role::Consumer {
                self.add(first.slot);
                self.consumers_naming(table, first);
            }
        }
        table
            .lone_consumers_beside(producer)
            .for_each(|other| self.add_consumer(other));
    }

    fn consumer_arrived(&mut self, table: &Table, at: At<'_>) {
        for beside in table.producers_beside(at) {
            self.consumers_of(table, beside);
        }
        for name in at.targets() {
            // Others of the same message: redeliveries, and the receive or process of it.
            for sibling in table.refs(name) {
                if sibling.entry.role == Role::Consumer {
                    self.add(sibling.slot);
                    self.consumers_naming(table, sibling);
                }
            }
            let Some(target) = table.get(name) else {
                continue;
            };
            match target.entry.role {
                Role::Consumer => {
                    self.add(target.slot);
                    // Come through a receive: the receive's producers have other consumers too.
                    for sent in target.targets() {
                        for other in table.refs(sent) {
                            self.add_consumer(other);
                            self.consumers_naming(table, other);
                        }
                    }
                }
                Role::Producer => table
                    .lone_consumers_beside(target)
                    .for_each(|other| self.add_consumer(other)),
                _ => {}
            }
        }
    }

    /// Adds the sends of the same service below `at`, down to the next handler: what they are attributed to can
    /// change.
    pub(crate) fn sends_below(&mut self, table: &Table, at: At<'_>) {
        let mut level = vec![at];
        let mut seen = 0;
        for _ in 0..=MAX_DEPTH {
            let mut next = Vec::new();
            for above in level {
                for child in table.refs(above.ident()) {
                    if child.entry.service != at.entry.service
                        || child.entry.parent != Some(above.ident())
                    {
                        continue;
                    }
                    seen += 1;
                    if seen > MAX_DESCENDANTS {
                        return;
                    }
                    if child.entry.role == Role::Producer {
                        self.add(child.slot);
                    }
                    if child.entry.role != Role::Consumer {
                        next.push(child);
                    }
                }
            }
            if next.is_empty() {
                return;
            }
            level = next;
        }
    }
}
