//! Text that recurs, shared.

use std::sync::Arc;

/// Names, topics and groups recur in every request, so each is kept once and handed out again: a span then costs a
/// count where it would cost an allocation a name.
///
/// A cache, not a table: 2,048 sets of two, the newer first, and what falls out is made again. So it never grows
/// beyond about 600 KiB, whatever is sent.
#[derive(Debug)]
pub struct Words {
    sets: Box<[[Option<Arc<str>>; 2]]>,
}

const SETS: usize = 2048;
/// Longer text is handed out but not kept.
const LONGEST: usize = 128;

impl Default for Words {
    fn default() -> Self {
        Self {
            sets: vec![[const { None }; 2]; SETS].into_boxed_slice(),
        }
    }
}

impl Words {
    /// Shares nothing: for the one span that a page shows.
    #[must_use]
    pub fn unshared() -> Self {
        Self {
            sets: Box::default(),
        }
    }

    /// Returns `text`, shared with whoever asked for it lately.
    #[must_use]
    pub fn share(&mut self, text: &str) -> Arc<str> {
        if text.len() > LONGEST || self.sets.is_empty() {
            return text.into();
        }
        let hash = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
        // The remainder is below SETS, which a usize holds.
        let set = &mut self.sets[(hash % SETS as u64) as usize];
        for known in set.iter().flatten() {
            if **known == *text {
                return Arc::clone(known);
            }
        }
        let new: Arc<str> = text.into();
        set.swap(0, 1);
        set[0] = Some(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{SETS, Words};

    #[test]
    fn equal_text_is_shared_and_other_text_is_itself() {
        let mut words = Words::default();
        let (orders, payments) = (words.share("orders"), words.share("payments"));
        assert_eq!((&*orders, &*payments), ("orders", "payments"));
        assert!(Arc::ptr_eq(&orders, &words.share("orders")));
    }

    #[test]
    fn what_never_recurs_is_not_kept() {
        let mut words = Words::default();
        let given: Vec<_> = (0..SETS * 20)
            .map(|n| words.share(&format!("word {n}")))
            .collect();
        let kept = given
            .iter()
            .filter(|word| Arc::strong_count(word) > 1)
            .count();
        assert!(kept <= 2 * SETS, "{kept}");
        let long = words.share(&"x".repeat(1000));
        assert_eq!(Arc::strong_count(&long), 1);
    }
}
