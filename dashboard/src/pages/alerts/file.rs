//! A rule as the file of rules writes it.

use highwater_shared::alerts::RuleSpec;

/// Writes a basic string of TOML.
fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Writes a rule as a `[[rule]]` of TOML; what it leaves out, the file leaves out.
pub(super) fn toml(rule: &RuleSpec) -> String {
    let mut lines = vec!["[[rule]]".to_owned()];
    let one = |key: &str, value: Option<&String>| value.map(|v| format!("{key} = {}", string(v)));
    let many = |key: &str, values: &[String]| {
        let values: Vec<_> = values.iter().map(|v| string(v)).collect();
        (!values.is_empty()).then(|| format!("{key} = [{}]", values.join(", ")))
    };
    lines.extend(one("id", Some(&rule.id)));
    lines.extend(one("name", rule.name.as_ref()));
    lines.extend(one("watch", Some(&rule.watch)));
    lines.extend(many("cluster", &rule.cluster));
    lines.extend(many("group", &rule.group));
    lines.extend(many("topic", &rule.topic));
    lines.extend(many("service", &rule.service));
    lines.extend(one("over", rule.over.as_ref()));
    lines.extend(one("for", rule.hold.as_ref()));
    lines.extend(one("within", rule.within.as_ref()));
    lines.extend(one("clear_under", rule.clear_under.as_ref()));
    lines.extend(one("clear_for", rule.clear_for.as_ref()));
    lines.extend(one("severity", rule.severity.as_ref()));
    lines.extend(many("tell", &rule.tell));
    lines.extend(one("runbook", rule.runbook.as_ref()));
    lines.extend(rule.enabled.map(|on| format!("enabled = {on}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_as_a_file_names_only_what_was_said() {
        let rule = RuleSpec {
            id: "time-lag".to_owned(),
            watch: "time_lag".to_owned(),
            over: Some("1m".to_owned()),
            hold: Some("2m".to_owned()),
            group: vec!["shop.*".to_owned(), "!shop.test".to_owned()],
            enabled: Some(false),
            ..RuleSpec::default()
        };
        assert_eq!(
            toml(&rule),
            "[[rule]]\nid = \"time-lag\"\nwatch = \"time_lag\"\ngroup = [\"shop.*\", \"!shop.test\"]\nover = \"1m\"\nfor = \"2m\"\nenabled = false"
        );
    }

    #[test]
    fn no_text_breaks_out_of_its_string() {
        let rule = RuleSpec {
            name: Some("a\"b\\c\n[[channel]]\u{7}".to_owned()),
            ..RuleSpec::default()
        };
        assert!(
            toml(&rule).contains("name = \"a\\\"b\\\\c\\n[[channel]]\\u0007\""),
            "{}",
            toml(&rule)
        );
    }
}
