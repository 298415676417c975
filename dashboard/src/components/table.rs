//! Tables that sort, filter, download, answer to the keyboard and never jump.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;

use super::copy::{csv_line, save};
use super::icons::Icon;
use crate::format::count_full;
use crate::state::keys::on_keys;
use crate::state::query::Query;

/// Above this many rows only those in sight are in the document.
const VIRTUAL: usize = 200;
/// Rows drawn above and below those in sight.
const OVERSCAN: usize = 12;

/// What a cell is sorted by.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum SortKey {
    /// A number; first click sorts descending.
    Number(f64),
    /// A text; first click sorts ascending.
    Text(String),
    /// Not known: after all known values, in both directions.
    Unknown,
}

impl SortKey {
    /// Returns the key of a number that may be unknown.
    pub(crate) fn number(value: Option<impl Into<f64>>) -> Self {
        value.map_or(Self::Unknown, |v| Self::Number(v.into()))
    }

    /// Returns the key of a count that may be unknown.
    pub(crate) fn count(value: Option<u64>) -> Self {
        value.map_or(Self::Unknown, |v| Self::Number(v as f64))
    }

    /// Compares in the direction wanted.
    fn compare(&self, other: &Self, descending: bool) -> Ordering {
        let order = match (self, other) {
            (Self::Unknown, Self::Unknown) => return Ordering::Equal,
            (Self::Unknown, _) => return Ordering::Greater,
            (_, Self::Unknown) => return Ordering::Less,
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.to_lowercase().cmp(&b.to_lowercase()),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        };
        if descending { order.reverse() } else { order }
    }
}

type Cell<T> = Arc<dyn Fn(&T) -> AnyView + Send + Sync>;
type Key<T> = Arc<dyn Fn(&T) -> SortKey + Send + Sync>;
type Raw<T> = Arc<dyn Fn(&T) -> String + Send + Sync>;

/// A column.
pub(crate) struct Column<T> {
    id: &'static str,
    title: &'static str,
    tip: &'static str,
    right: bool,
    class: &'static str,
    cell: Cell<T>,
    sort: Option<Key<T>>,
    csv: Option<(&'static str, Raw<T>)>,
}

impl<T> Clone for Column<T> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            title: self.title,
            tip: self.tip,
            right: self.right,
            class: self.class,
            cell: Arc::clone(&self.cell),
            sort: self.sort.clone(),
            csv: self.csv.clone(),
        }
    }
}

impl<T> Column<T> {
    /// A column named `id` in the address, headed `title`, whose cells `cell` draws.
    pub(crate) fn new<V: IntoView + 'static>(
        id: &'static str,
        title: &'static str,
        cell: impl Fn(&T) -> V + Send + Sync + 'static,
    ) -> Self {
        Self {
            id,
            title,
            tip: "",
            right: false,
            class: "",
            cell: Arc::new(move |row| cell(row).into_any()),
            sort: None,
            csv: None,
        }
    }

    /// Aligns to the right, as numbers are.
    pub(crate) fn right(mut self) -> Self {
        self.right = true;
        self
    }

    /// Adds classes to the cells.
    pub(crate) fn class(mut self, class: &'static str) -> Self {
        self.class = class;
        self
    }

    /// Explains the heading.
    pub(crate) fn tip(mut self, tip: &'static str) -> Self {
        self.tip = tip;
        self
    }

    /// Makes it sortable.
    pub(crate) fn sort(mut self, key: impl Fn(&T) -> SortKey + Send + Sync + 'static) -> Self {
        self.sort = Some(Arc::new(key));
        self
    }

    /// Puts it into the CSV: raw, with the unit in `header`, empty for unknown.
    pub(crate) fn csv(
        mut self,
        header: &'static str,
        raw: impl Fn(&T) -> String + Send + Sync + 'static,
    ) -> Self {
        self.csv = Some((header, Arc::new(raw)));
        self
    }
}

/// Reads `-lag,name` into columns and whether descending.
fn parse_sort(text: &str) -> Vec<(String, bool)> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| match part.strip_prefix('-') {
            Some(id) => (id.to_owned(), true),
            None => (part.to_owned(), false),
        })
        .collect()
}

