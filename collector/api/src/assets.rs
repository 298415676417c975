//! The embedded dashboard: hashed files are cached for ever, every other path is the page itself.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::problem::ApiError;

/// What `cargo xtask dashboard` built; read from disk in debug builds, embedded in release builds.
#[derive(RustEmbed)]
#[folder = "../../dashboard/dist"]
struct Dist;

/// `style-src` allows attributes set through the CSSOM only: no inline style or script ever runs.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Puts the headers that every answer carries.
pub(crate) fn secure(headers: &mut HeaderMap) {
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
}

/// Serves a file of the dashboard, or its page for every path of its own.
pub(crate) async fn serve(uri: Uri, request: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let is_file = path
        .rsplit('/')
        .next()
        .is_some_and(|name| name.contains('.'))
        && Dist::get(path).is_some();
    if is_file {
        return file(path, &request);
    }
    if path.starts_with("api/") {
        return ApiError::NotFound(format!("There is no /{path}; see /api/openapi.json."))
            .into_response();
    }
    if Dist::get("index.html").is_none() {
        return ApiError::Unavailable(
            "This binary has no dashboard in it: run \"cargo xtask dashboard\" and build again."
                .to_owned(),
        )
        .into_response();
    }
    file("index.html", &request)
}

fn file(path: &str, request: &HeaderMap) -> Response {
    let accepts = |coding: &str| {
        request
            .get(header::ACCEPT_ENCODING)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|codings| {
                codings
                    .split(',')
                    .any(|c| c.trim().split(';').next() == Some(coding))
            })
    };
    let compressed = [("br", "br"), ("gzip", "gz")]
        .into_iter()
        .filter(|(coding, _)| accepts(coding))
        .find_map(|(coding, suffix)| {
            Dist::get(&format!("{path}.{suffix}")).map(|f| (Some(coding), f))
        });
    let Some((coding, found)) = compressed.or_else(|| Dist::get(path).map(|f| (None, f))) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = Response::new(Body::from(found.data));
    let headers = response.headers_mut();
    let kind = match path.rsplit('.').next().unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    // Only the page keeps its name between builds; all else carries its hash.
    let caching = if path == "index.html" || !is_hashed(path) {
        "no-cache"
    } else {
        "public, max-age=31536000, immutable"
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

/// `app-0123456789abcdef.js`: the last part of the stem is at least 8 hexadecimal digits.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or("");
    let stem = name.split('.').next().unwrap_or("");
    stem.rsplit(['-', '_'])
        .next()
        .is_some_and(|hash| hash.len() >= 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::is_hashed;

    #[test]
    fn only_hashed_names_are_cached_for_ever() {
        assert!(is_hashed("app-0123456789abcdef.js"));
        assert!(is_hashed("fonts/inter-89abcdef.woff2"));
        assert!(!is_hashed("logo.svg"));
        assert!(!is_hashed("index.html"));
    }
}
