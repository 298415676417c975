//! Copying to the clipboard, and saving to a file.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos::wasm_bindgen::{JsCast, JsValue};

use super::icons::Icon;

/// Copies `text`; returns whether the browser let us.
///
/// Browsers give the clipboard only to pages of this machine or over TLS; elsewhere it is `undefined`, and the older way
/// over a selection is taken.
pub(crate) async fn copy_text(text: &str) -> bool {
    let navigator = window().navigator();
    let there = js_sys::Reflect::get(&navigator, &JsValue::from_str("clipboard"))
        .is_ok_and(|clipboard| !clipboard.is_undefined());
    if !there {
        return copy_by_selection(text).unwrap_or(false);
    }
    let promise = navigator.clipboard().write_text(text);
    wasm_bindgen_futures::JsFuture::from(promise).await.is_ok()
}

/// Copies through a text field that is selected and taken away again.
fn copy_by_selection(text: &str) -> Result<bool, JsValue> {
    let body = document().body().ok_or(JsValue::NULL)?;
    let field: web_sys::HtmlTextAreaElement = document().create_element("textarea")?.dyn_into()?;
    field.set_class_name("vh");
    field.set_value(text);
    body.append_child(&field)?;
    field.select();
    let page = document();
    let copy: js_sys::Function =
        js_sys::Reflect::get(&page, &JsValue::from_str("execCommand"))?.dyn_into()?;
    let copied = copy.call1(&page, &JsValue::from_str("copy"));
    field.remove();
    Ok(copied?.is_truthy())
}

/// A button that copies `text` and says that it did.
#[component]
pub(crate) fn CopyButton(
    /// What is copied.
    #[prop(into)]
    text: Signal<String>,
    /// What the button says; only an icon when empty.
    #[prop(optional)]
    label: &'static str,
    /// What is copied, for screen readers: "trace id".
    what: &'static str,
) -> impl IntoView {
    let said = RwSignal::new("");
    let class = if label.is_empty() {
        "btn ghost s icon"
    } else {
        "btn s"
    };
    view! {
        <button class=class title=format!("Copy the {what}") aria-label=format!("Copy the {what}")
            on:click=move |ev| {
                ev.stop_propagation();
                spawn_local(async move {
                    let done = copy_text(&text.get_untracked()).await;
                    said.try_set(if done { "Copied" } else { "Not copied" });
                    set_timeout(move || { said.try_set(""); }, Duration::from_millis(1_200));
                });
            }>
            {move || if said.get() == "Copied" { Icon::Tick.draw("c-ok") } else { Icon::Copy.draw("") }}
            {move || (!label.is_empty()).then(|| if said.get().is_empty() { label } else { said.get() })}
            <span class="vh" role="status">{said}</span>
        </button>
    }
}

/// Saves `text` as a file of the given type.
pub(crate) fn save(name: &str, mime: &str, text: &str) {
    let saved = (|| -> Result<(), JsValue> {
        let options = web_sys::BlobPropertyBag::new();
        options.set_type(mime);
        let parts = js_sys::Array::of1(&JsValue::from_str(text));
        let blob = web_sys::Blob::new_with_str_sequence_and_options(&parts, &options)?;
        let url = web_sys::Url::create_object_url_with_blob(&blob)?;
        let link: web_sys::HtmlAnchorElement = document().create_element("a")?.dyn_into()?;
        link.set_href(&url);
        link.set_download(name);
        link.click();
        web_sys::Url::revoke_object_url(&url)
    })();
    if let Err(error) = saved {
        leptos::logging::warn!("cannot save {name}: {error:?}");
    }
}

/// Writes one line of CSV: fields quoted where they need it.
pub(crate) fn csv_line(fields: &[String]) -> String {
    let quoted: Vec<String> = fields
        .iter()
        .map(|field| {
            // A spreadsheet runs what begins like a formula; a name from outside must not.
            let risky = field.starts_with(['=', '+', '-', '@']) && field.parse::<f64>().is_err();
            let field = if risky {
                format!("'{field}")
            } else {
                field.clone()
            };
            if field.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field
            }
        })
        .collect();
    quoted.join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::csv_line;

    #[test]
    fn csv_quotes_and_disarms_formulas() {
        let line =
            |fields: &[&str]| csv_line(&fields.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>());
        assert_eq!(line(&["a", "b,c", "d\"e", ""]), "a,\"b,c\",\"d\"\"e\",\r\n");
        assert_eq!(
            line(&["=SUM(A1)", "-12", "-12.5", "+x"]),
            "'=SUM(A1),-12,-12.5,'+x\r\n"
        );
    }
}
