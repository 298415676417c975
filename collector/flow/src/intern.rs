//! Small numbers in place of names, so that telling two apart needs no strings.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Gives equal values one number. A number is good until a [`Interner::retain`] that does not keep it.
#[derive(Clone, Debug)]
pub(crate) struct Interner<T> {
    index: HashTable<u32>,
    /// With the hash of each.
    values: Vec<Option<(u64, T)>>,
    free: Vec<u32>,
    /// Seeded at random: names come from outside, and must not be chosen to collide.
    hasher: RandomState,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            values: Vec::new(),
            free: Vec::new(),
            hasher: RandomState::default(),
        }
    }
}

impl<T> Interner<T> {
    /// The number of the value that is made of `parts`, as `same` says; `make` makes it where there is none yet.
    /// Always the same parts for one value: they are what is hashed.
    pub(crate) fn number(
        &mut self,
        parts: &impl Hash,
        same: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> u32 {
        let hash = self.hasher.hash_one(parts);
        let held = |at: u32| self.values.get(at as usize).and_then(Option::as_ref);
        let found = self.index.find(hash, |&at| {
            held(at).is_some_and(|(known, value)| *known == hash && same(value))
        });
        if let Some(&found) = found {
            return found;
        }
        let value = Some((hash, make()));
        let number = match self.free.pop() {
            Some(number) => {
                self.values[number as usize] = value;
                number
            }
            None => {
                self.values.push(value);
                self.values.len() as u32 - 1
            }
        };
        let values = &self.values;
        self.index.insert_unique(hash, number, |&at| {
            values[at as usize].as_ref().map_or(0, |(hash, _)| *hash)
        });
        number
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        Some(&self.values.get(number as usize)?.as_ref()?.1)
    }

    /// Numbers given so far are below this.
    pub(crate) fn bound(&self) -> usize {
        self.values.len()
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Forgets the values that are not `used`, by number.
    pub(crate) fn retain(&mut self, used: &[bool]) {
        for (number, value) in self.values.iter_mut().enumerate() {
            if used.get(number).copied().unwrap_or(false) {
                continue;
            }
            if let Some((hash, _)) = value.take() {
                let number = number as u32;
                if let Ok(entry) = self.index.find_entry(hash, |&at| at == number) {
                    entry.remove();
                }
                self.free.push(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(words: &mut Interner<String>, word: &str) -> u32 {
        words.number(&word, |known| known == word, || word.to_owned())
    }

    #[test]
    fn equal_values_have_one_number_and_a_forgotten_one_is_given_again() {
        let mut words = Interner::default();
        let (a, b) = (number(&mut words, "a"), number(&mut words, "b"));
        assert_eq!(
            (
                number(&mut words, "a"),
                number(&mut words, "b"),
                words.len()
            ),
            (a, b, 2)
        );
        words.retain(&[false, true]);
        assert_eq!((words.get(a), words.len()), (None, 1));
        assert_eq!(number(&mut words, "c"), a);
        assert_eq!(words.get(b).map(String::as_str), Some("b"));
        assert_ne!(number(&mut words, "a"), a);
    }
}
