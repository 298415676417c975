//! Asking the collector: typed, cached by `ETag`, aborted when nobody waits any more.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gloo_net::http::{Method, Request, RequestBuilder, Response};
use highwater_shared::problem::Problem;
use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::Serialize;
use serde::de::DeserializeOwned;
use web_sys::AbortController;

use crate::state::clock::browser_ms;
use crate::state::live::Live;

/// Answers kept to be asked for again by their `ETag`.
const CACHED: usize = 64;
/// Two fetches of one thing are at least this far apart.
const AT_MOST_EVERY_MS: f64 = 1_000.0;
/// A live page fetches again after this long even when no change was announced: rates move with the clock.
const AT_LEAST_EVERY_MS: f64 = 15_000.0;

/// Why an answer is missing.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum ApiError {
    /// The collector does not answer.
    Unreachable,
    /// It answered that something is wrong, and what.
    Problem(Problem),
    /// It answered what this dashboard does not understand: the page is older or newer than the collector.
    Unreadable(String),
}

impl ApiError {
    /// Returns what failed, in a sentence.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Unreachable => {
                "The collector does not answer. What is shown stays until it does.".to_owned()
            }
            Self::Problem(problem) if problem.detail.is_empty() => {
                format!("{} ({}).", problem.title, problem.status)
            }
            Self::Problem(problem) => problem.detail.clone(),
            Self::Unreadable(why) => {
                format!(
                    "The answer cannot be read: {why}. Reload the page if the collector was updated."
                )
            }
        }
    }

    /// Returns whether the thing asked for does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.status == 404)
    }
}

/// An answer kept with its `ETag`.
struct Cached {
    etag: String,
    value: Arc<dyn Any + Send + Sync>,
    used: f64,
}

thread_local! {
    static CACHE: RefCell<HashMap<String, Cached>> = RefCell::new(HashMap::new());
}

/// Finds a kept answer.
fn cached<T: Send + Sync + 'static>(url: &str) -> Option<(String, Arc<T>)> {
    CACHE.with_borrow_mut(|cache| {
        let entry = cache.get_mut(url)?;
        entry.used = browser_ms();
        let value = Arc::clone(&entry.value).downcast::<T>().ok()?;
        Some((entry.etag.clone(), value))
    })
}

/// Keeps an answer; the one unused for longest goes.
fn keep<T: Send + Sync + 'static>(url: &str, etag: String, value: &Arc<T>) {
    CACHE.with_borrow_mut(|cache| {
        if cache.len() >= CACHED && !cache.contains_key(url) {
            let oldest = cache
                .iter()
                .min_by(|a, b| a.1.used.total_cmp(&b.1.used))
                .map(|(url, _)| url.clone());
            if let Some(oldest) = oldest {
                cache.remove(&oldest);
            }
        }
        let value: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(value);
        let used = browser_ms();
        cache.insert(url.to_owned(), Cached { etag, value, used });
    });
}

/// Asks once. `Ok(None)` when aborted.
///
/// # Errors
///
/// [`ApiError`]; an answer that says "not changed" is the kept one.
pub(crate) async fn get<T>(
    url: &str,
    abort: Option<&AbortController>,
) -> Result<Option<Arc<T>>, ApiError>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    let signal = abort.map(AbortController::signal);
    let kept = cached::<T>(url);
    let mut request = Request::get(url)
        .header("accept", "application/json")
        .abort_signal(signal.as_ref());
    if let Some((etag, _)) = &kept {
        request = request.header("if-none-match", etag);
    }
    let aborted = || signal.as_ref().is_some_and(web_sys::AbortSignal::aborted);
    let response = match request.send().await {
        Ok(response) => response,
        Err(_) if aborted() => return Ok(None),
        Err(_) => return Err(ApiError::Unreachable),
    };
    if response.status() == 304
        && let Some((_, value)) = kept
    {
        return Ok(Some(value));
    }
    let etag = response.headers().get("etag");
    let status = response.status();
    let title = response.status_text();
    let body = match response.text().await {
        Ok(body) => body,
        Err(_) if aborted() => return Ok(None),
        Err(_) => return Err(ApiError::Unreachable),
    };
    if status == 401 {
        // The collector answers a page that is asked for without its token with the form to sign in.
        let _ = window().location().reload();
        return Ok(None);
    }
    if !(200..300).contains(&status) {
        return Err(refusal(status, title, &body));
    }
    let value: T = serde_json::from_str(&body).map_err(|e| ApiError::Unreadable(e.to_string()))?;
    let value = Arc::new(value);
    if let Some(etag) = etag {
        keep(url, etag, &value);
    }
    Ok(Some(value))
}

/// Reads why the collector refused.
fn refusal(status: u16, title: String, body: &str) -> ApiError {
    ApiError::Problem(serde_json::from_str(body).unwrap_or(Problem {
        kind: "about:blank".to_owned(),
        title: if title.is_empty() {
            "The collector refused".to_owned()
        } else {
            title
        },
        status,
        detail: String::new(),
    }))
}

