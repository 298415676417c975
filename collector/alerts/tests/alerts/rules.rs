//! How rules are spelt, and what is wrong with bad ones.

use std::time::Duration;

use highwater_alerts::{
    Origin, Rule, RuleFile, RuleSet, RuleSpec, Severity, Unit, Watch, default_rules,
};

use crate::support::{plain, rule};

const FILE: &str = r#"
[[rule]]
id = "time-lag"
watch = "time_lag"
over = "1m"
for = "2m"
clear_under = "30s"
clear_for = "5m"
severity = "critical"
cluster = ["prod-*"]
group = ["shop.*", "!batch-*"]
tell = ["oncall"]
runbook = "https://wiki.shop.example/runbooks/lag"

[[rule]]
id = "dead"
name = "Dead letters"
watch = "dead_letter_rate"
over = "1/min"
enabled = false

[[maintenance]]
name = "backup"
days = ["sat"]
from = "02:00"
to = "04:00"
cluster = ["prod-*"]
"#;

#[test]
fn toml_and_json_of_a_rule_are_equal_and_come_back_as_written() {
    let file: RuleFile = toml::from_str(FILE).unwrap();
    for spec in &file.rule {
        let json = serde_json::to_string(spec).unwrap();
        let back: RuleSpec = serde_json::from_str(&json).unwrap();
        assert_eq!(back, *spec);
        let rule = Rule::from_spec(back).unwrap();
        assert_eq!(rule.spec(), spec);
    }
    let written = toml::to_string(&file).unwrap();
    assert_eq!(toml::from_str::<RuleFile>(&written).unwrap(), file);
    let json = r#"{"id":"dead","name":"Dead letters","watch":"dead_letter_rate","over":"1/min","enabled":false}"#;
    assert_eq!(
        serde_json::from_str::<RuleSpec>(json).unwrap(),
        file.rule[1]
    );
}

#[test]
fn a_rule_is_read_into_its_units() {
    let file: RuleFile = toml::from_str(FILE).unwrap();
    let lag = Rule::from_spec(file.rule[0].clone()).unwrap();
    assert_eq!(
        (lag.threshold, lag.clear_under),
        (Some(60_000.0), Some(30_000.0))
    );
    assert_eq!(
        (lag.hold, lag.clear_for),
        (Duration::from_secs(120), Duration::from_secs(300))
    );
    assert_eq!(
        (lag.severity, lag.origin),
        (Severity::Critical, Origin::Form)
    );
    assert_eq!(plain(&lag.name), "Time lag over 1 m");
    let dead = Rule::from_spec(file.rule[1].clone()).unwrap();
    assert_eq!(
        (&*dead.name, dead.threshold, dead.enabled),
        ("Dead letters", Some(60.0), false)
    );
    assert_eq!(dead.clear_under, Some(30.0));
}

