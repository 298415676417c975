//! The time range and the environment: the two filters all pages share.

use highwater_shared::Instant;
use leptos::prelude::*;

use super::icons::Icon;
use super::menu::Menu;
use crate::app::CollectorStatus;
use crate::format::clock_short;
use crate::state::clock::{self, Second};
use crate::state::keys::on_keys;
use crate::state::query::{DEFAULT_FROM, Query};
use crate::state::settings::Settings;
use crate::state::zone::{self, Zone};

/// Ranges offered: what `from` says, and how it reads.
const PRESETS: [(&str, &str); 6] = [
    ("now-5m", "Last 5\u{a0}m"),
    ("now-15m", "Last 15\u{a0}m"),
    ("now-1h", "Last 1\u{a0}h"),
    ("now-6h", "Last 6\u{a0}h"),
    ("now-24h", "Last 24\u{a0}h"),
    ("now-7d", "Last 7\u{a0}d"),
];

/// Reads `now`, `now-90m` or an instant.
pub(crate) fn moment(text: &str, now: Instant) -> Option<Instant> {
    let Some(rest) = text.strip_prefix("now") else {
        return Instant::parse(text);
    };
    if rest.is_empty() {
        return Some(now);
    }
    let rest = rest.strip_prefix('-')?;
    let unit = rest.chars().last()?;
    let number: u64 = rest[..rest.len() - unit.len_utf8()].parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let back = number.checked_mul(seconds)?.checked_mul(1_000_000_000)?;
    now.0.checked_sub(back).map(Instant)
}

/// Returns the page's range as instants, by the collector's clock; tracked.
pub(crate) fn range(query: Query, now: Instant) -> (Instant, Instant) {
    let to = query
        .get("to")
        .and_then(|to| moment(&to, now))
        .unwrap_or(now);
    let hour = Instant(now.0.saturating_sub(3_600_000_000_000));
    let from = query
        .get("from")
        .and_then(|from| moment(&from, now))
        .unwrap_or(hour);
    (from, to)
}

/// Returns the name of the page's range: "last 1 h", or "03:00 to 04:00"; tracked.
pub(crate) fn range_name(query: Query) -> String {
    let from = query.get("from").unwrap_or_else(|| DEFAULT_FROM.to_owned());
    let now = clock::now();
    if query.get("to").is_none_or(|to| to == "now")
        && let Some((_, name)) = PRESETS.iter().find(|(value, _)| *value == from)
    {
        return name.replacen('L', "l", 1);
    }
    let (from, to) = range(query, now);
    format!("{} to {}", clock_short(from, now), clock_short(to, now))
}

/// The time range control.
#[component]
pub(crate) fn TimeRange() -> impl IntoView {
    let query = Query::get_context();
    let second = Second::get_context();
    let settings = Settings::get_context();
    let open = RwSignal::new(false);
    on_keys(move |ev| {
        if ev.key() == "t" {
            open.set(true);
            return true;
        }
        false
    });
    let preset = Memo::new(move |_| {
        let from = query.get("from").unwrap_or_else(|| DEFAULT_FROM.to_owned());
        if query.get("to").is_some_and(|to| to != "now") {
            return None;
        }
        PRESETS.iter().find(|(value, _)| *value == from).copied()
    });
    let absolute = Memo::new(move |_| {
        let now = second.now();
        let (from, to) = range(query, now);
        let zone = zone::current().name();
        format!("{}–{} {zone}", clock_short(from, now), clock_short(to, now))
    });
    let wrong = RwSignal::new("");
    let from_ref = NodeRef::<leptos::html::Input>::new();
    let to_ref = NodeRef::<leptos::html::Input>::new();
    let choose = move |from: &str| {
        let from = (from != DEFAULT_FROM).then_some(from);
        query.change(&[("from", from), ("to", None), ("live", None)], false);
        open.set(false);
    };
    let apply = move || {
        let read = |field: NodeRef<leptos::html::Input>| {
            let text = field.get_untracked().map(|f| f.value()).unwrap_or_default();
            let text = text.trim().to_owned();
            if text.starts_with("now") || text.ends_with(['Z', 'z']) {
                return moment(&text, clock::now()).map(|at| (text, at));
            }
            // A zone may be left out: it is that of the page.
            let at = zone::at(Instant::parse(&format!("{text}Z"))?);
            Some((at.to_string(), at))
        };
        match (read(from_ref), read(to_ref)) {
            (Some((from, a)), Some((to, b))) if a < b => {
                query.change(
                    &[
                        ("from", Some(&from)),
                        ("to", (to != "now").then_some(to.as_str())),
                        ("live", None),
                    ],
                    false,
                );
                wrong.set("");
                open.set(false);
            }
            (Some(_), Some(_)) => wrong.set("The end must be after the start."),
            _ => wrong.set("Write a moment like 2026-03-17 03:12:00, or now-90m."),
        }
    };
    let moments = move || {
        let now = clock::now();
        let (from, to) = range(query, now);
        let text = |at: Instant| {
            zone::shown(at)
                .to_string()
                .get(..19)
                .unwrap_or_default()
                .replace('T', " ")
        };
        (text(from), text(to))
    };
    view! {
        <Menu open=open class="ctl rng" tip="Time range (t)" popup="dialog"
            button=ViewFn::from(move || view! {
                {Icon::Clock.draw("")}
                <span data-testid="range-name">{move || preset.get().map_or("Custom", |(_, name)| name)}</span>
                <span class="t3 num hide-m">{absolute}</span>
            })
            children=ViewFn::from(move || {
                let zone = zone::current().name();
                view! {
                <div class="rangepop" role="dialog" aria-label="Time range">
                    <div class="rangelist">
                        {PRESETS.iter().map(|&(value, name)| view! {
                            <button class="mi" aria-pressed=move || (preset.get().is_some_and(|p| p.0 == value)).to_string()
                                on:click=move |_| choose(value)>{name}</button>
                        }).collect_view()}
                    </div>
                    <form class="rangeform" on:submit=move |ev| { ev.prevent_default(); apply(); }>
                        <label class="field"><span class="lbl">{format!("From ({zone})")}</span>
                            <input class="input mono" node_ref=from_ref prop:value=moments().0 spellcheck="false"/></label>
                        <label class="field"><span class="lbl">{format!("To ({zone})")}</span>
                            <input class="input mono" node_ref=to_ref prop:value=moments().1 spellcheck="false"/></label>
                        <p class="fs11 c-crit" role="alert">{wrong}</p>
                        <button class="btn primary s" type="submit">"Show this range"</button>
                        <div class="seg zoneseg" role="group" aria-label="Clocks are in" title="Clocks on all pages are in this zone">
                            {[("utc", "UTC"), ("local", "Local time")].map(|(value, word)| view! {
                                <button type="button" aria-pressed=(zone::current() == Zone::read(value)).to_string()
                                    on:click=move |_| {
                                        settings.choose_zone(value);
                                        query.set("tz", None);
                                    }>{word}</button>
                            })}
                        </div>
                    </form>
                </div>
            }}) />
    }
}

