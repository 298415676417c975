//! Prometheus' text format.

use std::fmt::{Display, Write};

/// Collects series, each family with its help and type once.
#[derive(Default)]
pub(crate) struct Exposition(String);

/// A family that takes samples.
pub(crate) struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl Exposition {
    pub(crate) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "gauge")
    }

    pub(crate) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "counter")
    }

    fn family(&mut self, name: &'static str, help: &str, kind: &str) -> Family<'_> {
        // Writing to a String does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family {
            out: &mut self.0,
            name,
        }
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.out.push_str(self.name);
        for (at, (name, value)) in labels.iter().enumerate() {
            let _ = write!(self.out, "{}{name}=\"", if at == 0 { '{' } else { ',' });
            for c in value.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
        self
    }

    /// A sample that is left out while its value is unknown.
    pub(crate) fn known<T: Display>(
        &mut self,
        labels: &[(&str, &str)],
        value: Option<T>,
    ) -> &mut Self {
        if let Some(value) = value {
            self.sample(labels, value);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::Exposition;

    #[test]
    fn labels_are_escaped_and_the_unknown_is_left_out() {
        let mut out = Exposition::default();
        out.gauge("lag", "Lag.")
            .sample(&[("group", "a\"b\\c\n"), ("topic", "t")], 3)
            .known(&[], None::<u64>);
        assert_eq!(
            out.finish(),
            "# HELP lag Lag.\n# TYPE lag gauge\nlag{group=\"a\\\"b\\\\c\\n\",topic=\"t\"} 3\n"
        );
    }
}
