//! A rule that has been read and found good, and how those of several sources make one set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::parse;
use crate::selector::{Globs, LONGEST_GLOB, MOST_GLOBS, Selector};
use crate::spec::RuleSpec;
use crate::watch::{About, Unit, Watch};
use crate::words;

/// Rules in a set.
const MOST_RULES: usize = 1_000;
const LONGEST_HOLD: Duration = Duration::from_secs(7 * 86_400);
/// Counts are remembered for a day.
pub(crate) const LONGEST_WITHIN: Duration = Duration::from_secs(86_400);

/// Why a rule is refused. Names rule, key and value.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RuleError {
    /// A value is wrong.
    #[error("rule {rule}: {key} = {value:?}: {why}")]
    Value {
        /// The rule's id.
        rule: String,
        /// The key.
        key: &'static str,
        /// The value, shortened.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value is missing.
    #[error("rule {rule}: {key} is missing: {why}")]
    Missing {
        /// The rule's id.
        rule: String,
        /// The key.
        key: &'static str,
        /// What is expected.
        why: String,
    },
    /// Two rules of one source have the same id.
    #[error("rule {0}: there are two rules with this id; the first counts")]
    Twice(String),
    /// There are too many.
    #[error("rule {0}: there are {MOST_RULES} rules already; this one is left out")]
    TooMany(String),
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look by day.
    Warning,
    /// Worth waking somebody.
    Critical,
}

impl Severity {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Where a rule comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Comes with the program.
    BuiltIn,
    /// The rules' file.
    File,
    /// Made in the dashboard.
    Form,
}

/// A rule.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// Names it.
    pub id: Arc<str>,
    /// What pages call it.
    pub name: Arc<str>,
    /// What it watches.
    pub watch: Watch,
    /// The threshold, in the measure of the watch's unit.
    pub threshold: Option<f64>,
    /// It fires after at least this long: `for`.
    pub hold: Duration,
    /// Clear at this or under, in the measure of the watch's unit; at this or over where less is worse.
    pub clear_under: Option<f64>,
    /// It resolves after having been clear for this long.
    pub clear_for: Duration,
    /// The window of a watch that counts.
    pub within: Option<Duration>,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub selector: Selector,
    /// Channels to tell; none: every channel.
    pub tell: Vec<Arc<str>>,
    /// Where to read what to do.
    pub runbook: Option<Arc<str>>,
    /// Whether it is on.
    pub enabled: bool,
    /// Where it comes from.
    pub origin: Origin,
    spec: RuleSpec,
}

/// Says of which rule and key a value is wrong.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn wrong(&self, key: &'static str, value: &str, why: impl Into<String>) -> RuleError {
        RuleError::Value {
            rule: self.0.chars().take(64).collect(),
            key,
            value: value.chars().take(100).collect(),
            why: why.into(),
        }
    }

    fn number(&self, unit: Unit, key: &'static str, value: &str) -> Result<f64, RuleError> {
        parse::number(unit, value).map_err(|why| self.wrong(key, value, why))
    }

    fn duration(
        &self,
        key: &'static str,
        value: Option<&str>,
        default: Duration,
    ) -> Result<Duration, RuleError> {
        let Some(text) = value else {
            return Ok(default);
        };
        let duration = parse::duration(text).map_err(|why| self.wrong(key, text, why))?;
        if duration > LONGEST_HOLD {
            return Err(self.wrong(key, text, "7 days at most"));
        }
        Ok(duration)
    }

    fn globs(
        &self,
        key: &'static str,
        globs: &[String],
        about: Watch,
        fits: bool,
    ) -> Result<Globs, RuleError> {
        let Some(first) = globs.first() else {
            return Ok(Globs::default());
        };
        if !fits {
            return Err(self.wrong(key, first, format!("{} has no {key}", about.as_str())));
        }
        if globs.len() > MOST_GLOBS {
            return Err(self.wrong(key, first, format!("{MOST_GLOBS} globs at most")));
        }
        for glob in globs {
            if glob.len() > LONGEST_GLOB || glob.trim_start_matches('!').is_empty() {
                let why = format!("a glob has 1 to {LONGEST_GLOB} bytes");
                return Err(self.wrong(key, glob, why));
            }
        }
        Ok(Globs(globs.to_vec()))
    }
}

