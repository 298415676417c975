//! Pages of a list after its first: asked for one by one, kept below it.

use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::de::DeserializeOwned;

use crate::api::{ApiError, get};

/// Pages after the first.
pub(crate) struct More<T: Send + Sync + 'static> {
    /// The pages, in order.
    pub(crate) pages: RwSignal<Vec<Arc<T>>>,
    /// A page is on its way.
    pub(crate) pending: RwSignal<bool>,
    /// Why the last one did not come.
    pub(crate) error: RwSignal<Option<ApiError>>,
    /// Rises with every other list: an answer to an older one is dropped.
    list: RwSignal<u64>,
}

impl<T: Send + Sync + 'static> Clone for More<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for More<T> {}

impl<T: DeserializeOwned + Send + Sync + 'static> More<T> {
    /// Begins with no page, and again whenever `list` (the address of the first page) changes.
    pub(crate) fn new(list: impl Fn() -> String + 'static) -> Self {
        let more = Self {
            pages: RwSignal::new(Vec::new()),
            pending: RwSignal::new(false),
            error: RwSignal::new(None),
            list: RwSignal::new(0),
        };
        Effect::new(move |before: Option<String>| {
            let now = list();
            if before.is_some_and(|b| b != now) {
                more.list.update(|n| *n += 1);
                more.pages.set(Vec::new());
                more.error.set(None);
                more.pending.set(false);
            }
            now
        });
        more
    }

    /// Asks for the next page; does nothing while one is on its way.
    pub(crate) fn load(self, url: String) {
        if self.pending.get_untracked() {
            return;
        }
        self.pending.set(true);
        let list = self.list.get_untracked();
        spawn_local(async move {
            let answer = get::<T>(&url, None).await;
            if self.list.try_get_untracked() != Some(list) {
                return;
            }
            self.pending.set(false);
            match answer {
                Ok(Some(page)) => {
                    self.error.set(None);
                    self.pages.update(|pages| pages.push(page));
                }
                Ok(None) => {}
                Err(error) => self.error.set(Some(error)),
            }
        });
    }
}