#[test]
fn a_bad_rule_is_named_with_key_and_value() {
    for (text, named) in [
        (
            "watch = 'time_lag'\nover = 'abc'",
            "rule bad: over = \"abc\": not a duration such as 90s or 1m 30s",
        ),
        (
            "watch = 'time_lag'",
            "rule bad: over is missing: time_lag needs a duration such as 90s or 1m 30s",
        ),
        (
            "watch = 'weather'",
            "rule bad: watch = \"weather\": not one of time_lag, ",
        ),
        (
            "watch = 'stopped'\nover = '5'",
            "rule bad: over = \"5\": stopped has no threshold",
        ),
        (
            "watch = 'time_lag'\nover = '1m'\nclear_under = '2m'",
            "rule bad: clear_under = \"2m\": more than over",
        ),
        (
            "watch = 'retention_margin'\nover = '12h'\nclear_under = '1h'",
            "rule bad: clear_under = \"1h\": less than over",
        ),
        (
            "watch = 'time_lag'\nover = '1m'\nwithin = '5m'",
            "rule bad: within = \"5m\": time_lag does not count",
        ),
        (
            "watch = 'rebalance_storm'\nover = '5'\nwithin = '2d'",
            "rule bad: within = \"2d\": more than 0 and 1 day at most",
        ),
        (
            "watch = 'stopped'\nfor = '8d'",
            "rule bad: for = \"8d\": 7 days at most",
        ),
        (
            "watch = 'stopped'\nseverity = 'awful'",
            "rule bad: severity = \"awful\": neither warning nor critical",
        ),
        (
            "watch = 'broker_unreachable'\ngroup = ['x']",
            "rule bad: group = \"x\": broker_unreachable has no group",
        ),
        (
            "watch = 'stopped'\ngroup = ['!']",
            "rule bad: group = \"!\": a glob has",
        ),
        (
            "watch = 'stopped'\nrunbook = 'javascript:alert(1)'",
            "rule bad: runbook = ",
        ),
        (
            "watch = 'edge_errors'\nover = '5'",
            "rule bad: over = \"5\": not a share such as 5%",
        ),
    ] {
        let spec: RuleSpec = toml::from_str(&format!("id = 'bad'\n{text}")).unwrap();
        let error = Rule::from_spec(spec).unwrap_err().to_string();
        assert!(error.starts_with(named), "{error}");
    }
    let error = Rule::from_spec(RuleSpec::new("Ä b", "stopped"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("id = \"Ä b\""), "{error}");
    assert!(toml::from_str::<RuleSpec>("id = 'x'\nwatch = 'stopped'\nholds = '5m'").is_err());
}

#[test]
fn a_form_replaces_a_file_and_a_file_what_is_built_in() {
    let spec = |id: &str, over: &str| RuleSpec {
        over: Some(over.to_owned()),
        ..RuleSpec::new(id, "time_lag")
    };
    let set = RuleSet::assemble(
        default_rules(),
        vec![
            spec("time-lag", "2m"),
            spec("mine", "3m"),
            spec("mine", "4m"),
            spec("stopped", "bad"),
        ],
        vec![spec("mine", "5m")],
    );
    let find = |id: &str| set.rules.iter().find(|rule| &*rule.id == id).unwrap();
    assert_eq!(
        (find("time-lag").threshold, find("time-lag").origin),
        (Some(120_000.0), Origin::File)
    );
    assert_eq!(
        (find("mine").threshold, find("mine").origin),
        (Some(300_000.0), Origin::Form)
    );
    // A bad rule replaces nothing.
    assert_eq!(
        (find("stopped").watch, find("stopped").origin),
        (Watch::Stopped, Origin::BuiltIn)
    );
    assert_eq!(set.rules.len(), default_rules().len() + 1);
    let errors: Vec<String> = set.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 2);
    assert!(
        errors[0].contains("mine") && errors[1].contains("stopped"),
        "{errors:?}"
    );
}

#[test]
fn every_watch_can_be_drawn_in_a_form_and_written_in_a_rule() {
    for watch in Watch::ALL {
        let over = watch.unit().map(|unit| match unit {
            Unit::Duration => "1m",
            Unit::Count => "10k",
            Unit::Rate => "1/min",
            Unit::Percent => "5%",
        });
        let spec = RuleSpec {
            over: over.map(str::to_owned),
            ..RuleSpec::new("x", watch.as_str())
        };
        let rule = Rule::from_spec(spec).unwrap();
        assert!(!rule.name.is_empty() && !watch.label().is_empty());
        assert_eq!(serde_json::to_value(watch).unwrap(), watch.as_str());
        assert_eq!(Watch::from_name(watch.as_str()), Some(watch));
    }
}

#[test]
fn a_rule_covers_what_its_globs_match() {
    let selective = rule(
        "id = 'x'\nwatch = 'time_lag'\nover = '1m'\nfor = '0'\ngroup = ['shop.*', '!shop.batch']\nservice = ['billing-*']",
    );
    let mut world = crate::support::World::new(vec![selective]);
    for name in ["shop.billing", "shop.batch", "billing"] {
        world.group(name, crate::support::behind(200));
    }
    world.step();
    let groups: Vec<_> = world
        .firing()
        .iter()
        .map(|alert| alert.subject.group.clone())
        .collect();
    assert_eq!(groups, [Some("shop.billing".into())]);
    // What consumes as a group is known from spans, and may not be known again right after a start.
    world
        .facts
        .groups
        .iter_mut()
        .for_each(|group| group.services.clear());
    world.run(60);
    assert_eq!(world.firing().len(), 1);
    world
        .facts
        .groups
        .iter_mut()
        .for_each(|group| group.services = vec!["other".into()]);
    let outcome = world.step();
    assert_eq!(outcome.events[0].sentence, "Its rule no longer covers it.");
}
