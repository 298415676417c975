//! Short lists whose rows stay in the document while their numbers change.

use leptos::prelude::*;

/// Draws a row for each item, told apart by `key`.
///
/// A row is built once and gets a signal with its item: new numbers change its text, and whoever stands on it with the
/// keyboard keeps the focus. For short lists: each row looks for its item in all of them.
pub(crate) fn keyed<T, V>(
    rows: impl Into<Signal<Vec<T>>>,
    key: fn(&T) -> String,
    view: impl Fn(Memo<T>) -> V + Clone + Send + 'static,
) -> impl IntoView
where
    T: Clone + PartialEq + Send + Sync + 'static,
    V: IntoView + 'static,
{
    let rows = rows.into();
    view! {
        <For
            each=move || rows.get()
            key=move |row| key(row)
            children=move |row: T| {
                let mine = key(&row);
                let item = Memo::new(move |before: Option<&T>| {
                    rows.with(|rows| rows.iter().find(|r| key(r) == mine).cloned())
                        .or_else(|| before.cloned())
                        .unwrap_or_else(|| row.clone())
                });
                view(item)
            }
        />
    }
}
