//! The one place that chooses HTTP status codes. Internals are logged, never sent.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use highwater_shared::problem::Problem;

/// What can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("This path can only be read: use GET.")]
    MethodNotAllowed,
    #[error("a token is needed")]
    Unauthorized,
    #[error("{0}")]
    Unavailable(String),
    #[error("{step}")]
    Internal {
        step: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ApiError {
    /// An error of a room below, named by the step that failed.
    pub(crate) fn internal<E>(step: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::Internal {
            step,
            source: source.into(),
        }
    }

    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "The request is not valid"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "Not found"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "Not allowed"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Not allowed"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "A token is needed"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "Not available now"),
            Self::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "The collector failed"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, title) = self.parts();
        let detail = match &self {
            Self::Internal { step, source } => {
                tracing::error!(step, error = %source, "request failed");
                format!("{step} failed. The collector's log says why.")
            }
            Self::Unauthorized => {
                "Send the collector's token as \"Authorization: Bearer TOKEN\", or open the dashboard and sign in."
                    .to_owned()
            }
            other => other.to_string(),
        };
        let body = Problem {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail,
        };
        let mut response = (status, axum::Json(body)).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
