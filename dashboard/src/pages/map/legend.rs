//! The legend: what shapes, widths and colours mean.

use leptos::prelude::*;

use crate::components::icons::Icon;
use crate::state::settings;

/// Width and height of the open legend with its margin, in the bottom left corner.
pub(super) const EXTENT: (f64, f64) = (312.0, 156.0);

/// The legend. Whether it is folded is the person's choice, and remembered; without one it folds where it would cover nodes.
#[component]
pub(super) fn Legend(
    /// Nodes of the fitted map stand under it.
    covers: Memo<bool>,
) -> impl IntoView {
    let choice = RwSignal::new(settings::read("legend").map(|c| c != "folded"));
    let open = Memo::new(move |_| choice.get().unwrap_or(!covers.get()));
    let toggle = move |_| {
        let next = !open.get_untracked();
        choice.set(Some(next));
        settings::keep("legend", if next { "open" } else { "folded" });
    };
    view! {
        <div class="hud maplegend" class:folded=move || !open.get() role="group" aria-label="Legend">
            <button class="lgh row" aria-expanded=move || open.get().to_string() on:click=toggle>
                "Legend"
                <span class="right">{move || if open.get() { Icon::ChevronDown.draw("i-s") } else { Icon::ChevronUp.draw("i-s") }}</span>
            </button>
            <Show when=move || open.get()>
                <div class="g">
                    <span><svg width="24" height="14"><rect x="1" y="1.5" width="22" height="11" rx="3" fill="var(--n-service-bg)" stroke="var(--n-service)"></rect></svg>"Service"</span>
                    <span><svg width="24" height="14"><path d="M4 1.5H20A3 5.5 0 0 1 20 12.5H4A3 5.5 0 0 1 4 1.5M20 1.5A3 5.5 0 0 0 20 12.5" fill="var(--n-topic-bg)" stroke="var(--n-topic)"></path></svg>"Topic"</span>
                    <span><svg width="24" height="14"><rect x="1" y="1" width="22" height="12" rx="2" fill="var(--n-group-bg)" stroke="var(--n-group)"></rect><path d="M5 3h4v8H5z" fill="var(--bg-0)"></path><path d="M5 7.5h4V11H5z" fill="var(--water)"></path><path d="M3.5 5.4h7" stroke="var(--mark)"></path></svg>"Group, lag, mark"</span>
                    <span><svg width="24" height="14"><path d="M4 1.5H20L23 4.5V9.5L20 12.5H4L1 9.5V4.5Z" fill="var(--n-dlq-bg)" stroke="var(--n-dlq)"></path></svg>"Dead letters"</span>
                    <span><svg width="24" height="14"><rect x="1" y="1.5" width="22" height="11" rx="3" fill="none" stroke="var(--n-ext)" stroke-dasharray="3 2"></rect></svg>"Not instrumented"</span>
                    <span><svg width="24" height="14"><path d="M1 7h22" stroke="var(--line-3)" stroke-width="2" stroke-dasharray="4 4"></path></svg>"From offsets only"</span>
                    <span><svg width="24" height="14"><path d="M1 4h22" stroke="var(--line-3)"></path><path d="M1 10h22" stroke="var(--line-3)" stroke-width="4"></path></svg>"1/s, 1k/s"</span>
                    <span><svg width="24" height="14"><path d="M1 7h22" stroke="var(--crit)" stroke-width="3"></path></svg>"Above the mark"</span>
                    <span><svg width="24" height="14"><path d="M1 7h22" stroke="var(--n-topic)" stroke-width="2"></path></svg>"Retry"</span>
                    <span><svg width="24" height="14"><path d="M1 7h22" stroke="var(--warn)" stroke-width="3"></path></svg>"On the way there"</span>
                </div>
            </Show>
        </div>
    }
}