/// Sends `body` as JSON and reads the answer. `Ok(None)` where the page is on its way to the form to sign in.
///
/// # Errors
///
/// [`ApiError`]; the act may have been done when the collector could not be reached half-way.
pub(crate) async fn send<T: DeserializeOwned>(
    method: Method,
    url: &str,
    body: &impl Serialize,
) -> Result<Option<T>, ApiError> {
    let request = RequestBuilder::new(url)
        .method(method)
        .header("accept", "application/json")
        .json(body)
        .map_err(|e| ApiError::Unreadable(e.to_string()))?;
    let response = request.send().await.map_err(|_| ApiError::Unreachable)?;
    answer(response).await
}

/// Deletes what stands at `url`.
///
/// # Errors
///
/// As [`send`].
pub(crate) async fn delete(url: &str) -> Result<Option<Done>, ApiError> {
    let response = Request::delete(url)
        .header("accept", "application/json")
        .send()
        .await
        .map_err(|_| ApiError::Unreachable)?;
    answer(response).await
}

/// An answer of which only counts that it came: its body, if any, is not looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done;

impl<'de> serde::Deserialize<'de> for Done {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(from).map(|_| Self)
    }
}

/// Reads the answer to an act.
async fn answer<T: DeserializeOwned>(response: Response) -> Result<Option<T>, ApiError> {
    let (status, title) = (response.status(), response.status_text());
    let body = response.text().await.map_err(|_| ApiError::Unreachable)?;
    if status == 401 {
        let _ = window().location().reload();
        return Ok(None);
    }
    if !(200..300).contains(&status) {
        return Err(refusal(status, title, &body));
    }
    // "Done, and nothing to say" has no body at all.
    let body = if body.trim().is_empty() {
        "null"
    } else {
        &body
    };
    serde_json::from_str(body)
        .map(Some)
        .map_err(|e| ApiError::Unreadable(e.to_string()))
}

/// What a page asked for: the newest answer, and what went wrong since.
pub(crate) struct Fetched<T: Send + Sync + 'static> {
    /// The newest answer; stays while a newer one is fetched.
    pub(crate) data: RwSignal<Option<Arc<T>>>,
    /// Why the last fetch failed; `None` when it did not.
    pub(crate) error: RwSignal<Option<ApiError>>,
    /// A fetch is under way.
    pub(crate) pending: RwSignal<bool>,
    again: RwSignal<u64>,
}

impl<T: Send + Sync + 'static> Clone for Fetched<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for Fetched<T> {}

impl<T: Send + Sync + 'static> Fetched<T> {
    /// Fetches again, also while paused.
    pub(crate) fn refetch(self) {
        self.again.update(|n| *n += 1);
    }
}

/// What a fetch remembers between runs.
#[derive(Default)]
struct Running {
    url: Option<String>,
    abort: Option<AbortController>,
    started_ms: f64,
    timer: Option<TimeoutHandle>,
    run: u64,
    /// Counts the run that is under way.
    under_way: bool,
    /// The same thing was asked for again meanwhile.
    again: bool,
}

/// What holds back newer answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    /// The page is paused, by the person or by a range that does not move.
    WhilePaused,
    /// The person paused. What is of now, whatever the page's range, goes on beside an old one.
    ByPerson,
    /// Nothing: it stands in the frame, and whoever looks at the past must hear of it.
    Never,
}

/// Fetches `url` now, when it changes, and when one of `topics` changes (at most once a second, not while paused).
///
/// `url` is tracked; `None` fetches nothing. The answer stays on the page while a newer one is on its way; it goes when
/// another thing is asked for (another path). Everything ends with the owner.
pub(crate) fn fetch<T>(
    topics: &'static [&'static str],
    url: impl Fn() -> Option<String> + Send + Sync + 'static,
) -> Fetched<T>
where
    T: DeserializeOwned + Send + Sync + PartialEq + 'static,
{
    fetch_held(topics, Held::WhilePaused, url)
}

/// As [`fetch`], for what is of now: a range of the past does not hold it back, only the person's pause does.
pub(crate) fn fetch_of_now<T>(
    topics: &'static [&'static str],
    url: impl Fn() -> Option<String> + Send + Sync + 'static,
) -> Fetched<T>
where
    T: DeserializeOwned + Send + Sync + PartialEq + 'static,
{
    fetch_held(topics, Held::ByPerson, url)
}

/// As [`fetch`], whatever is paused.
pub(crate) fn fetch_always<T>(
    topics: &'static [&'static str],
    url: impl Fn() -> Option<String> + Send + Sync + 'static,
) -> Fetched<T>
where
    T: DeserializeOwned + Send + Sync + PartialEq + 'static,
{
    fetch_held(topics, Held::Never, url)
}