/// The environment and cluster control.
#[component]
pub(crate) fn Environment() -> impl IntoView {
    let query = Query::get_context();
    let status = expect_context::<CollectorStatus>();
    let open = RwSignal::new(false);
    on_keys(move |ev| {
        if ev.key() == "c" {
            open.set(true);
            return true;
        }
        false
    });
    let environments = Memo::new(move |_| status.with(|s| s.environments.clone()));
    let clusters = Memo::new(move |_| status.with(|s| s.clusters.clone()));
    let current = Memo::new(move |_| {
        query
            .get("env")
            .or_else(|| environments.with(|e| e.as_ref()?.first().cloned()))
    });
    let chosen = Memo::new(move |_| -> Vec<String> {
        query
            .get("cluster")
            .map(|c| c.split(',').map(str::to_owned).collect())
            .unwrap_or_default()
    });
    let toggle = move |name: &str| {
        let mut set = chosen.get_untracked();
        // None named means all of them: the first press takes one away.
        if set.is_empty() {
            set = clusters.get_untracked().unwrap_or_default();
        }
        if set.iter().any(|c| c == name) {
            set.retain(|c| c != name);
        } else {
            set.push(name.to_owned());
        }
        set.sort();
        let all = clusters.get_untracked().map_or(0, |c| c.len());
        let value = set.join(",");
        query.set(
            "cluster",
            (!set.is_empty() && set.len() < all).then_some(&value),
        );
    };
    view! {
        <Menu open=open class="ctl env" tip="Environment and cluster (c)" popup="dialog"
            button=ViewFn::from(move || view! {
                {Icon::Cluster.draw("")}
                <span>{move || current.get().unwrap_or_else(|| "All".to_owned())}</span>
                <span class="t3 hide-m">{move || {
                    let chosen = chosen.get();
                    match chosen.as_slice() {
                        [] => "all clusters".to_owned(),
                        [one] => one.clone(),
                        many => format!("{} clusters", many.len()),
                    }
                }}</span>
            })
            children=ViewFn::from(move || view! {
                <div role="dialog" aria-label="Environment and cluster">
                    <div class="sg">"Environment"</div>
                    {move || environments.get().unwrap_or_default().into_iter().map(|name| {
                        let shown = name.clone();
                        let mine = name.clone();
                        view! {
                            <button class="mi" aria-pressed=move || (current.get().as_ref() == Some(&mine)).to_string()
                                on:click=move |_| { query.set("env", Some(&name)); open.set(false); }>{shown}</button>
                        }
                    }).collect_view()}
                    {move || environments.with(|e| e.as_ref().is_none_or(Vec::is_empty)).then(|| view! {
                        <p class="mnote">"No environment has been seen yet."</p>
                    })}
                    <div class="sg">"Clusters"</div>
                    {move || clusters.get().unwrap_or_default().into_iter().map(|name| {
                        let shown = name.clone();
                        let mine = name.clone();
                        view! {
                            <label class="mi check">
                                <input type="checkbox" prop:checked=move || chosen.with(|c| c.is_empty() || c.contains(&mine))
                                    on:change=move |_| toggle(&name)/>{shown}
                            </label>
                        }
                    }).collect_view()}
                    {move || clusters.with(|c| c.as_ref().is_none_or(Vec::is_empty)).then(|| view! {
                        <p class="mnote">"No cluster is configured: start Highwater with --kafka."</p>
                    })}
                </div>
            }) />
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_relative_or_absolute() {
        let now = Instant(7_200_000_000_000);
        assert_eq!(moment("now", now), Some(now));
        assert_eq!(moment("now-90m", now), Some(Instant(1_800_000_000_000)));
        assert_eq!(
            moment("1970-01-01T01:00:00Z", now),
            Some(Instant(3_600_000_000_000))
        );
        for bad in [
            "",
            "now-",
            "now-5x",
            "now+1h",
            "now-9999999999999999999d",
            "now-3h",
            "yesterday",
            "now-1ü",
        ] {
            assert_eq!(moment(bad, now), None, "{bad}");
        }
    }
}
