//! Who may ask: Host and Origin are checked against DNS rebinding and foreign pages, the token where there is one.

use axum::extract::{Form, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::ApiState;
use crate::problem::ApiError;

const COOKIE: &str = "highwater_token";

/// What is allowed, from the settings.
#[derive(Clone, Debug)]
pub struct Access {
    /// Asked for when set.
    pub token: Option<String>,
    /// Listens on loopback: only loopback names are valid hosts then.
    pub loopback: bool,
}

impl Access {
    fn host_allowed(&self, host: &str) -> bool {
        // Away from loopback the operator chose a name we cannot know; token or --allow-anonymous decided who may read.
        !self.loopback || is_loopback_host(host)
    }

    fn token_matches(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let cookie = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| (name == COOKIE).then_some(value));
        bearer
            .into_iter()
            .chain(cookie)
            .any(|given| same(given, token))
    }
}

/// Compares in a time that does not tell how much of a token was right.
fn same(given: &str, wanted: &str) -> bool {
    given.len() == wanted.len()
        && given
            .bytes()
            .zip(wanted.bytes())
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Lets a request through, or answers it.
pub(crate) async fn check(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| {
            request
                .uri()
                .authority()
                .map(|authority| authority.as_str())
        })
        .unwrap_or("");
    if !state.access.host_allowed(host) {
        return ApiError::Forbidden(
            "This Host is not allowed: open the collector by its loopback address.",
        )
        .into_response();
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let same_origin = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
        if !same_origin {
            return ApiError::Forbidden("Requests from other sites' pages are not allowed.")
                .into_response();
        }
    }
    let path = request.uri().path();
    let open = matches!(path, "/healthz" | "/readyz" | "/login");
    if !open && !state.access.token_matches(headers) {
        let wants_page = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"));
        if wants_page && request.method() == Method::GET && !path.starts_with("/api/") {
            return sign_in_page(StatusCode::UNAUTHORIZED, "");
        }
        return ApiError::Unauthorized.into_response();
    }
    next.run(request).await
}

fn sign_in_page(status: StatusCode, problem: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Highwater: sign in</title>\
         <h1>Highwater</h1><p>{problem}</p><form method=post action=/login>\
         <label>Token <input name=token type=password autocomplete=current-password autofocus required></label> \
         <button>Sign in</button></form></html>"
    );
    (status, Html(page)).into_response()
}

#[derive(Deserialize)]
pub(crate) struct SignIn {
    token: String,
}

/// Takes the token from the sign-in page and keeps it in a cookie, because an event stream cannot send a header.
pub(crate) async fn sign_in(State(state): State<ApiState>, Form(form): Form<SignIn>) -> Response {
    let right = state
        .access
        .token
        .as_deref()
        .is_none_or(|token| same(&form.token, token));
    let cookie = HeaderValue::from_str(&format!(
        "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000",
        form.token
    ));
    match cookie {
        Ok(cookie) if right => {
            let mut response = Redirect::to("/").into_response();
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            response
        }
        _ => sign_in_page(StatusCode::UNAUTHORIZED, "That token is not right."),
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, COOKIE, is_loopback_host};
    use axum::http::{HeaderMap, HeaderValue, header};

    #[test]
    fn only_loopback_names_are_valid_hosts_on_loopback() {
        for host in [
            "localhost",
            "localhost:8844",
            "127.0.0.1:8844",
            "[::1]:8844",
            "127.8.8.8",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:8844",
            "localhost.evil",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn a_token_is_taken_from_header_or_cookie() {
        let access = Access {
            token: Some("s3cret".to_owned()),
            loopback: true,
        };
        let with = |name, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                name,
                HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("")),
            );
            headers
        };
        assert!(access.token_matches(&with(header::AUTHORIZATION, "Bearer s3cret")));
        assert!(access.token_matches(&with(header::COOKIE, &format!("a=b; {COOKIE}=s3cret"))));
        assert!(!access.token_matches(&with(header::AUTHORIZATION, "Bearer s3cre")));
        assert!(!access.token_matches(&HeaderMap::new()));
    }
}