/// Fetches, held back by `held`.
fn fetch_held<T>(
    topics: &'static [&'static str],
    held: Held,
    url: impl Fn() -> Option<String> + Send + Sync + 'static,
) -> Fetched<T>
where
    T: DeserializeOwned + Send + Sync + PartialEq + 'static,
{
    let live = Live::get_context();
    let is_held = move || match held {
        Held::WhilePaused => live.paused.get_untracked(),
        Held::ByPerson => live.stopped.get_untracked(),
        Held::Never => false,
    };
    let second = crate::state::clock::Second::get_context();
    let fetched = Fetched {
        data: RwSignal::new(None),
        error: RwSignal::new(None),
        pending: RwSignal::new(false),
        again: RwSignal::new(0),
    };
    let url = Memo::new(move |_| url());
    let running = StoredValue::new_local(Running::default());

    let run = move || start(fetched, running, live, url.get_untracked());
    // An answer that takes longer than changes are apart must still arrive: what is under way is never given up for
    // the same question, which is asked again once it is answered.
    let run_again = move || {
        let url = url.get_untracked();
        let waits = running.try_update_value(|r| {
            r.again = r.under_way && r.url == url;
            r.again
        });
        if waits == Some(false) {
            start(fetched, running, live, url);
        }
    };

    // Another address: at once.
    Effect::new(move || {
        url.track();
        run();
    });
    // Asked for: at once.
    Effect::new(move |first: Option<u64>| {
        let again = fetched.again.get();
        if first.is_some_and(|before| before != again) {
            run_again();
        }
        again
    });
    // Asked for while the same was under way.
    Effect::new(move || {
        let under_way = fetched.pending.get();
        let asked = running.try_update_value(|r| !under_way && std::mem::take(&mut r.again));
        if asked == Some(true) {
            soon(running, run_again);
        }
    });
    // Announced: soon, and held back while paused.
    Effect::new(move |before: Option<u64>| {
        let version = live.version(topics);
        if before.is_some_and(|before| before != version) && !topics.is_empty() {
            if is_held() {
                live.waiting.update(|n| *n += 1);
            } else {
                soon(running, run_again);
            }
        }
        version
    });
    // Not announced, but rates move with the clock.
    Effect::new(move || {
        second.now();
        let due = running
            .with_value(|r| r.url.is_some() && browser_ms() - r.started_ms >= AT_LEAST_EVERY_MS);
        if due && !topics.is_empty() && !is_held() {
            run_again();
        }
    });
    on_cleanup(move || {
        running.try_update_value(|r| {
            if let Some(abort) = r.abort.take() {
                abort.abort();
            }
            if let Some(timer) = r.timer.take() {
                timer.clear();
            }
        });
    });
    fetched
}

/// Runs `run` when a second has gone by since the last start.
fn soon(running: StoredValue<Running, LocalStorage>, run: impl Fn() + 'static) {
    let waits = running.with_value(|r| r.timer.is_some());
    if waits || document().hidden() {
        return;
    }
    let since = running.with_value(|r| browser_ms() - r.started_ms);
    let pause = (AT_MOST_EVERY_MS - since).clamp(0.0, AT_MOST_EVERY_MS);
    let timer = set_timeout_with_handle(
        move || {
            if running.try_update_value(|r| r.timer = None).is_some() {
                run();
            }
        },
        Duration::from_millis(pause as u64),
    );
    running.update_value(|r| r.timer = timer.ok());
}

/// Starts a fetch and aborts the one before, which asked for something else.
fn start<T>(
    fetched: Fetched<T>,
    running: StoredValue<Running, LocalStorage>,
    live: Live,
    url: Option<String>,
) where
    T: DeserializeOwned + Send + Sync + PartialEq + 'static,
{
    let path = |url: &Option<String>| {
        url.as_deref()
            .map(|u| u.split('?').next().unwrap_or_default().to_owned())
    };
    let abort = AbortController::new().ok();
    let mut moved = false;
    let run = running.try_update_value(|r| {
        moved = r.url.is_some() && path(&r.url) != path(&url);
        r.url.clone_from(&url);
        r.started_ms = browser_ms();
        r.run += 1;
        r.under_way = url.is_some();
        r.again = false;
        if let Some(before) = r.abort.take() {
            before.abort();
        }
        r.abort.clone_from(&abort);
        r.run
    });
    let Some(run) = run else { return };
    if moved || url.is_none() {
        fetched.data.set(None);
        fetched.error.set(None);
    }
    let Some(url) = url else {
        fetched.pending.set(false);
        return;
    };
    fetched.pending.set(true);
    spawn_local(async move {
        let answer = get::<T>(&url, abort.as_ref()).await;
        // The owner may have gone, or a newer fetch may have started.
        let newest = running.try_update_value(|r| {
            let newest = r.run == run;
            r.under_way &= !newest;
            newest
        });
        if newest != Some(true) {
            return;
        }
        fetched.pending.set(false);
        match answer {
            Ok(None) => {}
            Ok(Some(value)) => {
                live.fetched_ms.set(browser_ms());
                fetched.error.maybe_update(|e| e.take().is_some());
                // Equal data sets nothing in motion.
                if fetched
                    .data
                    .with_untracked(|old| old.as_ref() != Some(&value))
                {
                    fetched.data.set(Some(value));
                }
            }
            Err(error) => {
                if error.is_missing() {
                    fetched.data.set(None);
                }
                fetched.error.set(Some(error));
            }
        }
    });
}