/// Returns the order of the rows' ids after filter and sort.
fn arrange<T>(
    rows: &[T],
    id: impl Fn(&T) -> String,
    text: impl Fn(&T) -> String,
    columns: &[Column<T>],
    sort: &str,
    filter: &str,
) -> Vec<String> {
    let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
    let mut kept: Vec<&T> = rows
        .iter()
        .filter(|row| {
            words.is_empty() || {
                let text = text(row).to_lowercase();
                words.iter().all(|word| text.contains(word))
            }
        })
        .collect();
    let keys: Vec<(Key<T>, bool)> = parse_sort(sort)
        .into_iter()
        .filter_map(|(id, descending)| {
            let column = columns.iter().find(|c| c.id == id)?;
            Some((Arc::clone(column.sort.as_ref()?), descending))
        })
        .collect();
    // Stable: what the sort does not tell apart stays in the API's order, worst first.
    kept.sort_by(|a, b| {
        keys.iter()
            .map(|(key, descending)| key(a).compare(&key(b), *descending))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    kept.into_iter().map(id).collect()
}

/// Keeps the order shown as far as its rows are still there, and puts new rows at the end.
fn held(shown: &[String], wanted: &[String]) -> Vec<String> {
    let there: HashSet<&String> = wanted.iter().collect();
    let before: HashSet<&String> = shown.iter().collect();
    shown
        .iter()
        .filter(|id| there.contains(id))
        .chain(wanted.iter().filter(|id| !before.contains(id)))
        .cloned()
        .collect()
}

/// The filter field of a page bar: `f` in the address and on the keyboard.
#[component]
pub(crate) fn TableFilter(
    /// What the filter looks at: "group or topic".
    placeholder: &'static str,
) -> impl IntoView {
    let query = Query::get_context();
    let input = NodeRef::<leptos::html::Input>::new();
    on_keys(move |ev| {
        if ev.key() != "f" {
            return false;
        }
        if let Some(input) = input.get_untracked() {
            let _ = input.focus();
            input.select();
        }
        true
    });
    view! {
        <label class="query filter">
            {Icon::Filter.draw("i-s")}
            <span class="vh">"Filter"</span>
            <input node_ref=input data-testid="filter" placeholder=placeholder spellcheck="false" maxlength="200"
                prop:value=move || query.get("f").unwrap_or_default()
                on:input=move |ev| query.replace("f", Some(&event_target_value(&ev)))
                on:keydown=move |ev| {
                    if ev.key() == "Escape" {
                        ev.prevent_default();
                        query.replace("f", None);
                        if let Some(input) = input.get_untracked() {
                            let _ = input.blur();
                        }
                    }
                }/>
            <span class="kbd" aria-hidden="true">"f"</span>
        </label>
    }
}

/// A table.
///
/// Rows are told apart by `id`. With `in_url`, sort and filter live in `sort` and `f` of the address; a page has one
/// such table. Live updates change cells in place; the order is held while the pointer is over the rows or one has the
/// focus, and a note offers to update it.
#[component]
pub(crate) fn Table<T>(
    /// What it lists: `groups`; names the file and, for screen readers, the table.
    name: &'static str,
    /// Rows, in the order wanted without a sort.
    #[prop(into)]
    rows: Signal<Vec<T>>,
    /// Identity of a row.
    id: fn(&T) -> String,
    /// Columns.
    columns: Vec<Column<T>>,
    /// What the filter looks at.
    text: fn(&T) -> String,
    /// Sort without one in the address: `-lag`.
    #[prop(optional)]
    sort: &'static str,
    /// Sort and filter live in the address.
    #[prop(optional)]
    in_url: bool,
    /// Opens a row, on click and Enter.
    #[prop(into, optional)]
    open: Option<Callback<T>>,
    /// Identity of the selected row.
    #[prop(into, optional)]
    selected: Signal<Option<String>>,
    /// `data-testid` of a row.
    #[prop(optional)]
    test: &'static str,
    /// Name of the attribute that carries a row's id: `data-group`.
    #[prop(default = "data-id")]
    data: &'static str,
    /// More classes of the table: `two` for two-line rows.
    #[prop(optional)]
    class: &'static str,
    /// It fills its box and scrolls inside.
    #[prop(optional)]
    fill: bool,
    /// Without a foot (count, CSV).
    #[prop(optional)]
    bare: bool,
    /// Shown when there is no row.
    #[prop(into, optional)]
    empty: ViewFn,
) -> impl IntoView
where
    T: Clone + PartialEq + Send + Sync + 'static,
{
    let query = Query::get_context();
    let own_sort = RwSignal::new(sort.to_owned());
    let sort_text = Memo::new(move |_| {
        if in_url {
            query.get("sort").unwrap_or_else(|| sort.to_owned())
        } else {
            own_sort.get()
        }
    });
    let filter_text = Memo::new(move |_| {
        if in_url {
            query.get("f").unwrap_or_default()
        } else {
            String::new()
        }
    });
    let columns = StoredValue::new(columns);

    let by_id = Memo::new(move |_| {
        rows.with(|rows| {
            Arc::new(
                rows.iter()
                    .map(|row| (id(row), row.clone()))
                    .collect::<HashMap<_, _>>(),
            )
        })
    });
    let wanted = Memo::new(move |_| {
        rows.with(|rows| {
            columns.with_value(|columns| {
                arrange(
                    rows,
                    id,
                    text,
                    columns,
                    &sort_text.get(),
                    &filter_text.get(),
                )
            })
        })
    });
    let shown = RwSignal::new(wanted.get_untracked());
    let over = RwSignal::new(false);
    let within = RwSignal::new(false);
    let changed = RwSignal::new(false);
    Effect::new(move |before: Option<(String, String)>| {
        let by = (sort_text.get(), filter_text.get());
        let wanted = wanted.get();
        let hold = before.is_some_and(|b| b == by) && (over.get() || within.get());
        let next = if hold {
            held(&shown.get_untracked(), &wanted)
        } else {
            wanted.clone()
        };
        changed.set(next != wanted);
        if shown.with_untracked(|s| *s != next) {
            shown.set(next);
        }
        by
    });

    // Rows in sight.
    let wrap = NodeRef::<leptos::html::Div>::new();
    let scrolled = RwSignal::new(0.0_f64);
    let height = RwSignal::new(900.0_f64);
    let row_height = RwSignal::new(34.0_f64);
    let many = Memo::new(move |_| shown.with(Vec::len) > VIRTUAL);
    let slice = Memo::new(move |_| {
        let count = shown.with(Vec::len);
        if !many.get() {
            return (0, count);
        }
        let row = row_height.get().max(1.0);
        let first = ((scrolled.get() / row) as usize)
            .saturating_sub(OVERSCAN)
            .min(count);
        let last = (first + (height.get() / row) as usize + 2 * OVERSCAN).min(count);
        (first, last)
    });
    let in_sight = Memo::new(move |_| {
        let (first, last) = slice.get();
        shown.with(|s| s.get(first..last).unwrap_or_default().to_vec())
    });
    let measure = move || {
        if let Some(wrap) = wrap.get_untracked() {
            scrolled.set(f64::from(wrap.scroll_top()));
            height.set(f64::from(wrap.client_height()));
            if let Ok(Some(row)) = wrap.query_selector("tbody tr.dr") {
                let measured = row.get_bounding_client_rect().height();
                if measured > 1.0 && (measured - row_height.get_untracked()).abs() > 0.5 {
                    row_height.set(measured);
                }
            }
        }
    };

    let resort = move |column: &Column<T>| {
        if column.sort.is_none() {
            return;
        }
        let now = parse_sort(&sort_text.get_untracked());
        let descending = match now.first() {
            Some((id, descending)) if id == column.id => !descending,
            // Numbers are looked at from the largest.
            _ => column.right,
        };
        let next = format!("{}{}", if descending { "-" } else { "" }, column.id);
        if in_url {
            query.set("sort", (next != sort).then_some(next.as_str()));
        } else {
            own_sort.set(next);
        }
    };
    let download = move || {
        let by_id = by_id.get_untracked();
        let text = columns.with_value(|columns| {
            let columns: Vec<_> = columns.iter().filter_map(|c| c.csv.as_ref()).collect();
            let head: Vec<String> = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
            let mut text = csv_line(&head);
            for row in wanted.get_untracked().iter().filter_map(|id| by_id.get(id)) {
                text.push_str(&csv_line(
                    &columns.iter().map(|(_, raw)| raw(row)).collect::<Vec<_>>(),
                ));
            }
            text
        });
        save(
            &format!("highwater-{name}.csv"),
            "text/csv;charset=utf-8",
            &text,
        );
    };
    let has_csv = columns.with_value(|columns| columns.iter().any(|c| c.csv.is_some()));
    let span = columns.with_value(Vec::len);

    if in_url {
        on_keys(move |ev| match ev.key().as_str() {
            "x" if has_csv => {
                download();
                true
            }
            key @ ("j" | "k" | "ArrowDown" | "ArrowUp") => {
                let down = matches!(key, "j" | "ArrowDown");
                // Arrows scroll the page until a row has the focus.
                if key.starts_with("Arrow") && !within.get_untracked() {
                    return false;
                }
                wrap.get_untracked()
                    .is_some_and(|wrap| move_focus(&wrap, down))
            }
            _ => false,
        });
    }

    let heads = columns.with_value(|columns| {
        columns
            .iter()
            .map(|column| {
                let column = column.clone();
                let (id, title, tip, right) = (column.id, column.title, column.tip, column.right);
                let direction = Memo::new(move |_| {
                    parse_sort(&sort_text.get())
                        .first()
                        .filter(|(by, _)| by == id)
                        .map(|(_, descending)| *descending)
                });
                let sortable = column.sort.is_some();
                let aria = move || direction.get().map(|d| if d { "descending" } else { "ascending" });
                view! {
                    <th class=if right { "r" } else { "" } aria-sort=aria title=tip scope="col">
                        {if sortable {
                            view! {
                                <button class="thb" on:click=move |_| resort(&column)
                                    on:keydown=move |ev| {
                                        if ev.key() == "s"
                                            && let Some(button) = ev.current_target().and_then(|t| t.dyn_into::<web_sys::HtmlElement>().ok())
                                        {
                                            ev.prevent_default();
                                            ev.stop_propagation();
                                            button.click();
                                        }
                                    }>
                                    {title}
                                    {move || direction.get().map(|d| if d { Icon::ChevronDown.draw("") } else { Icon::ChevronUp.draw("") })}
                                </button>
                            }.into_any()
                        } else {
                            title.into_any()
                        }}
                    </th>
                }
            })
            .collect_view()
    });

    let row_view = move |key: String| {
        let mine = key.clone();
        let row = Memo::new(move |_| by_id.with(|rows| rows.get(&mine).cloned()));
        let node = NodeRef::<leptos::html::Tr>::new();
        let label = key.clone();
        Effect::new(move || {
            if let Some(node) = node.get() {
                let _ = node.set_attribute(data, &label);
            }
        });
        let act = move || {
            if let (Some(open), Some(row)) = (open, row.get_untracked()) {
                open.run(row);
            }
        };
        let cells = columns.with_value(|columns| {
            columns
                .iter()
                .map(|column| {
                    let cell = Arc::clone(&column.cell);
                    let class = match (column.right, column.class) {
                        (true, more) => format!("r {more}"),
                        (false, more) => more.to_owned(),
                    };
                    view! { <td class=class>{move || row.with(|row| row.as_ref().map(|row| cell(row)))}</td> }
                })
                .collect_view()
        });
        view! {
            <tr node_ref=node class="dr" tabindex="0" data-testid=(!test.is_empty()).then_some(test)
                class:link=open.is_some()
                aria-selected=move || (selected.with(|s| s.as_deref() == Some(key.as_str()))).then_some("true")
                on:click=move |ev| if !on_control(&ev) { act() }
                on:keydown=move |ev| if ev.key() == "Enter" && on_row(&ev) { ev.prevent_default(); act() }>
                {cells}
            </tr>
        }
    };

    let wrap_class = move || {
        let mut class = "tblwrap".to_owned();
        if fill {
            class.push_str(" fill");
        } else if many.get() {
            class.push_str(" virt");
        }
        class
    };
    view! {
        <div class=if fill { "tblbox fill" } else { "tblbox" }>
            <div class=wrap_class node_ref=wrap on:scroll=move |_| measure() on:pointerenter=move |_| measure()>
                <table class=format!("tbl {class}") aria-label=name aria-rowcount=move || shown.with(Vec::len)>
                    <thead><tr>{heads}</tr></thead>
                    <tbody on:pointerenter=move |_| over.set(true) on:pointerleave=move |_| over.set(false)
                        on:focusin=move |_| within.set(true) on:focusout=move |_| within.set(false)>
                        {move || (slice.get().0 > 0).then(|| view! {
                            <tr class="spacer" aria-hidden="true"><td colspan=span style:height=format!("{}px", slice.get().0 as f64 * row_height.get())></td></tr>
                        })}
                        <For each=move || in_sight.get() key=Clone::clone children=row_view />
                        {move || {
                            let rest = shown.with(Vec::len) - slice.get().1.min(shown.with(Vec::len));
                            (rest > 0).then(|| view! {
                                <tr class="spacer" aria-hidden="true"><td colspan=span style:height=format!("{}px", rest as f64 * row_height.get())></td></tr>
                            })
                        }}
                    </tbody>
                </table>
                {move || shown.with(Vec::is_empty).then(|| {
                    if filter_text.with(String::is_empty) {
                        empty.run()
                    } else {
                        view! {
                            <div class="blank">
                                <b class="fs14">{format!("No row matches {}", filter_text.get())}</b>
                                <div class="row"><button class="btn" on:click=move |_| query.replace("f", None)>"Clear the filter"</button></div>
                            </div>
                        }.into_any()
                    }
                })}
            </div>
            {(!bare).then(|| view! {
                <div class="tfoot">
                    <span class="num">{move || {
                        let (all, kept) = (by_id.with(|b| b.len()), shown.with(Vec::len));
                        let all = count_full(all as u64);
                        if filter_text.with(String::is_empty) { format!("{all} {name}") } else { format!("{} of {all} {name}", count_full(kept as u64)) }
                    }}</span>
                    {move || changed.get().then(|| view! {
                        <button class="btn s" on:click=move |_| shown.set(wanted.get_untracked())>"Order changed: update"</button>
                    })}
                    {has_csv.then(|| view! {
                        <button class="btn s right" title="Download what is shown as CSV (x)" on:click=move |_| download()>
                            {Icon::Download.draw("")}"CSV"
                        </button>
                    })}
                </div>
            })}
        </div>
    }
}

/// Whether a click fell on a link or button inside the row, which acts by itself.
fn on_control(ev: &leptos::ev::MouseEvent) -> bool {
    ev.target()
        .and_then(|t| t.dyn_into::<web_sys::Element>().ok())
        .is_some_and(|e| {
            e.closest("a, button, input, label")
                .ok()
                .flatten()
                .is_some()
        })
}

/// Whether a key was pressed on the row itself.
fn on_row(ev: &leptos::ev::KeyboardEvent) -> bool {
    ev.target()
        .and_then(|t| t.dyn_into::<web_sys::Element>().ok())
        .is_some_and(|e| e.tag_name().eq_ignore_ascii_case("tr"))
}

/// Moves the focus to the next or previous row; from outside to the first. Returns whether there was one.
fn move_focus(wrap: &web_sys::HtmlDivElement, down: bool) -> bool {
    let row = document()
        .active_element()
        .and_then(|e| e.closest("tr.dr").ok().flatten())
        .filter(|row| wrap.contains(Some(row)));
    let next = match row {
        Some(row) if down => row.next_element_sibling(),
        Some(row) => row.previous_element_sibling(),
        None => wrap.query_selector("tr.dr").ok().flatten(),
    };
    let Some(next) = next.and_then(|e| e.dyn_into::<web_sys::HtmlElement>().ok()) else {
        return false;
    };
    if !next.class_list().contains("dr") {
        return false;
    }
    let _ = next.focus();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (&'static str, Option<u64>);

    fn columns() -> Vec<Column<Row>> {
        vec![
            Column::new("name", "Name", |row: &Row| row.0)
                .sort(|row| SortKey::Text(row.0.to_owned())),
            Column::new("lag", "Lag", |row: &Row| row.1)
                .right()
                .sort(|row| SortKey::count(row.1)),
        ]
    }

    fn order(sort: &str, filter: &str) -> Vec<String> {
        let rows: [Row; 4] = [("b", Some(1)), ("a", None), ("C", Some(9)), ("d", Some(1))];
        arrange(
            &rows,
            |r| r.0.to_owned(),
            |r| r.0.to_owned(),
            &columns(),
            sort,
            filter,
        )
    }

    #[test]
    fn unknown_sorts_last_in_both_directions() {
        assert_eq!(order("-lag", ""), ["C", "b", "d", "a"]);
        assert_eq!(order("lag", ""), ["b", "d", "C", "a"]);
    }

    #[test]
    fn several_sorts_and_unknown_columns() {
        assert_eq!(order("lag,-name", ""), ["d", "b", "C", "a"]);
        assert_eq!(order("nothing", ""), ["b", "a", "C", "d"]);
        assert_eq!(order("name", "c"), ["C"]);
    }

    #[test]
    fn a_held_order_loses_what_went_and_appends_what_came() {
        let ids = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            held(&ids(&["a", "b", "c"]), &ids(&["c", "x", "a"])),
            ids(&["a", "c", "x"])
        );
    }
}
