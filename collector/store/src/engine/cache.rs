//! Decoded blocks of late, up to a number of bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

/// A partition's number and a block's: a block that is written again elsewhere keeps its number.
pub(super) type Key = (i64, u64);

/// Least recently used goes first. The mutex is held for a look-up, never while a block is decoded.
#[derive(Debug)]
pub(super) struct Cache<T> {
    capacity: usize,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    entries: HashMap<Key, Entry<T>>,
    by_age: BTreeMap<u64, Key>,
    clock: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    value: Arc<T>,
    bytes: usize,
    used: u64,
}

impl<T> Cache<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::new(State {
                entries: HashMap::new(),
                by_age: BTreeMap::new(),
                clock: 0,
                bytes: 0,
            }),
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<Arc<T>> {
        let state = &mut *self.state.lock();
        let entry = state.entries.get_mut(&key)?;
        state.by_age.remove(&entry.used);
        state.clock += 1;
        entry.used = state.clock;
        state.by_age.insert(entry.used, key);
        Some(Arc::clone(&entry.value))
    }

    /// Keeps `value` unless it alone takes more than a quarter of the cache.
    pub(super) fn put(&self, key: Key, value: &Arc<T>, bytes: usize) {
        if bytes > self.capacity / 4 {
            return;
        }
        let state = &mut *self.state.lock();
        state.clock += 1;
        let entry = Entry {
            value: Arc::clone(value),
            bytes,
            used: state.clock,
        };
        state.by_age.insert(state.clock, key);
        state.bytes += bytes;
        if let Some(before) = state.entries.insert(key, entry) {
            state.by_age.remove(&before.used);
            state.bytes -= before.bytes;
        }
        while state.bytes > self.capacity {
            let Some((_, oldest)) = state.by_age.pop_first() else {
                break;
            };
            if let Some(entry) = state.entries.remove(&oldest) {
                state.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cache;
    use std::sync::Arc;

    #[test]
    fn the_least_recently_used_goes_first_and_bytes_are_bounded() {
        let cache = Cache::new(100);
        for key in 0..4 {
            cache.put((1, key), &Arc::new(key), 25);
        }
        assert_eq!(cache.get((1, 0)).as_deref(), Some(&0));
        cache.put((1, 4), &Arc::new(4), 25);
        assert_eq!(cache.get((1, 1)), None);
        assert_eq!(cache.get((2, 0)), None);
        assert_eq!(cache.get((1, 0)).as_deref(), Some(&0));
        cache.put((1, 5), &Arc::new(5), 26);
        assert_eq!(cache.get((1, 5)), None, "too large to keep");
        assert_eq!(cache.state.lock().bytes, 100);
    }
}
