//! The mark of a group: the time lag above which it is critical.

use std::time::Duration;

/// The general mark and those of groups by glob.
#[derive(Clone, Debug)]
pub struct Marks {
    /// Where no glob matches.
    pub default: Duration,
    /// Globs with `*`; the longest that matches wins.
    pub globs: Vec<(String, Duration)>,
}

impl Marks {
    /// The mark of `group`.
    #[must_use]
    pub fn of(&self, group: &str) -> Duration {
        self.globs
            .iter()
            .filter(|(glob, _)| matches(glob, group))
            .max_by_key(|(glob, _)| glob.len())
            .map_or(self.default, |(_, mark)| *mark)
    }
}

/// `*` stands for any text. Greedy with one point to come back to, so linear in the product of the lengths.
fn matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if g < glob.len() && glob[g] == '*' {
            star = Some((g, t));
            g += 1;
        } else if g < glob.len() && glob[g] == text[t] {
            g += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            g = at + 1;
            t = from + 1;
            star = Some((at, from + 1));
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::Marks;
    use std::time::Duration;

    #[test]
    fn the_longest_glob_that_matches_wins() {
        let seconds = Duration::from_secs;
        let marks = Marks {
            default: seconds(60),
            globs: vec![
                ("billing*".into(), seconds(10)),
                ("billing-*-eu".into(), seconds(5)),
                ("*".into(), seconds(30)),
            ],
        };
        assert_eq!(marks.of("billing"), seconds(10));
        assert_eq!(marks.of("billing-a-eu"), seconds(5));
        assert_eq!(marks.of("other"), seconds(30));
    }
}
