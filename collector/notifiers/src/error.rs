//! What can go wrong: with settings, and on the way.

use std::time::Duration;

pub use crate::secret::SecretError;

/// A channel cannot be as it is set. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// A setting has a value that does not work.
    #[error("channel {channel}: {key} = {value:?}: {problem}")]
    Value {
        /// The channel.
        channel: String,
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why it does not work.
        problem: &'static str,
    },
    /// A setting is missing, or is not for this kind of channel. Its value may be a secret, and is not said.
    #[error("channel {channel}: {key} {problem}")]
    Setting {
        /// The channel.
        channel: String,
        /// The setting.
        key: &'static str,
        /// What is the matter.
        problem: &'static str,
    },
    /// The secret is not where it should be.
    #[error("channel {channel}: {key} = {file:?}")]
    Secret {
        /// The channel.
        channel: String,
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// Two channels have one name.
    #[error("there are two channels called {channel:?}")]
    Twice {
        /// The name.
        channel: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot prepare TLS for the channels")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A message did not arrive, as far as is known. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// No channel has this name.
    #[error("there is no channel called {channel:?}")]
    NoChannel {
        /// The name.
        channel: String,
    },
    /// The secret cannot be read now.
    #[error("cannot read the secret of channel {channel}")]
    Secret {
        /// The channel.
        channel: String,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// The address, which is kept as a secret, is none.
    #[error("the address of channel {channel} is not an http:// or https:// address")]
    Address {
        /// The channel.
        channel: String,
    },
    /// No answer came.
    #[error("{server} did not answer: {problem}")]
    NoAnswer {
        /// Host and port.
        server: String,
        /// What went wrong.
        problem: String,
    },
    /// The server answered that it does not take the message.
    #[error("{server} answered {status}{}", said(answer))]
    Refused {
        /// Host and port.
        server: String,
        /// The status of HTTP, with its words.
        status: String,
        /// How its answer begins.
        answer: String,
        /// Whether another attempt may end otherwise.
        retryable: bool,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The mail server does not take the message.
    #[error("{server}: {problem}")]
    Smtp {
        /// Host and port.
        server: String,
        /// What it said.
        problem: String,
        /// Whether another attempt may end otherwise.
        retryable: bool,
    },
    /// The message cannot be put into the channel's format.
    #[error("cannot write the message for channel {channel}: {problem}")]
    Encode {
        /// The channel.
        channel: String,
        /// Why.
        problem: String,
    },
}

fn said(answer: &str) -> String {
    if answer.is_empty() {
        String::new()
    } else {
        format!(": {answer}")
    }
}

impl DeliveryError {
    /// Whether the same message may arrive when it is sent again: a server that is away may come back, one that does not
    /// understand it will not learn to.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::NoChannel { .. } | Self::Encode { .. } => false,
            // A secret that is changed may be away for a moment; one that is wrong is set right by somebody.
            Self::Secret { .. } | Self::Address { .. } | Self::NoAnswer { .. } => true,
            Self::Refused { retryable, .. } | Self::Smtp { retryable, .. } => *retryable,
        }
    }

    /// How long the server asked to be left alone, at most an hour; `None` when it did not say.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
