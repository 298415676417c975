//! The one door: a message and the name of a channel.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use highwater_model::UnixNanos;
use reqwest::Url;

use crate::error::{ChannelError, DeliveryError};
use crate::http::{self, Post};
use crate::message::Message;
use crate::secret::{Secret, Source};
use crate::settings::{Address, Channel, Target, http_url};
use crate::{alertmanager, email, pagerduty, slack, webhook};

/// A message arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// What the other side said, such as `200 OK`; no secret is in it.
    pub status: String,
}

/// All channels, ready to be told.
#[derive(Clone, Debug)]
pub struct Notifier {
    channels: BTreeMap<String, Channel>,
    client: reqwest::Client,
}

impl Notifier {
    /// Prepares the channels. Connects to none.
    ///
    /// # Errors
    /// When two have one name, or TLS cannot be prepared.
    pub fn new(channels: impl IntoIterator<Item = Channel>) -> Result<Self, ChannelError> {
        let mut by_name = BTreeMap::new();
        for channel in channels {
            let name = channel.name.clone();
            if by_name.insert(name.clone(), channel).is_some() {
                return Err(ChannelError::Twice { channel: name });
            }
        }
        Ok(Self {
            channels: by_name,
            client: http::client()?,
        })
    }

    /// Returns the channels, by name.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.values()
    }

    /// Sends a message to a channel, once, and waits until the other side has it; at most the channel's timeout for
    /// each request, of which PagerDuty takes one an alert.
    ///
    /// # Errors
    /// When it is not known to have arrived. It may have: who sends again relies on the message's key.
    pub async fn deliver(
        &self,
        channel: &str,
        message: &Message,
    ) -> Result<Delivered, DeliveryError> {
        let channel = self
            .channels
            .get(channel)
            .ok_or_else(|| DeliveryError::NoChannel {
                channel: crate::text::one_line(channel, 100),
            })?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let encode = |problem| DeliveryError::Encode {
            channel: channel.name.clone(),
            problem,
        };
        match &channel.target {
            Target::Webhook { url, key } => {
                let (url, kept) = channel.address(url).await?;
                let key = channel.secret(key).await?;
                let post = webhook::post(url, &key, message, now.as_secs()).map_err(encode)?;
                self.send(channel, [post], [Some(&key), kept.as_ref()])
                    .await
            }
            Target::Alertmanager {
                url,
                username,
                secret,
            } => {
                let (url, kept) = channel.address(url).await?;
                let secret = match secret {
                    Some(secret) => Some(channel.secret(secret).await?),
                    None => None,
                };
                let now = UnixNanos(0) + now;
                let post =
                    alertmanager::post(&url, username.as_deref(), secret.as_ref(), message, now)
                        .map_err(encode)?;
                self.send(channel, [post], [secret.as_ref(), kept.as_ref()])
                    .await
            }
            Target::Slack { url } => {
                let (url, kept) = channel.address(url).await?;
                let post = slack::post(url, message).map_err(encode)?;
                self.send(channel, [post], [kept.as_ref(), None]).await
            }
            Target::Pagerduty { url, key } => {
                let (url, kept) = channel.address(url).await?;
                let key = channel.secret(key).await?;
                let posts = pagerduty::posts(&url, &key, message).map_err(encode)?;
                self.send(channel, posts, [Some(&key), kept.as_ref()]).await
            }
            Target::Email(mail) => {
                let password = match &mail.login {
                    Some((_, source)) => Some(channel.secret(source).await?),
                    None => None,
                };
                let timeout = channel.timeout;
                let sent =
                    email::send(&channel.name, mail, password.as_ref(), message, timeout).await?;
                Ok(Delivered { status: sent })
            }
        }
    }

    /// Sends one after the other, and ends with the first that does not arrive: sent again, the earlier ones change
    /// nothing.
    async fn send(
        &self,
        channel: &Channel,
        posts: impl IntoIterator<Item = Post>,
        secrets: [Option<&Secret>; 2],
    ) -> Result<Delivered, DeliveryError> {
        let mut status = "nothing to send".to_owned();
        for post in posts {
            status = http::send(&self.client, post, channel.timeout, &secrets).await?;
        }
        Ok(Delivered { status })
    }
}

impl Channel {
    /// Reads the secret; a file on a thread that may wait.
    async fn secret(&self, source: &Source) -> Result<Secret, DeliveryError> {
        let failed = |source| DeliveryError::Secret {
            channel: self.name.clone(),
            source,
        };
        match source {
            Source::Value(secret) => Ok(secret.clone()),
            Source::File(file) => {
                let reading = source.clone();
                let read = tokio::task::spawn_blocking(move || reading.read()).await;
                read.unwrap_or_else(|error| {
                    Err(crate::error::SecretError::Read {
                        file: file.clone(),
                        source: std::io::Error::other(error),
                    })
                })
                .map_err(failed)
            }
        }
    }

    /// Returns the address, and it again where it is a secret.
    async fn address(&self, address: &Address) -> Result<(Url, Option<Secret>), DeliveryError> {
        match address {
            Address::Plain(url) => Ok((url.clone(), None)),
            Address::Kept(source) => {
                let secret = self.secret(source).await?;
                let url = http_url(secret.expose()).ok_or_else(|| DeliveryError::Address {
                    channel: self.name.clone(),
                })?;
                Ok((url, Some(secret)))
            }
        }
    }
}
