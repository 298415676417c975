//! Which clusters, groups, topics and services a rule or a silence is about.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A list of globs: `*` stands for any text, `?` for one character, and `!` before a glob excludes. Without a glob that
/// includes, everything is included.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Globs(pub Vec<String>);

/// Globs in one list.
pub(crate) const MOST_GLOBS: usize = 64;
/// Bytes of one glob. Kafka's own names end at 249.
pub(crate) const LONGEST_GLOB: usize = 256;

impl Globs {
    /// Whether there is none, and so everything matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `name` matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        !self.is_excluded(name) && self.is_included(name)
    }

    /// Whether one of `names` matches. Of no names at all, only a list that does not ask for any.
    #[must_use]
    pub fn matches_any(&self, names: &[Arc<str>]) -> bool {
        if names.is_empty() {
            return !self.asks();
        }
        names.iter().any(|name| self.matches(name))
    }

    /// Whether what may have no name matches.
    #[must_use]
    pub fn matches_option(&self, name: Option<&str>) -> bool {
        name.map_or(!self.asks(), |name| self.matches(name))
    }

    /// Whether it asks for names, not only excludes some.
    fn asks(&self) -> bool {
        self.0.iter().any(|glob| !glob.starts_with('!'))
    }

    fn is_excluded(&self, name: &str) -> bool {
        self.0
            .iter()
            .filter_map(|glob| glob.strip_prefix('!'))
            .any(|glob| glob_matches(glob, name))
    }

    fn is_included(&self, name: &str) -> bool {
        !self.asks()
            || self
                .0
                .iter()
                .filter(|glob| !glob.starts_with('!'))
                .any(|glob| glob_matches(glob, name))
    }
}

/// What a rule is about.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Selector {
    /// Clusters.
    pub cluster: Globs,
    /// Groups.
    pub group: Globs,
    /// Topics. A group's figures are then those of its partitions of these topics.
    pub topic: Globs,
    /// Services.
    pub service: Globs,
}

/// Greedy with one point to come back to, so no worse than the product of the lengths.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (mut pattern, mut rest) = (glob.chars(), text.chars());
    let mut star = None;
    loop {
        let at = rest.clone();
        let Some(letter) = rest.next() else {
            return pattern.all(|letter| letter == '*');
        };
        match pattern.next() {
            Some('*') => {
                rest = at;
                star = Some((pattern.clone(), rest.clone()));
            }
            Some(wanted) if wanted == '?' || wanted == letter => {}
            _ => {
                let Some((after, mut from)) = star else {
                    return false;
                };
                from.next();
                pattern = after.clone();
                rest = from.clone();
                star = Some((after, from));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(list: &[&str]) -> Globs {
        Globs(list.iter().map(|glob| (*glob).to_owned()).collect())
    }

    #[test]
    fn globs_match_whole_names() {
        for (glob, text, matches) in [
            ("shop.*", "shop.billing", true),
            ("shop.*", "workshop.billing", false),
            ("*", "", true),
            ("?", "", false),
            ("?", "é", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("*-dlt", "orders-dlt-dlt", true),
            ("orders", "orders2", false),
        ] {
            assert_eq!(glob_matches(glob, text), matches, "{glob} {text}");
        }
    }

    #[test]
    fn an_exclamation_mark_excludes_and_no_glob_is_all() {
        assert!(globs(&[]).matches("billing"));
        assert!(globs(&["!batch-*"]).matches("billing"));
        assert!(!globs(&["!batch-*"]).matches("batch-1"));
        assert!(!globs(&["b*", "!batch-*"]).matches("batch-1"));
        assert!(globs(&["b*", "!batch-*"]).matches("billing"));
    }

    #[test]
    fn what_has_no_name_matches_only_where_no_name_is_asked_for() {
        assert!(globs(&["!x"]).matches_any(&[]));
        assert!(!globs(&["x"]).matches_any(&[]));
        assert!(!globs(&["*"]).matches_option(None));
        assert!(globs(&["b"]).matches_any(&["a".into(), "b".into()]));
    }
}
