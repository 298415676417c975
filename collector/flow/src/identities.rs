//! Spans by id, whether they are here or only named by others: one small number each, one look-up by hash.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use highwater_model::{SpanId, TraceId};
use smallvec::SmallVec;

/// A span's identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SpanRef {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
}

impl Hash for SpanRef {
    /// As three words: for arrays of bytes, lengths would be hashed too.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let trace = u128::from_ne_bytes(self.trace.0);
        state.write_u64(trace as u64);
        state.write_u64((trace >> 64) as u64);
        state.write_u64(u64::from_ne_bytes(self.span.0));
    }
}

/// The number of an identity that is in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Ident(u32);

/// Where an entry stands: its lane in the top bit, the rest of its place in that lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(pub(crate) u32);

/// References kept to one span; a batch of more is stitched as far as this.
pub(crate) const MAX_REFS: usize = 1_024;

/// Entries that name a span; most spans have few children.
pub(crate) type Refs = SmallVec<[Slot; 4]>;

#[derive(Clone, Debug)]
struct Identity {
    id: SpanRef,
    slot: Option<Slot>,
    /// Entries that name it: `refs`, and those beyond the bound. It goes when there are none and it is not here.
    named: u32,
    refs: Refs,
}

/// All identities in use: of spans that are here, and of those that spans here name.
#[derive(Clone, Default, Debug)]
pub(crate) struct Identities {
    index: HashTable<Ident>,
    all: Vec<Identity>,
    free: Vec<Ident>,
    hasher: RandomState,
}

impl Identities {
    fn get(&self, ident: Ident) -> &Identity {
        &self.all[ident.0 as usize]
    }

    pub(crate) fn id(&self, ident: Ident) -> SpanRef {
        self.get(ident).id
    }

    pub(crate) fn slot(&self, ident: Ident) -> Option<Slot> {
        self.get(ident).slot
    }

    pub(crate) fn refs(&self, ident: Ident) -> &[Slot] {
        &self.get(ident).refs
    }

    /// The number of an id that is in use.
    pub(crate) fn find(&self, id: SpanRef) -> Option<Ident> {
        self.find_hashed(self.hasher.hash_one(id), id)
    }

    fn find_hashed(&self, hash: u64, id: SpanRef) -> Option<Ident> {
        let same = |ident: &Ident| self.get(*ident).id == id;
        self.index.find(hash, same).copied()
    }

    /// The number of an id, new or known. Must be followed by [`Identities::arrive`] or [`Identities::name`].
    pub(crate) fn of(&mut self, id: SpanRef) -> Ident {
        let hash = self.hasher.hash_one(id);
        if let Some(found) = self.find_hashed(hash, id) {
            return found;
        }
        let (all, hasher) = (&mut self.all, &self.hasher);
        let identity = Identity {
            id,
            slot: None,
            named: 0,
            refs: Refs::new(),
        };
        let ident = match self.free.pop() {
            Some(ident) => {
                all[ident.0 as usize] = identity;
                ident
            }
            None => {
                all.push(identity);
                Ident(all.len() as u32 - 1)
            }
        };
        // The table is rehashed when it grows only.
        let rehash = |ident: &Ident| hasher.hash_one(all[ident.0 as usize].id);
        self.index.insert_unique(hash, ident, rehash);
        ident
    }

    /// The span is here now.
    pub(crate) fn arrive(&mut self, ident: Ident, slot: Slot) {
        self.all[ident.0 as usize].slot = Some(slot);
    }

    /// The span is here no more.
    pub(crate) fn leave(&mut self, ident: Ident) {
        let identity = &mut self.all[ident.0 as usize];
        identity.slot = None;
        if identity.named == 0 {
            self.forget(ident);
        }
    }

    /// `by` names it. Returns false when too many do: then it is not found from here.
    pub(crate) fn name(&mut self, ident: Ident, by: Slot) -> bool {
        let identity = &mut self.all[ident.0 as usize];
        identity.named += 1;
        let room = identity.refs.len() < MAX_REFS;
        if room {
            identity.refs.push(by);
        }
        room
    }

    /// `by` names it no more.
    pub(crate) fn unname(&mut self, ident: Ident, by: Slot) {
        let identity = &mut self.all[ident.0 as usize];
        identity.named -= 1;
        // First in, first out: it stands at the front.
        if let Some(at) = identity.refs.iter().position(|slot| *slot == by) {
            identity.refs.remove(at);
        }
        if identity.named == 0 && identity.slot.is_none() {
            self.forget(ident);
        }
    }

    fn forget(&mut self, ident: Ident) {
        let identity = &mut self.all[ident.0 as usize];
        identity.refs = Refs::new();
        let hash = self.hasher.hash_one(identity.id);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == ident) {
            entry.remove();
            self.free.push(ident);
        }
    }
}

/// A record's place: topic by name, partition, offset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Place {
    pub(crate) topic: crate::names::Word,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// Who sent and who read the records at each place.
#[derive(Clone, Default, Debug)]
pub(crate) struct Places {
    index: HashTable<(Place, Refs)>,
    hasher: RandomState,
}

impl Places {
    pub(crate) fn at(&self, place: Place) -> &[Slot] {
        let hash = self.hasher.hash_one(place);
        self.index
            .find(hash, |(other, _)| *other == place)
            .map_or(&[], |(_, slots)| slots)
    }

    pub(crate) fn put(&mut self, place: Place, slot: Slot) {
        let hasher = &self.hasher;
        let entry = self.index.entry(
            hasher.hash_one(place),
            |(other, _)| *other == place,
            |(other, _)| hasher.hash_one(other),
        );
        let slots = &mut entry.or_insert_with(|| (place, Refs::new())).into_mut().1;
        if slots.len() < MAX_REFS {
            slots.push(slot);
        }
    }

    pub(crate) fn remove(&mut self, place: Place, slot: Slot) {
        let hash = self.hasher.hash_one(place);
        if let Ok(mut entry) = self.index.find_entry(hash, |(other, _)| *other == place) {
            let slots = &mut entry.get_mut().1;
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                entry.remove();
            }
        }
    }
}
