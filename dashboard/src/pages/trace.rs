//! A trace: where its time went, span by span, with the waits in brokers apart from work.

pub(super) mod axis;
mod detail;
mod head;
mod hops;
mod minimap;
mod rows;
mod waterfall;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use highwater_shared::traces::Trace as Wire;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::hooks::use_params_map;

use self::axis::Axis;
use self::rows::{INLINE_AT_MOST, Lines, What};
use crate::api::{ApiError, fetch, get};
use crate::components::loading::loaded;
use crate::components::marks::trace_href;
use crate::components::page::{Layout, Page};
use crate::state::keys::on_keys;
use crate::state::query::{Query, segment};

/// The page of one trace.
#[component]
pub(crate) fn Trace() -> impl IntoView {
    let query = Query::get_context();
    let params = use_params_map();
    let id = Memo::new(move |_| params.read().get("trace_id").unwrap_or_default());
    let trace = fetch::<Wire>(&["traces"], move || Some(address(&id.get())));
    let title = Signal::derive(move || {
        trace
            .data
            .with(|t| match t.as_ref().and_then(|t| t.spans.first()) {
                Some(span) => format!("{} {}", span.service, span.name),
                None => "Trace".to_owned(),
            })
    });
    let above = Signal::derive(move || vec![("Traces".to_owned(), query.link("/traces", &[]))]);
    view! {
        <Page title=title above=above layout=Layout::Bench>
            {loaded("trace", trace, skeleton, move |trace| view! { <Body trace=trace/> })}
        </Page>
    }
}

/// Returns where a trace is asked for.
fn address(id: &str) -> String {
    format!("/api/v1/traces/{}", segment(id))
}

/// Rows in the shape of a waterfall.
fn skeleton() -> impl IntoView {
    view! {
        <div class="pagebar"></div>
        <div class="wf-skel" aria-busy="true" aria-label="Loading the trace">
            {(0..18).map(|i| view! {
                <div class="wf-skelrow"><span class=format!("skel wf-skel-a{}", i % 3)></span><span class=format!("skel wf-skel-b{}", i % 5)></span></div>
            }).collect_view()}
        </div>
    }
}

/// What the parts of the page share: the lines, the axis, and what is chosen.
#[derive(Clone, Copy)]
struct View {
    query: Query,
    lines: Memo<Arc<Lines>>,
    /// Indices of the lines that are not folded away.
    visible: Memo<Arc<Vec<usize>>>,
    folded: Memo<BTreeSet<String>>,
    /// The axis of what is shown.
    axis: Memo<Axis>,
    /// The axis of the whole trace.
    whole: Memo<Axis>,
    /// Width of the bars, in pixels.
    width: RwSignal<f64>,
    /// The chosen line.
    selected: Memo<Option<usize>>,
    /// Waits are folded.
    fold_waits: Memo<bool>,
    /// The critical path is drawn.
    critical: Memo<bool>,
    /// Lines that contain the text looked for.
    found: Memo<Arc<Vec<usize>>>,
    /// Linked traces that could not be read.
    failed: RwSignal<BTreeMap<String, ApiError>>,
}

impl View {
    /// Chooses a line, and unfolds what hides it.
    fn select(self, line: usize) {
        let lines = self.lines.get_untracked();
        let key = lines.key(line);
        let mut folded = self.folded.get_untracked();
        for up in lines.ancestors(line) {
            folded.remove(&lines.key(up));
        }
        let fold = joined(&folded);
        self.query
            .change(&[("span", Some(&key)), ("fold", Some(&fold))], true);
    }

    /// Folds or unfolds a line.
    fn fold(self, line: usize, shut: bool) {
        let lines = self.lines.get_untracked();
        let mut folded = self.folded.get_untracked();
        let key = lines.key(line);
        if shut {
            folded.insert(key);
        } else {
            folded.remove(&key);
        }
        self.query.replace("fold", Some(&joined(&folded)));
    }

    /// Shows or hides the spans of a linked trace.
    fn show_inline(self, trace_id: &str, shown: bool) {
        let mut ids = listed(self.query.get("inline"));
        ids.retain(|id| id != trace_id);
        if shown {
            ids.push(trace_id.to_owned());
        }
        self.failed.update(|failed| {
            failed.remove(trace_id);
        });
        self.query.set("inline", Some(&ids.join(",")));
    }

