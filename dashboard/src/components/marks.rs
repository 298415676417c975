//! Marks: states, entities, figures that may be unknown.

use highwater_shared::Level;
use highwater_shared::lag::State;
use leptos::prelude::*;

use super::icons::Icon;
use crate::format::UNKNOWN;
use crate::state::query::{Query, segment};

/// Returns the word for a state.
pub(crate) const fn state_word(state: State) -> &'static str {
    match state {
        State::DataLoss => "Data loss",
        State::Stopped => "Stopped",
        State::Stalled => "Stalled",
        State::BeyondEnd => "Beyond the end",
        State::FallingBehind => "Falling behind",
        State::Rewound => "Rewound",
        State::Unknown => "Unknown",
        State::NoCommit => "No commit yet",
        State::Ok => "OK",
    }
}

/// Returns the icon of a state.
pub(crate) const fn state_icon(state: State) -> Icon {
    match state {
        State::DataLoss => Icon::DataLoss,
        State::Stopped => Icon::Stopped,
        State::Stalled => Icon::Stalled,
        State::BeyondEnd => Icon::Critical,
        State::FallingBehind => Icon::Warning,
        State::Rewound => Icon::Rewound,
        State::Unknown => Icon::Unknown,
        State::NoCommit => Icon::Ring,
        State::Ok => Icon::Ok,
    }
}

/// Returns the colour class of a state: its own where the state itself says how bad it is, else the level's.
pub(crate) const fn state_class(state: State, level: Level) -> &'static str {
    match state {
        State::DataLoss => "c-crit",
        State::Rewound => "c-info",
        State::Unknown | State::NoCommit => "c-unk",
        State::Ok if matches!(level, Level::Ok | Level::Unknown) => "c-ok",
        _ => match level {
            Level::Critical => "c-crit",
            Level::Warning => "c-warn",
            Level::Ok => "c-ok",
            Level::Unknown => "c-unk",
        },
    }
}

/// Draws a state: icon and word; `reason` is its tip.
pub(crate) fn state_mark(state: State, level: Level, reason: &str) -> impl IntoView + use<> {
    let class = if matches!(state, State::Ok | State::NoCommit) {
        "state quiet"
    } else {
        "state"
    };
    view! {
        <span class=class title=reason.to_owned()>
            {state_icon(state).draw(state_class(state, level))}
            {state_word(state)}
        </span>
    }
}

/// Draws a level by its shape and colour, for rows that have no state.
pub(crate) fn level_icon(level: Level) -> impl IntoView + use<> {
    match level {
        Level::Critical => Icon::Critical.draw("c-crit"),
        Level::Warning => Icon::Warning.draw("c-warn"),
        Level::Ok => Icon::Ok.draw("c-ok"),
        Level::Unknown => Icon::Unknown.draw("c-unk"),
    }
}

/// What an entity is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A service.
    Service,
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
    /// A dead-letter topic.
    DeadLetter,
    /// Somebody who sends no spans.
    Unknown,
}

impl Kind {
    /// Returns its icon.
    pub(crate) const fn icon(self) -> Icon {
        match self {
            Self::Service => Icon::Service,
            Self::Topic => Icon::Topic,
            Self::Group => Icon::Group,
            Self::DeadLetter => Icon::DeadLetter,
            Self::Unknown => Icon::Uninstrumented,
        }
    }

    /// Returns its colour class.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Service => "c-service",
            Self::Topic => "c-topic",
            Self::Group => "c-group",
            Self::DeadLetter => "c-dlq",
            Self::Unknown => "c-ext",
        }
    }
}

/// Draws an entity as a link to its page: type icon in the type's hue, and its name.
pub(crate) fn entity(kind: Kind, name: &str, href: String) -> impl IntoView + use<> {
    view! { <a class="ent" href=href>{kind.icon().draw(kind.class())}{name.to_owned()}</a> }
}

/// Draws an entity that has no page of its own here.
pub(crate) fn entity_plain(kind: Kind, name: &str) -> impl IntoView + use<> {
    view! { <span class="ent">{kind.icon().draw(kind.class())}{name.to_owned()}</span> }
}