impl Rule {
    /// Reads a rule as a form posts it: its origin is [`Origin::Form`] until [`Self::with_origin`] says otherwise.
    ///
    /// # Errors
    /// Names rule, key and value: `rule time-lag: over = "abc": not a duration such as 90s or 1m 30s`.
    pub fn from_spec(spec: RuleSpec) -> Result<Self, RuleError> {
        let reader = Reader(&spec.id);
        let good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if spec.id.is_empty() || spec.id.len() > 64 || !spec.id.bytes().all(good) {
            let why = "1 to 64 of a-z, 0-9 and - are needed";
            return Err(reader.wrong("id", &spec.id, why));
        }
        let watch = Watch::from_name(&spec.watch).ok_or_else(|| {
            let known: Vec<&str> = Watch::ALL.iter().map(|watch| watch.as_str()).collect();
            let why = format!("not one of {}", known.join(", "));
            reader.wrong("watch", &spec.watch, why)
        })?;
        let (threshold, clear_under) = thresholds(&reader, &spec, watch)?;
        let hold = reader.duration("for", spec.hold.as_deref(), watch.default_hold())?;
        let clear_for = reader.duration(
            "clear_for",
            spec.clear_for.as_deref(),
            watch.default_clear_for(),
        )?;
        let within = within(&reader, &spec, watch)?;
        let severity = match spec.severity.as_deref() {
            None | Some("warning") => Severity::Warning,
            Some("critical") => Severity::Critical,
            Some(other) => {
                return Err(reader.wrong("severity", other, "neither warning nor critical"));
            }
        };
        let selector = selector(&reader, &spec, watch)?;
        for (key, value, longest) in [
            ("name", spec.name.as_deref(), 200),
            ("runbook", spec.runbook.as_deref(), 2_000),
        ] {
            if let Some(text) = value
                && (text.len() > longest || text.trim().is_empty())
            {
                let why = format!("1 to {longest} bytes are needed");
                return Err(reader.wrong(key, text, why));
            }
        }
        if let Some(runbook) = &spec.runbook
            && !runbook.starts_with("https://")
            && !runbook.starts_with("http://")
        {
            return Err(reader.wrong("runbook", runbook, "not an http or https address"));
        }
        if spec.tell.len() > 64 {
            return Err(reader.wrong("tell", &spec.tell[0], "64 channels at most"));
        }
        if let Some(bad) = spec
            .tell
            .iter()
            .find(|name| name.is_empty() || name.len() > 200)
        {
            return Err(reader.wrong("tell", bad, "a channel's name has 1 to 200 bytes"));
        }
        let name = spec
            .name
            .clone()
            .unwrap_or_else(|| words::rule_name(watch, threshold, hold, within));
        Ok(Self {
            id: spec.id.as_str().into(),
            name: name.into(),
            watch,
            threshold,
            hold,
            clear_under,
            clear_for,
            within,
            severity,
            selector,
            tell: spec.tell.iter().map(|name| name.as_str().into()).collect(),
            runbook: spec.runbook.as_deref().map(Into::into),
            enabled: spec.enabled,
            origin: Origin::Form,
            spec,
        })
    }

    /// As written.
    #[must_use]
    pub const fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    /// The same rule, from elsewhere.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }
}

