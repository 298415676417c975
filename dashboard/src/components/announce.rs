//! Says to screen readers, on every page, what has begun to fire.

use highwater_shared::Level;
use highwater_shared::alerts::AlertSummary;
use leptos::prelude::*;

use crate::app::FiringNow;
use crate::format::plural;
use crate::state::clock::{Second, browser_ms};

/// Two announcements are at least this far apart.
const AT_MOST_EVERY_MS: f64 = 10_000.0;

/// What was said last, and what the person knows.
#[derive(Clone, PartialEq, Debug, Default)]
struct Said {
    /// A first answer came: what fired before the page was opened is no news.
    begun: bool,
    newest: Option<String>,
    at_ms: Option<f64>,
}

/// What is to be said.
#[derive(Clone, PartialEq, Eq, Debug)]
enum News {
    /// At once, over what is being read.
    Critical(String),
    /// When there is a pause.
    Others(String),
}

impl Said {
    /// Returns what is to be said at `now_ms`; nothing while the last announcement is too near.
    fn next(&mut self, summary: &AlertSummary, now_ms: f64) -> Option<News> {
        let known = std::mem::replace(&mut self.begun, true);
        if !known || summary.newest_id.is_none() {
            self.newest.clone_from(&summary.newest_id);
            return None;
        }
        if self.newest == summary.newest_id
            || self.at_ms.is_some_and(|at| now_ms - at < AT_MOST_EVERY_MS)
        {
            return None;
        }
        self.newest.clone_from(&summary.newest_id);
        self.at_ms = Some(now_ms);
        let sentence = summary.newest.clone().unwrap_or_default();
        let all = plural(summary.firing, "alert fires", "alerts fire");
        Some(if summary.level == Level::Critical {
            News::Critical(format!("{sentence} {all}."))
        } else {
            News::Others(format!("{all}. {sentence}"))
        })
    }
}

/// Two live regions: one that interrupts, for what is critical, and one that waits.
#[component]
pub(crate) fn Announcer() -> impl IntoView {
    let summary = expect_context::<FiringNow>();
    let second = Second::get_context();
    let said = StoredValue::new(Said::default());
    let news = RwSignal::new(None::<News>);
    Effect::new(move || {
        // What came too soon after the last announcement is said when its time has come.
        second.now();
        let next = summary.0.data.with(|summary| {
            let summary = summary.as_deref()?;
            said.try_update_value(|said| said.next(summary, browser_ms()))?
        });
        if next.is_some() {
            news.set(next);
        }
    });
    let critical = move || match news.get() {
        Some(News::Critical(text)) => text,
        _ => String::new(),
    };
    let others = move || match news.get() {
        Some(News::Others(text)) => text,
        _ => String::new(),
    };
    view! {
        <div class="vh" role="alert" aria-live="assertive" data-testid="news-critical">{critical}</div>
        <div class="vh" role="status" aria-live="polite">{others}</div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(id: &str, level: Level) -> AlertSummary {
        AlertSummary {
            firing: 2,
            unacknowledged: 2,
            level,
            newest: Some("billing is behind.".to_owned()),
            newest_id: Some(id.to_owned()),
        }
    }

    #[test]
    fn what_fired_before_the_page_was_opened_is_no_news() {
        let mut said = Said::default();
        assert_eq!(said.next(&summary("a", Level::Critical), 0.0), None);
        assert_eq!(said.next(&summary("a", Level::Critical), 60_000.0), None);
    }

    #[test]
    fn a_new_critical_alert_interrupts_and_a_warning_waits() {
        let mut said = Said::default();
        said.next(&summary("a", Level::Critical), 0.0);
        assert_eq!(
            said.next(&summary("b", Level::Critical), 1.0),
            Some(News::Critical(
                "billing is behind. 2 alerts fire.".to_owned()
            ))
        );
        assert!(matches!(
            said.next(&summary("c", Level::Warning), 20_000.0),
            Some(News::Others(_))
        ));
    }

    #[test]
    fn a_burst_is_said_once_in_ten_seconds_and_its_end_is_not_lost() {
        let mut said = Said::default();
        said.next(&summary("a", Level::Critical), 0.0);
        assert!(said.next(&summary("b", Level::Critical), 1_000.0).is_some());
        assert_eq!(said.next(&summary("c", Level::Critical), 2_000.0), None);
        assert_eq!(said.next(&summary("d", Level::Critical), 9_000.0), None);
        assert!(
            said.next(&summary("d", Level::Critical), 11_000.0)
                .is_some()
        );
    }
}