    /// Chooses the line `by` places further down.
    fn step(self, by: isize) {
        let visible = self.visible.get_untracked();
        let at = self
            .selected
            .get_untracked()
            .and_then(|line| visible.binary_search(&line).ok());
        let to = match at {
            Some(at) => at
                .saturating_add_signed(by)
                .min(visible.len().saturating_sub(1)),
            None => 0,
        };
        if let Some(&line) = visible.get(to) {
            self.select(line);
        }
    }

    /// Chooses the next of `among` after (or before) the chosen line, round and round.
    fn next_of(self, among: &[usize], back: bool) {
        let from = self.selected.get_untracked();
        let next = if back {
            among
                .iter()
                .rev()
                .find(|&&i| from.is_some_and(|f| i < f))
                .or(among.last())
        } else {
            among
                .iter()
                .find(|&&i| from.is_none_or(|f| i > f))
                .or(among.first())
        };
        if let Some(&line) = next {
            self.select(line);
        }
    }

    /// Zooms to a range, in nanoseconds from the origin; `None` shows the whole.
    fn zoom(self, range: Option<(u64, u64)>) {
        let text = range.map(|(from, to)| format!("{from},{to}"));
        self.query.replace("zoom", text.as_deref());
    }

    /// Zooms to the chosen span and its wait, with a little room around.
    fn zoom_to_selected(self) {
        let lines = self.lines.get_untracked();
        if let Some(line) = self
            .selected
            .get_untracked()
            .and_then(|i| lines.lines.get(i))
        {
            let from = line.start - line.wait.min(line.start);
            let room = (line.stop() - from) / 20 + 1_000;
            self.zoom(Some((
                from.saturating_sub(room),
                line.stop().saturating_add(room),
            )));
        }
    }

    /// Goes along the first link of the chosen span: within the page if its other side is here.
    fn follow_link(self) {
        let lines = self.lines.get_untracked();
        let Some(at) = self.selected.get_untracked() else {
            return;
        };
        let link = match lines.lines.get(at).map(|l| &l.what) {
            Some(What::Linked(joined)) => Some((joined.trace_id.clone(), joined.span_id.clone())),
            _ => lines.span(at).and_then(|span| {
                let link = span.links.iter().chain(&span.linked_from).next()?;
                Some((link.trace_id.clone(), Some(link.span_id.clone())))
            }),
        };
        if let Some((trace, span)) = link {
            match span.as_deref().and_then(|span| lines.line_of(span)) {
                Some(line) => self.select(line),
                None => self.query.go(
                    &untrack(|| trace_href(self.query, &trace, span.as_deref())),
                    false,
                ),
            }
        }
    }

    /// Turns folding of waits on or off.
    fn toggle_waits(self) {
        let next = self.fold_waits.get_untracked().then_some("full");
        self.query.set("waits", next);
    }

    /// Turns the critical path on or off.
    fn toggle_critical(self) {
        let next = self.critical.get_untracked().then_some("0");
        self.query.set("critical", next);
    }
}