/// `over` and `clear_under`.
fn thresholds(
    reader: &Reader<'_>,
    spec: &RuleSpec,
    watch: Watch,
) -> Result<(Option<f64>, Option<f64>), RuleError> {
    let Some(unit) = watch.unit() else {
        for (key, value) in [("over", &spec.over), ("clear_under", &spec.clear_under)] {
            if let Some(text) = value {
                let why = format!("{} has no threshold; say how long with for", spec.watch);
                return Err(reader.wrong(key, text, why));
            }
        }
        return Ok((None, None));
    };
    let Some(over_text) = spec.over.as_deref().or(watch.default_over()) else {
        return Err(RuleError::Missing {
            rule: spec.id.clone(),
            key: "over",
            why: format!("{} needs {}", spec.watch, parse::example(unit)),
        });
    };
    let over = reader.number(unit, "over", over_text)?;
    if watch.less_is_worse() && over == 0.0 {
        return Err(reader.wrong("over", over_text, "nothing is under 0"));
    }
    let Some(clear_text) = &spec.clear_under else {
        // A margin is clear again with a quarter to spare.
        let clear = if watch.less_is_worse() {
            over * 1.25
        } else {
            over / 2.0
        };
        return Ok((Some(over), Some(clear)));
    };
    let clear = reader.number(unit, "clear_under", clear_text)?;
    if watch.less_is_worse() && clear < over {
        let why = format!("less than over = {over_text:?}: it would clear while it fires");
        return Err(reader.wrong("clear_under", clear_text, why));
    }
    if !watch.less_is_worse() && clear > over {
        let why = format!("more than over = {over_text:?}: it would clear while it fires");
        return Err(reader.wrong("clear_under", clear_text, why));
    }
    Ok((Some(over), Some(clear)))
}

fn within(
    reader: &Reader<'_>,
    spec: &RuleSpec,
    watch: Watch,
) -> Result<Option<Duration>, RuleError> {
    match (watch.default_within(), spec.within.as_deref()) {
        (None, None) => Ok(None),
        (None, Some(text)) => {
            let why = format!("{} does not count within a window", spec.watch);
            Err(reader.wrong("within", text, why))
        }
        (Some(default), text) => {
            let within = reader.duration("within", text, default)?;
            if within.is_zero() || within > LONGEST_WITHIN {
                let why = "more than 0 and 1 day at most";
                return Err(reader.wrong("within", text.unwrap_or_default(), why));
            }
            Ok(Some(within))
        }
    }
}

fn selector(reader: &Reader<'_>, spec: &RuleSpec, watch: Watch) -> Result<Selector, RuleError> {
    let about = watch.about();
    let has_cluster = !matches!(about, About::Service | About::Collector);
    let has_group = matches!(about, About::Group | About::Queue | About::Edge);
    let has_service = matches!(about, About::Group | About::Edge | About::Service);
    Ok(Selector {
        cluster: reader.globs("cluster", &spec.cluster, watch, has_cluster)?,
        group: reader.globs("group", &spec.group, watch, has_group)?,
        topic: reader.globs("topic", &spec.topic, watch, has_group)?,
        service: reader.globs("service", &spec.service, watch, has_service)?,
    })
}

/// The rules that count, and what was wrong with the others.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RuleSet {
    /// The good ones, by id.
    pub rules: Vec<Rule>,
    /// The bad ones.
    pub errors: Vec<RuleError>,
}

impl RuleSet {
    /// Makes one set: a file's rule replaces a built-in one of its id, a form's replaces both. A bad rule replaces
    /// nothing.
    #[must_use]
    pub fn assemble(builtin: Vec<Rule>, file: Vec<RuleSpec>, form: Vec<RuleSpec>) -> Self {
        let mut errors = Vec::new();
        let mut rules: BTreeMap<Arc<str>, Rule> = BTreeMap::new();
        for rule in builtin {
            rules.insert(Arc::clone(&rule.id), rule);
        }
        for (origin, specs) in [(Origin::File, file), (Origin::Form, form)] {
            let mut seen = BTreeSet::new();
            for spec in specs {
                if !seen.insert(spec.id.clone()) {
                    errors.push(RuleError::Twice(spec.id.chars().take(64).collect()));
                    continue;
                }
                match Rule::from_spec(spec) {
                    Ok(rule) if rules.len() >= MOST_RULES && !rules.contains_key(&rule.id) => {
                        errors.push(RuleError::TooMany(rule.id.to_string()));
                    }
                    Ok(rule) => {
                        rules.insert(Arc::clone(&rule.id), rule.with_origin(origin));
                    }
                    Err(error) => errors.push(error),
                }
            }
        }
        Self {
            rules: rules.into_values().collect(),
            errors,
        }
    }
}
