//! A rule while it is being written: what stands in the form's fields, and the rule it says.

use highwater_shared::alerts::{RuleSpec, Watch};

/// What stands in the fields.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Draft {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) watch: String,
    pub(super) over: String,
    pub(super) hold: String,
    pub(super) clear_under: String,
    pub(super) clear_for: String,
    pub(super) within: String,
    pub(super) severity: String,
    /// Globs with commas between them.
    pub(super) cluster: String,
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) service: String,
    pub(super) tell: Vec<String>,
    pub(super) runbook: String,
    pub(super) enabled: Option<bool>,
}

/// Returns a field's text; `None` when it is empty.
fn text(field: &str) -> Option<String> {
    Some(field.trim().to_owned()).filter(|t| !t.is_empty())
}

/// Reads globs with commas or blanks between them.
fn globs(field: &str) -> Vec<String> {
    field
        .split([',', ' ', '\n', '\t'])
        .filter_map(text)
        .collect()
}

impl Draft {
    /// A new rule on the first thing that can be watched.
    pub(super) fn new(watches: &[Watch]) -> Self {
        Self {
            watch: watches.first().map(|w| w.id.clone()).unwrap_or_default(),
            severity: "warning".to_owned(),
            ..Self::default()
        }
    }

    /// What a rule says.
    pub(super) fn of(spec: &RuleSpec) -> Self {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            id: spec.id.clone(),
            name: of(&spec.name),
            watch: spec.watch.clone(),
            over: of(&spec.over),
            hold: of(&spec.hold),
            clear_under: of(&spec.clear_under),
            clear_for: of(&spec.clear_for),
            within: of(&spec.within),
            severity: of(&spec.severity),
            cluster: spec.cluster.join(", "),
            group: spec.group.join(", "),
            topic: spec.topic.join(", "),
            service: spec.service.join(", "),
            tell: spec.tell.clone(),
            runbook: of(&spec.runbook),
            enabled: spec.enabled,
        }
    }

    /// Returns the rule it says; what is of no meaning to `watch` is left out.
    pub(super) fn spec(&self, watch: Option<&Watch>) -> RuleSpec {
        let counts = watch.is_none_or(|w| w.unit.is_some());
        RuleSpec {
            id: text(&self.id).unwrap_or_else(|| self.suggested_id(watch)),
            name: text(&self.name),
            watch: self.watch.clone(),
            over: text(&self.over).filter(|_| counts),
            hold: text(&self.hold),
            clear_under: text(&self.clear_under).filter(|_| counts),
            clear_for: text(&self.clear_for),
            within: text(&self.within),
            severity: text(&self.severity),
            cluster: globs(&self.cluster),
            group: globs(&self.group),
            topic: globs(&self.topic),
            service: globs(&self.service),
            tell: self.tell.clone(),
            runbook: text(&self.runbook),
            enabled: self.enabled,
        }
    }

    /// Returns a name where none was typed: `Time lag over 1m`.
    pub(super) fn suggested_name(&self, watch: Option<&Watch>) -> String {
        let label = watch.map_or(self.watch.as_str(), |w| w.label.as_str());
        let mut letters = label.chars();
        let label: String = letters
            .next()
            .into_iter()
            .flat_map(char::to_uppercase)
            .chain(letters)
            .collect();
        let side = match watch {
            Some(w) if w.less_is_worse => "under",
            _ => "over",
        };
        match text(&self.over) {
            Some(over) if watch.is_none_or(|w| w.unit.is_some()) => {
                format!("{label} {side} {over}")
            }
            _ => match text(&self.hold) {
                Some(hold) => format!("{label} for {hold}"),
                None => label,
            },
        }
    }

    /// Returns an id where none was typed, made of the name: `time-lag-over-1m`.
    pub(super) fn suggested_id(&self, watch: Option<&Watch>) -> String {
        let name = text(&self.name).unwrap_or_else(|| self.suggested_name(watch));
        let name = match text(&self.group).or_else(|| text(&self.topic)) {
            Some(of) => format!("{name} {of}"),
            None => name,
        };
        let mut id = String::new();
        for c in name.chars().take(120) {
            if c.is_ascii_alphanumeric() {
                id.push(c.to_ascii_lowercase());
            } else if !id.is_empty() && !id.ends_with('-') {
                id.push('-');
            }
        }
        id.truncate(60);
        id.trim_end_matches('-').to_owned()
    }
}

/// Returns `id`, with a number after it where another rule has that id: a new rule must not take another's place unsaid.
pub(super) fn free_id(id: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(id) {
        return id.to_owned();
    }
    (2..1_000)
        .map(|n| format!("{id}-{n}"))
        .find(|id| !taken(id))
        .unwrap_or_else(|| id.to_owned())
}

