//! The page under the top bar.

use leptos::prelude::*;

/// What the top bar says about the page: links above it, and its name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Crumbs {
    /// Pages above, with their paths.
    pub(crate) above: Vec<(String, String)>,
    /// Name of the page.
    pub(crate) title: String,
}

/// Where a page says its name; the top bar and the window's title show it.
#[derive(Clone, Copy)]
pub(crate) struct Heading(RwSignal<Crumbs>);

impl Heading {
    /// Makes the heading known below. Called once.
    pub(crate) fn provide() -> Self {
        let heading = Self(RwSignal::new(Crumbs::default()));
        Effect::new(move || {
            let title = heading.0.with(|c| c.title.clone());
            document().set_title(&if title.is_empty() {
                "Highwater".to_owned()
            } else {
                format!("{title} · Highwater")
            });
        });
        provide_context(heading);
        heading
    }

    /// Returns what to show; tracked.
    pub(crate) fn crumbs(self) -> Crumbs {
        self.0.get()
    }
}

/// How a page uses the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Layout {
    /// It scrolls as a whole.
    #[default]
    Scroll,
    /// A workbench: a page bar, and under it what fills the window and scrolls inside.
    Bench,
    /// A workbench without a page bar.
    Fill,
}

/// The page's `main`: its name in the top bar, its page bar, and its content.
#[component]
pub(crate) fn Page(
    /// Name of the page.
    #[prop(into)]
    title: Signal<String>,
    /// Pages above it: name and link.
    #[prop(into, optional)]
    above: Signal<Vec<(String, String)>>,
    /// How it uses the window.
    #[prop(optional)]
    layout: Layout,
    /// Page bar (`<div class="pagebar" role="toolbar" aria-label="...">`), if any, and content.
    children: Children,
) -> impl IntoView {
    let heading = expect_context::<Heading>();
    Effect::new(move || {
        heading.0.set(Crumbs {
            above: above.get(),
            title: title.get(),
        });
    });
    let class = match layout {
        Layout::Scroll => "page",
        Layout::Bench => "page fill",
        Layout::Fill => "page fill1",
    };
    view! { <main class=class id="main" tabindex="-1">{children()}</main> }
}
