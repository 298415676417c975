//! Text to copy: a command, a piece of a file.

use leptos::prelude::*;

use super::copy::CopyButton;

/// Draws a snippet with its comments quiet, its `export`s marked, and a button that copies it.
#[component]
pub(crate) fn Snippet(
    /// The text.
    #[prop(into)]
    text: Signal<String>,
    /// What it is, for screen readers.
    what: &'static str,
) -> impl IntoView {
    let lines = move || {
        text.with(|text| {
            text.lines()
                .map(|line| {
                    let trimmed = line.trim_start();
                    if trimmed.starts_with('#') || trimmed.starts_with("//") {
                        return view! { <span class="c">{line.to_owned()}"\n"</span> }.into_any();
                    }
                    if let Some(rest) = line.strip_prefix("export ")
                        && let Some((name, value)) = rest.split_once('=')
                    {
                        return view! { <span class="kk">"export"</span>{format!(" {name}=")}<span class="s">{value.to_owned()}</span>"\n" }.into_any();
                    }
                    view! { {line.to_owned()}"\n" }.into_any()
                })
                .collect_view()
        })
    };
    view! {
        <div class="snip">
            <span class="snipcopy"><CopyButton text=text what=what label="Copy"/></span>
            <pre class="codeblock" tabindex="0" aria-label=what>{lines}</pre>
        </div>
    }
}