/// The keys of a rule, as its file writes them.
const KEYS: [&str; 15] = [
    "id",
    "name",
    "watch",
    "over",
    "for",
    "clear_under",
    "clear_for",
    "within",
    "severity",
    "cluster",
    "group",
    "topic",
    "service",
    "tell",
    "runbook",
];

/// Finds the key that the collector's refusal names: in quotes, or as its first word.
pub(super) fn named_key(refusal: &str) -> Option<&'static str> {
    let known = |word: &str| {
        let word = word.rsplit('.').next().unwrap_or(word);
        KEYS.into_iter().find(|key| *key == word)
    };
    let quoted = refusal
        .split(['`', '"', '\'', '“', '”'])
        .skip(1)
        .step_by(2)
        .find_map(known);
    quoted.or_else(|| {
        refusal
            .split(|c: char| c.is_whitespace() || c == ':' || c == ',')
            .find(|word| !word.is_empty())
            .and_then(known)
    })
}

/// Returns what a threshold looks like, for an empty field.
pub(super) const fn example(unit: &str) -> &'static str {
    match unit.as_bytes() {
        b"duration" => "1m",
        b"count" => "10k",
        b"rate" => "1/min",
        b"percent" => "5%",
        _ => "",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn watch(unit: Option<&str>) -> Watch {
        Watch {
            id: "time_lag".to_owned(),
            label: "time lag".to_owned(),
            unit: unit.map(str::to_owned),
            of: "group".to_owned(),
            less_is_worse: false,
            can_be_tried: true,
            help: String::new(),
        }
    }

    #[test]
    fn a_rule_survives_the_form() {
        let spec = RuleSpec {
            id: "time-lag".to_owned(),
            name: Some("Time lag".to_owned()),
            watch: "time_lag".to_owned(),
            over: Some("1m".to_owned()),
            hold: Some("2m".to_owned()),
            clear_under: Some("30s".to_owned()),
            clear_for: Some("5m".to_owned()),
            within: None,
            severity: Some("critical".to_owned()),
            cluster: vec!["prod-*".to_owned()],
            group: vec!["shop.*".to_owned(), "!shop.test".to_owned()],
            topic: Vec::new(),
            service: Vec::new(),
            tell: vec!["#oncall".to_owned()],
            runbook: Some("https://wiki.example/lag".to_owned()),
            enabled: Some(false),
        };
        let draft = Draft::of(&spec);
        assert_eq!(draft.group, "shop.*, !shop.test");
        assert_eq!(draft.spec(Some(&watch(Some("duration")))), spec);
    }

    #[test]
    fn what_is_not_typed_is_not_sent() {
        let draft = Draft {
            watch: "time_lag".to_owned(),
            over: " 1m ".to_owned(),
            hold: "2m".to_owned(),
            group: " , ".to_owned(),
            ..Draft::default()
        };
        let spec = draft.spec(Some(&watch(Some("duration"))));
        assert_eq!(spec.over.as_deref(), Some("1m"));
        assert_eq!((spec.name, spec.severity, spec.runbook), (None, None, None));
        assert!(spec.group.is_empty());
        assert_eq!(spec.id, "time-lag-over-1m");
        // A watch without a threshold has none, whatever was typed for the one before.
        assert_eq!(draft.spec(Some(&watch(None))).over, None);
        assert_eq!(draft.spec(Some(&watch(None))).id, "time-lag-for-2m");
    }

    #[test]
    fn an_id_holds_letters_digits_and_dashes_only() {
        let mut draft = Draft {
            name: "Ünïcode & lag: <b>1 m</b>!".to_owned(),
            ..Draft::default()
        };
        assert_eq!(draft.suggested_id(None), "n-code-lag-b-1-m-b");
        draft.name = "x ".repeat(500);
        assert!(draft.suggested_id(None).len() <= 60);
    }

    #[test]
    fn a_new_rule_takes_nobodys_place() {
        let taken = |id: &str| ["time-lag", "time-lag-2"].contains(&id);
        assert_eq!(free_id("time-lag", taken), "time-lag-3");
        assert_eq!(free_id("stalled", taken), "stalled");
    }

    #[test]
    fn a_refusal_points_at_its_field() {
        assert_eq!(
            named_key("for must be at least 15 s, the poll interval"),
            Some("for")
        );
        assert_eq!(
            named_key("rule x: `clear_under` is not under `over`"),
            Some("clear_under")
        );
        assert_eq!(
            named_key("rule.over: \"lots\" is no duration"),
            Some("over")
        );
        assert_eq!(named_key("The store did not answer for 5 s."), None);
        assert_eq!(named_key(""), None);
    }
}
