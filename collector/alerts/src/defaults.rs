//! The rules of a first start: few, quiet on a healthy system, and enough to be woken by.

use crate::rule::{Origin, Rule};
use crate::spec::RuleSpec;

/// What is written of a default rule: id, watch, `over`, `for`, severity.
type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static str,
    &'static str,
);

const RULES: [Row; 16] = [
    ("time-lag", "time_lag", Some("1m"), "2m", "critical"),
    (
        "falling-behind",
        "falling_behind",
        Some("30m"),
        "5m",
        "warning",
    ),
    ("stopped", "stopped", None, "1m", "critical"),
    ("stalled", "stalled", None, "1m", "critical"),
    ("beyond-end", "beyond_end", None, "1m", "critical"),
    ("rewind", "rewind", None, "0s", "warning"),
    ("data-loss", "data_loss", None, "0s", "critical"),
    (
        "retention-margin",
        "retention_margin",
        Some("12h"),
        "1m",
        "critical",
    ),
    (
        "unassigned-partitions",
        "unassigned_partitions",
        None,
        "5m",
        "warning",
    ),
    (
        "rebalance-storm",
        "rebalance_storm",
        Some("5"),
        "0s",
        "warning",
    ),
    (
        "open-transaction",
        "open_transaction",
        Some("15m"),
        "0s",
        "warning",
    ),
    (
        "dead-letters-new",
        "dead_letters_new",
        Some("0"),
        "0s",
        "warning",
    ),
    (
        "dead-letter-cause",
        "dead_letter_cause",
        None,
        "0s",
        "warning",
    ),
    ("no-data", "no_data", None, "5m", "warning"),
    (
        "broker-unreachable",
        "broker_unreachable",
        None,
        "1m",
        "critical",
    ),
    (
        "collector-refuses",
        "collector_refuses",
        Some("0"),
        "0s",
        "critical",
    ),
];

/// The rules that are on at a first start.
#[must_use]
pub fn default_rules() -> Vec<Rule> {
    RULES
        .iter()
        .filter_map(|(id, watch, over, hold, severity)| {
            let spec = RuleSpec {
                over: over.map(str::to_owned),
                hold: Some((*hold).to_owned()),
                severity: Some((*severity).to_owned()),
                ..RuleSpec::new(id, watch)
            };
            // A test shows that each of them reads.
            Rule::from_spec(spec).ok()
        })
        .map(|rule| rule.with_origin(Origin::BuiltIn))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_rule_reads() {
        let ids: Vec<String> = default_rules()
            .iter()
            .map(|rule| rule.id.to_string())
            .collect();
        let written: Vec<&str> = RULES.iter().map(|row| row.0).collect();
        assert_eq!(ids, written);
    }
}
