//! The address is the state of a page.
//!
//! Every filter lives in the query string, so that a link shows what its sender saw. A change of a filter is a history
//! entry; a change of `sel` replaces the entry; unknown parameters are kept.

use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_location, use_navigate};

/// The parameters that go along from page to page.
const COMMON: [&str; 6] = ["env", "cluster", "from", "to", "live", "tz"];

/// The range when the address names none.
pub(crate) const DEFAULT_FROM: &str = "now-1h";

/// Goes to an address; `true` replaces the history entry.
type Navigate = Box<dyn Fn(&str, bool)>;

/// The address of the page and the ways to change it.
#[derive(Clone, Copy)]
pub(crate) struct Query {
    path: Memo<String>,
    search: Memo<String>,
    navigate: StoredValue<Navigate, LocalStorage>,
}

impl Query {
    /// Makes the address known to all components below. Called once, inside the router.
    pub(crate) fn provide() -> Self {
        let location = use_location();
        let navigate = use_navigate();
        let query = Self {
            path: location.pathname,
            search: location.search,
            navigate: StoredValue::new_local(Box::new(move |url: &str, replace: bool| {
                navigate(
                    url,
                    NavigateOptions {
                        replace,
                        scroll: false,
                        ..NavigateOptions::default()
                    },
                );
            })),
        };
        provide_context(query);
        query
    }

    /// Finds the address; components live below [`Query::provide`].
    pub(crate) fn get_context() -> Self {
        expect_context()
    }

    /// Returns the path, tracked.
    pub(crate) fn path(self) -> String {
        self.path.get()
    }

    /// Returns a parameter, tracked; `None` when absent or empty.
    pub(crate) fn get(self, key: &str) -> Option<String> {
        self.search.with(|search| find(search, key))
    }

    /// Returns a parameter that only tells when it changed itself.
    pub(crate) fn memo(self, key: &'static str) -> Memo<Option<String>> {
        Memo::new(move |_| self.get(key))
    }

    /// Sets or removes a parameter as a new history entry.
    pub(crate) fn set(self, key: &str, value: Option<&str>) {
        self.change(&[(key, value)], false);
    }

    /// Sets or removes a parameter in the current history entry.
    pub(crate) fn replace(self, key: &str, value: Option<&str>) {
        self.change(&[(key, value)], true);
    }

    /// Sets or removes several parameters at once; `replace` keeps the history entry.
    pub(crate) fn change(self, changes: &[(&str, Option<&str>)], replace: bool) {
        let search = self.search.get_untracked();
        let path = self.path.get_untracked();
        let edited = edit(&search, changes);
        if edited != edit(&search, &[]) {
            self.go(&join(&path, &edited), replace);
        }
    }

    /// Goes to a path and query of the dashboard.
    pub(crate) fn go(self, url: &str, replace: bool) {
        self.navigate.with_value(|navigate| navigate(url, replace));
    }

    /// Returns a link to another page that keeps range, environment and clusters; tracked.
    pub(crate) fn link(self, path: &str, own: &[(&str, &str)]) -> String {
        self.search.with(|search| {
            let mut kept = pairs(search);
            kept.retain(|(key, _)| COMMON.contains(&key.as_str()));
            kept.extend(own.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())));
            join(path, &write(&kept))
        })
    }

    /// Returns an API address with the page's range, environment and clusters and `own`; tracked.
    pub(crate) fn api(self, path: &str, own: &[(&str, &str)]) -> String {
        self.search.with(|search| {
            let mut params = vec![(
                "from".to_owned(),
                find(search, "from").unwrap_or_else(|| DEFAULT_FROM.to_owned()),
            )];
            for key in ["to", "env", "cluster"] {
                params.extend(find(search, key).map(|value| (key.to_owned(), value)));
            }
            params.extend(own.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())));
            join(&format!("/api/v1{path}"), &write(&params))
        })
    }

    /// Returns an API address over all time with the page's environment and clusters and `own`; tracked.
    pub(crate) fn api_of_all_time(self, path: &str, own: &[(&str, &str)]) -> String {
        self.search.with(|search| {
            let mut params = vec![("from".to_owned(), "1970-01-01T00:00:00Z".to_owned())];
            for key in ["env", "cluster"] {
                params.extend(find(search, key).map(|value| (key.to_owned(), value)));
            }
            params.extend(own.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())));
            join(&format!("/api/v1{path}"), &write(&params))
        })
    }

    /// Whether the range moves with the clock: `to` is absent or relative; tracked.
    pub(crate) fn is_relative(self) -> bool {
        self.get("to").is_none_or(|to| to.starts_with("now"))
    }
}

/// Joins a path and a query string.
fn join(path: &str, search: &str) -> String {
    if search.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{search}")
    }
}

/// Reads a query string, with or without its question mark.
fn pairs(search: &str) -> Vec<(String, String)> {
    search
        .trim_start_matches('?')
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(key), decode(value))
        })
        .collect()
}

/// Writes a query string.
fn write(pairs: &[(String, String)]) -> String {
    pairs
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// Finds a parameter that is not empty.
fn find(search: &str, key: &str) -> Option<String> {
    pairs(search)
        .into_iter()
        .find(|(k, v)| k == key && !v.is_empty())
        .map(|(_, v)| v)
}

/// Applies changes to a query string; what is not named stays, in its order.
fn edit(search: &str, changes: &[(&str, Option<&str>)]) -> String {
    let mut all = pairs(search);
    for &(key, value) in changes {
        let at = all.iter().position(|(k, _)| k == key);
        all.retain(|(k, _)| k != key);
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            let at = at.unwrap_or(all.len()).min(all.len());
            all.insert(at, (key.to_owned(), value.to_owned()));
        }
    }
    write(&all)
}

/// Percent-encodes a path segment or a query value. Colons, commas and slashes stay readable in a query.
fn encode_with(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Percent-encodes a query value.
pub(crate) fn encode(text: &str) -> String {
    encode_with(text, b":,/@!*()>")
}

/// Percent-encodes one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    encode_with(text, b":,@")
}

/// Decodes percent-encoding and `+`; bytes that are no UTF-8 become the replacement character.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| {
            bytes
                .get(i)
                .and_then(|b| char::from(*b).to_digit(16))
                .and_then(|d| u8::try_from(d).ok())
        };
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => match (hex(at + 1), hex(at + 2)) {
                (Some(high), Some(low)) => {
                    out.push(high * 16 + low);
                    at += 2;
                }
                _ => out.push(b'%'),
            },
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let search = "?env=prod&mystery=1&sel=group:kafka/billing";
        assert_eq!(
            edit(search, &[("sel", None), ("sort", Some("-lag"))]),
            "env=prod&mystery=1&sort=-lag"
        );
        assert_eq!(
            edit(search, &[("env", Some("stage"))]),
            "env=stage&mystery=1&sel=group:kafka/billing"
        );
    }

    #[test]
    fn values_survive_a_round_trip() {
        for value in [
            "a b+c&d=e%",
            "produces service:shop>topic:k/o",
            "ü≥1",
            "now-1h",
        ] {
            let search = edit("", &[("q", Some(value))]);
            assert_eq!(find(&search, "q").as_deref(), Some(value), "{search}");
        }
        assert_eq!(find("q=%zz%4", "q").as_deref(), Some("%zz%4"));
        assert_eq!(find("q=", "q"), None);
    }

    #[test]
    fn a_segment_hides_its_slashes() {
        assert_eq!(segment("a/b?c#d"), "a%2Fb%3Fc%23d");
    }
}