/// Returns the link to a group's page, with the common parameters; tracked.
pub(crate) fn group_href(query: Query, cluster: &str, group: &str) -> String {
    query.link(
        &format!("/lag/{}/{}", segment(cluster), segment(group)),
        &[],
    )
}

/// Returns the link to a dead-letter topic's page; tracked.
pub(crate) fn dead_letters_href(query: Query, cluster: &str, topic: &str) -> String {
    query.link(
        &format!("/dead-letters/{}/{}", segment(cluster), segment(topic)),
        &[],
    )
}

/// Returns the link to a trace, at a span if one is given; tracked.
pub(crate) fn trace_href(query: Query, trace: &str, span: Option<&str>) -> String {
    let path = format!("/traces/{}", segment(trace));
    match span {
        Some(span) => query.link(&path, &[("span", span)]),
        None => query.link(&path, &[]),
    }
}

/// Returns the link to a thing on the map; tracked.
pub(crate) fn map_href(query: Query, id: &str) -> String {
    query.link("/map", &[("sel", id)])
}

/// Splits a sentence into parts, told apart by whether they are one of `names` as a whole word.
fn parts<'a>(sentence: &'a str, names: &[&str]) -> Vec<(&'a str, bool)> {
    // A name is one when no letter or digit, dot or dash of a longer name stands beside it.
    let inner = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let mut out = Vec::new();
    let mut rest = sentence;
    let mut before = None;
    loop {
        let found = names
            .iter()
            .filter(|n| !n.is_empty())
            .filter_map(|n| {
                rest.match_indices(*n)
                    .find(|(at, _)| {
                        let left = rest[..*at].chars().next_back().or(before);
                        let mut right = rest[at + n.len()..].chars();
                        let (next, after) = (right.next(), right.next());
                        !(left.is_some_and(|c| inner(c) || c == '.')
                            || next.is_some_and(inner)
                            || next == Some('.') && after.is_some_and(inner))
                    })
                    .map(|(at, _)| (at, n.len()))
            })
            .min_by_key(|(at, len)| (*at, usize::MAX - len));
        let Some((at, len)) = found else {
            if !rest.is_empty() {
                out.push((rest, false));
            }
            return out;
        };
        if at > 0 {
            out.push((&rest[..at], false));
        }
        out.push((&rest[at..at + len], true));
        before = rest[..at + len].chars().next_back();
        rest = &rest[at + len..];
    }
}

/// Draws a sentence with the names in it in bold.
pub(crate) fn emphasised(sentence: &str, names: &[&str]) -> impl IntoView + use<> {
    parts(sentence, names)
        .into_iter()
        .map(|(text, bold)| {
            let text = text.to_owned();
            if bold {
                view! { <b>{text}</b> }.into_any()
            } else {
                text.into_any()
            }
        })
        .collect_view()
}

/// Draws what stands for a figure that is not known; `why` is its tip.
pub(crate) fn unknown(why: &str) -> impl IntoView + use<> {
    let why = why.to_owned();
    view! { <span class="unknown" title=why>{UNKNOWN}<span class="vh">{why.clone()}</span></span> }
}

/// Draws a figure, or `—?` with the reason.
pub(crate) fn known(figure: Option<String>, why: &str) -> AnyView {
    match figure {
        Some(figure) => view! { <span>{figure}</span> }.into_any(),
        None => unknown(why).into_any(),
    }
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn names_are_found_as_whole_words() {
        assert_eq!(
            parts("billing is behind on orders.", &["billing", "orders"]),
            [
                ("billing", true),
                (" is behind on ", false),
                ("orders", true),
                (".", false)
            ]
        );
        assert_eq!(
            parts(
                "billing-retry reads orders.billing.dlt",
                &["billing", "orders.billing.dlt", "orders"]
            ),
            [
                ("billing-retry reads ", false),
                ("orders.billing.dlt", true)
            ]
        );
        assert_eq!(parts("", &["a"]), []);
        assert_eq!(parts("ü a", &["a", ""]), [("ü ", false), ("a", true)]);
    }
}
