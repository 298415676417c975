//! One POST: bounded in time and size, to where the operator said and nowhere else.

use std::error::Error;
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use crate::error::{ChannelError, DeliveryError};
use crate::retry::retry_after;
use crate::secret::{Secret, scrubbed};
use crate::settings::server_of;
use crate::text::one_line;

/// So much of an answer is read.
const MAX_ANSWER_BYTES: usize = 4 * 1024;

/// So much of it is kept to be shown.
const MAX_ANSWER_CHARS: usize = 300;

/// A POST that is ready to go.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Post {
    pub(crate) fn json(url: Url, body: &impl serde::Serialize) -> Result<Self, String> {
        Ok(Self {
            url,
            headers: HeaderMap::new(),
            body: serde_json::to_vec(body).map_err(|error| error.to_string())?,
        })
    }

    /// Adds a header whose value is not shown in logs.
    pub(crate) fn header(&mut self, name: &'static str, value: &str) -> Result<(), String> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("{name} cannot hold what it should"))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }
}

/// Makes the client that all channels share.
///
/// Proxies are those of the environment. It trusts what the machine trusts: a company's servers are often signed by an
/// authority of its own, which is installed there and in no list of the world's.
pub(crate) fn client() -> Result<Client, ChannelError> {
    Client::builder()
        .tls_backend_native()
        .redirect(redirect::Policy::none())
        .user_agent(concat!("highwater/", env!("CARGO_PKG_VERSION")))
        // Messages are rare: a connection would be closed by the other side before the next one.
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|error| ChannelError::Client(error.into()))
}

/// Sends it and gives the status of the answer; an error when the answer is not one of success.
pub(crate) async fn send(
    client: &Client,
    post: Post,
    timeout: Duration,
    secrets: &[Option<&Secret>],
) -> Result<String, DeliveryError> {
    let server = server_of(&post.url);
    let sent = client
        .post(post.url)
        .timeout(timeout)
        .header("content-type", "application/json")
        .headers(post.headers)
        .body(post.body)
        .send()
        .await;
    let response = match sent {
        Ok(response) => response,
        Err(error) => {
            return Err(DeliveryError::NoAnswer {
                server,
                problem: problem(error, timeout, secrets),
            });
        }
    };
    let status = response.status();
    if status.is_success() {
        return Ok(status.to_string());
    }
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
    let answer = if status.is_redirection() {
        "it points elsewhere, where no message is sent; set the address it points to".to_owned()
    } else {
        // The secret goes before anything is cut, lest half of it stay.
        one_line(
            &scrubbed(&beginning(response).await, secrets),
            MAX_ANSWER_CHARS,
        )
    };
    Err(DeliveryError::Refused {
        server,
        status: status.to_string(),
        answer,
        retryable: is_retryable(status),
        retry_after,
    })
}

/// What the server cannot do now, it may do later; what it does not understand, it never will.
fn is_retryable(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

async fn beginning(mut response: Response) -> String {
    let mut bytes = Vec::new();
    // An answer that breaks off is shown as far as it came: its status has said what matters.
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= MAX_ANSWER_BYTES {
            bytes.truncate(MAX_ANSWER_BYTES);
            break;
        }
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn problem(error: reqwest::Error, timeout: Duration, secrets: &[Option<&Secret>]) -> String {
    if error.is_timeout() {
        return format!("no answer in {}", humantime::format_duration(timeout));
    }
    // The address may be the secret.
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    one_line(&scrubbed(&text, secrets), MAX_ANSWER_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_is_wrong_is_not() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(
                is_retryable(StatusCode::from_u16(status).unwrap()),
                "{status}"
            );
        }
        for status in [301, 308, 400, 401, 403, 404, 410, 413, 422] {
            assert!(
                !is_retryable(StatusCode::from_u16(status).unwrap()),
                "{status}"
            );
        }
    }
}
