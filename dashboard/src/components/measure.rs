//! How large an element is on the screen.

use leptos::html::Div;
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;
use leptos::wasm_bindgen::closure::Closure;
use web_sys::{ResizeObserver, ResizeObserverEntry};

/// An observer and the callback that must live as long.
type Observer = (ResizeObserver, Closure<dyn FnMut(js_sys::Array)>);

/// Returns the inner width and height of an element in pixels; 0, 0 until it stands on the page.
///
/// Charts are drawn for their real width, so that their text is never scaled.
pub(crate) fn measure(node: NodeRef<Div>) -> Signal<(f64, f64)> {
    let size = RwSignal::new((0.0, 0.0));
    let held = StoredValue::new_local(None::<Observer>);
    let stop = move || {
        held.try_update_value(|held| {
            if let Some((observer, _)) = held.take() {
                observer.disconnect();
            }
        });
    };
    Effect::new(move || {
        stop();
        let Some(element) = node.get() else { return };
        size.set((
            f64::from(element.client_width()),
            f64::from(element.client_height()),
        ));
        let callback = Closure::<dyn FnMut(js_sys::Array)>::new(move |entries: js_sys::Array| {
            if let Ok(entry) = entries.get(0).dyn_into::<ResizeObserverEntry>() {
                let rect = entry.content_rect();
                let now = (rect.width().round(), rect.height().round());
                if size.try_get_untracked().is_some_and(|before| before != now) {
                    size.try_set(now);
                }
            }
        });
        if let Ok(observer) = ResizeObserver::new(callback.as_ref().unchecked_ref()) {
            observer.observe(&element);
            held.set_value(Some((observer, callback)));
        }
    });
    on_cleanup(stop);
    size.into()
}