/// Reads a list of ids.
fn listed(text: Option<String>) -> Vec<String> {
    text.unwrap_or_default()
        .split(',')
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Writes a list of ids.
fn joined(ids: &BTreeSet<String>) -> String {
    ids.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// Reads `zoom=from,to`; nonsense is no zoom.
fn zoom_of(text: Option<&str>, length: u64) -> Option<(u64, u64)> {
    let (from, to) = text?.split_once(',')?;
    let (from, to) = (
        from.parse::<u64>().ok()?,
        to.parse::<u64>().ok()?.min(length),
    );
    (from < to).then_some((from, to))
}

/// Builds an axis of the lines.
fn axis_of(lines: &Lines, zoom: Option<(u64, u64)>, fold: bool, width: f64) -> Axis {
    let (from, to) = zoom.unwrap_or((0, lines.length));
    Axis::new(from, to, lines.busy(), fold, width)
}

/// Everything under the top bar, once the trace is there.
#[component]
fn Body(
    /// The trace.
    trace: Signal<Arc<Wire>>,
) -> impl IntoView {
    let query = Query::get_context();
    let inline_ids = Memo::new(move |_| {
        let mut ids = listed(query.get("inline"));
        ids.truncate(INLINE_AT_MOST);
        ids
    });
    let others = RwSignal::new(BTreeMap::<String, Arc<Wire>>::new());
    let failed = RwSignal::new(BTreeMap::<String, ApiError>::new());
    Effect::new(move || {
        for id in inline_ids.get() {
            if others.with_untracked(|o| o.contains_key(&id)) {
                continue;
            }
            spawn_local(async move {
                match get::<Wire>(&address(&id), None).await {
                    Ok(Some(other)) => {
                        others.try_update(|o| o.insert(id, other));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        failed.try_update(|f| f.insert(id, error));
                    }
                }
            });
        }
    });
    let lines = Memo::new_with_compare(
        move |_| {
            let inline: Vec<_> = others.with(|o| {
                inline_ids.with(|ids| ids.iter().filter_map(|id| o.get(id)).cloned().collect())
            });
            Arc::new(Lines::new(&trace.get(), &inline))
        },
        |a: Option<&Arc<Lines>>, b: Option<&Arc<Lines>>| match (a, b) {
            (Some(a), Some(b)) => !Arc::ptr_eq(a, b),
            _ => true,
        },
    );
    let folded = Memo::new(move |_| {
        listed(query.get("fold"))
            .into_iter()
            .collect::<BTreeSet<_>>()
    });
    let visible = Memo::new(move |_| Arc::new(lines.with(|l| folded.with(|f| l.visible(f)))));
    let width = RwSignal::new(760.0);
    let fold_waits = Memo::new(move |_| query.get("waits").as_deref() != Some("full"));
    let zoom = Memo::new(move |_| zoom_of(query.get("zoom").as_deref(), lines.with(|l| l.length)));
    let axis =
        Memo::new(move |_| lines.with(|l| axis_of(l, zoom.get(), fold_waits.get(), width.get())));
    let whole = Memo::new(move |_| lines.with(|l| axis_of(l, None, fold_waits.get(), width.get())));
    let selected = Memo::new(move |_| {
        let span = query.get("span")?;
        lines.with(|l| {
            l.line_of(&span).or_else(|| {
                (0..l.lines.len())
                    .find(|&i| matches!(l.lines[i].what, What::Linked(_)) && l.key(i) == span)
            })
        })
    });
    let found = Memo::new(move |_| {
        Arc::new(
            query
                .get("find")
                .map(|text| lines.with(|l| l.find(&text)))
                .unwrap_or_default(),
        )
    });
    let view = View {
        query,
        lines,
        visible,
        folded,
        axis,
        whole,
        width,
        selected,
        fold_waits,
        critical: Memo::new(move |_| query.get("critical").as_deref() != Some("0")),
        found,
        failed,
    };
    let find_box = NodeRef::<leptos::html::Input>::new();
    on_keys(move |ev| {
        match ev.key().as_str() {
            "ArrowDown" => view.step(1),
            "ArrowUp" => view.step(-1),
            "ArrowLeft" | "ArrowRight" => {
                let Some(at) = view.selected.get_untracked() else {
                    return false;
                };
                view.fold(at, ev.key() == "ArrowLeft");
            }
            "n" => view.next_of(&view.lines.get_untracked().errors, false),
            "N" => view.next_of(&view.lines.get_untracked().errors, true),
            "w" => view.toggle_waits(),
            "l" => view.follow_link(),
            "z" => view.zoom_to_selected(),
            "0" => view.zoom(None),
            "f" => {
                if let Some(input) = find_box.get_untracked() {
                    let _ = input.focus();
                }
            }
            _ => return false,
        }
        true
    });
    view! {
        <head::Tools view=view find_box=find_box/>
        <div class="tracewrap">
            <div class="tracecol">
                <head::Head view=view trace=trace/>
                <hops::HopStrip view=view trace=trace/>
                <minimap::Minimap view=view/>
                <waterfall::Waterfall view=view/>
            </div>
            <detail::Detail view=view/>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::zoom_of;

    #[test]
    fn a_zoom_that_makes_no_sense_shows_the_whole() {
        assert_eq!(zoom_of(Some("5,10"), 100), Some((5, 10)));
        assert_eq!(zoom_of(Some("5,1000"), 100), Some((5, 100)));
        for bad in ["", "5", "10,5", "a,b", "-1,5", "200,300"] {
            assert_eq!(zoom_of(Some(bad), 100), None, "{bad}");
        }
    }
}
