//! `[[channel]]` of the settings, and the channel that comes of it.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::error::ChannelError;
use crate::secret::{Secret, Source};

const TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

/// What a channel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// A signed POST of JSON.
    Webhook,
    /// Prometheus Alertmanager, API v2.
    Alertmanager,
    /// An incoming webhook of Slack's.
    Slack,
    /// PagerDuty, Events API v2.
    Pagerduty,
    /// Mail by SMTP.
    Email,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Not at all.
    None,
    /// From a command on, and never without (port 587).
    Starttls,
    /// From the first byte (port 465).
    Tls,
}

/// `[[channel]]`: where alerts are told. Holds no secret, but says where it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSettings {
    /// Its name, which rules tell: letters, digits, `.`, `_`, `-`, at most 64.
    pub name: String,
    /// `webhook`, `alertmanager`, `slack`, `pagerduty` or `email`.
    pub kind: ChannelKind,
    /// The address. For `alertmanager` its root, for `pagerduty` that of another region. For `slack` it is a secret:
    /// `url_env` or `url_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The environment variable that holds the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_env: Option<String>,
    /// The file that holds the address; read at each message, so it can be changed at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// The environment variable that holds the secret: the key of the signature of a `webhook`, the integration key of
    /// `pagerduty`, the password of `email`; of `alertmanager` the password, or a bearer token where there is no
    /// `username`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// The file that holds the secret; read at each message, so it can be changed at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// The mail server, `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp: Option<String>,
    /// `starttls` (the default), `tls` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<Security>,
    /// Who signs in, to a mail server or an Alertmanager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The sender of mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who gets mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// How long a server may take, such as `10s` (the default); at most a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// A channel whose settings are sound. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Channel {
    pub(crate) name: String,
    pub(crate) timeout: Duration,
    pub(crate) target: Target,
}

/// Where a message goes, and what is needed for it.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Webhook {
        url: Address,
        key: Source,
    },
    Alertmanager {
        url: Address,
        username: Option<String>,
        secret: Option<Source>,
    },
    Slack {
        url: Address,
    },
    Pagerduty {
        url: Address,
        key: Source,
    },
    Email(Box<Mail>),
}

/// An address that is seen, or one that is kept as a secret.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Plain(Url),
    Kept(Source),
}

/// A mail server, and who writes to whom.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: Security,
    pub(crate) login: Option<(String, Source)>,
    pub(crate) from: Mailbox,
    pub(crate) to: Vec<Mailbox>,
}

impl Channel {
    /// Makes a channel of its settings. `env` looks up an environment variable.
    ///
    /// # Errors
    /// When a setting is missing, is not for this kind of channel, or does not work. The error names the channel and
    /// the key, and never a secret.
    pub fn from_settings(
        settings: ChannelSettings,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ChannelError> {
        let read = Reader {
            settings: &settings,
            env: &env,
        };
        read.name()?;
        read.only_its_own_settings()?;
        let target = match settings.kind {
            ChannelKind::Webhook => Target::Webhook {
                url: read.address()?,
                key: read.secret()?.ok_or(read.lacks(SECRET))?,
            },
            ChannelKind::Alertmanager => Target::Alertmanager {
                url: read.address()?,
                username: settings.username.clone(),
                secret: read.secret()?,
            },
            ChannelKind::Slack => Target::Slack {
                url: read.address()?,
            },
            ChannelKind::Pagerduty => Target::Pagerduty {
                url: read.address()?,
                key: read.secret()?.ok_or(read.lacks(SECRET))?,
            },
            ChannelKind::Email => Target::Email(Box::new(read.mail()?)),
        };
        Ok(Self {
            timeout: read.timeout()?,
            target,
            name: settings.name,
        })
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it is.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        match self.target {
            Target::Webhook { .. } => ChannelKind::Webhook,
            Target::Alertmanager { .. } => ChannelKind::Alertmanager,
            Target::Slack { .. } => ChannelKind::Slack,
            Target::Pagerduty { .. } => ChannelKind::Pagerduty,
            Target::Email(_) => ChannelKind::Email,
        }
    }

    /// Returns where it leads, for a page: host and port, or who gets mail; `None` where the address is a secret.
    #[must_use]
    pub fn destination(&self) -> Option<String> {
        match &self.target {
            Target::Webhook { url, .. }
            | Target::Alertmanager { url, .. }
            | Target::Slack { url }
            | Target::Pagerduty { url, .. } => match url {
                Address::Plain(url) => Some(server_of(url)),
                Address::Kept(_) => None,
            },
            Target::Email(mail) => {
                let to: Vec<_> = mail.to.iter().map(|to| to.email.to_string()).collect();
                Some(to.join(", "))
            }
        }
    }
}

/// Returns `host:port` of an address, without what may be secret in it.
pub(crate) fn server_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Returns an address over HTTP.
pub(crate) fn http_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

const SECRET: &str = "secret_env or secret_file";
const URL: &str = "url, url_env or url_file";

struct Reader<'a, E> {
    settings: &'a ChannelSettings,
    env: &'a E,
}

impl<E: Fn(&str) -> Option<String>> Reader<'_, E> {
    fn setting(&self, key: &'static str, problem: &'static str) -> ChannelError {
        ChannelError::Setting {
            channel: self.settings.name.clone(),
            key,
            problem,
        }
    }

    fn lacks(&self, key: &'static str) -> ChannelError {
        self.setting(key, "is missing")
    }

    fn value(&self, key: &'static str, value: &str, problem: &'static str) -> ChannelError {
        ChannelError::Value {
            channel: self.settings.name.clone(),
            key,
            value: crate::text::one_line(value, 200),
            problem,
        }
    }

    fn name(&self) -> Result<(), ChannelError> {
        let name = &self.settings.name;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let problem = "1 to 64 letters, digits, '.', '_' and '-'";
            return Err(self.value("name", name, problem));
        }
        Ok(())
    }

    /// A setting that means nothing here was meant for something.
    fn only_its_own_settings(&self) -> Result<(), ChannelError> {
        let settings = self.settings;
        let mail = settings.kind == ChannelKind::Email;
        let url =
            settings.url.is_some() || settings.url_env.is_some() || settings.url_file.is_some();
        let secret = settings.secret_env.is_some() || settings.secret_file.is_some();
        let may_have_user = mail || settings.kind == ChannelKind::Alertmanager;
        for (key, given, fits) in [
            (URL, url, !mail),
            (SECRET, secret, settings.kind != ChannelKind::Slack),
            ("smtp", settings.smtp.is_some(), mail),
            ("security", settings.security.is_some(), mail),
            ("username", settings.username.is_some(), may_have_user),
            ("from", settings.from.is_some(), mail),
            ("to", !settings.to.is_empty(), mail),
        ] {
            if given && !fits {
                return Err(self.setting(key, "is not for a channel of this kind"));
            }
        }
        if settings.username.is_some() != secret && mail {
            return Err(self.setting("username", "and a secret go together"));
        }
        if settings.username.is_some() && !secret {
            return Err(self.lacks(SECRET));
        }
        Ok(())
    }

    fn kept(
        &self,
        keys: [&'static str; 2],
        variable: Option<&String>,
        file: Option<&PathBuf>,
    ) -> Result<Option<Source>, ChannelError> {
        match (variable, file) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                Err(self.setting(keys[0], "is given beside the file: one of them"))
            }
            (Some(variable), None) => match (self.env)(variable).map(|value| Secret::new(&value)) {
                Some(secret) if !secret.expose().is_empty() => Ok(Some(Source::Value(secret))),
                _ => Err(self.value(keys[0], variable, "this variable is not set, or is empty")),
            },
            (None, Some(file)) => {
                let source = Source::File(file.clone());
                // Looked at now, so that a name that is wrong is said at the start and not at night.
                source.read().map_err(|source| ChannelError::Secret {
                    channel: self.settings.name.clone(),
                    key: keys[1],
                    file: file.display().to_string(),
                    source,
                })?;
                Ok(Some(source))
            }
        }
    }

    fn secret(&self) -> Result<Option<Source>, ChannelError> {
        let settings = self.settings;
        self.kept(
            ["secret_env", "secret_file"],
            settings.secret_env.as_ref(),
            settings.secret_file.as_ref(),
        )
    }

    fn address(&self) -> Result<Address, ChannelError> {
        let settings = self.settings;
        let kept = self.kept(
            ["url_env", "url_file"],
            settings.url_env.as_ref(),
            settings.url_file.as_ref(),
        )?;
        let default = (settings.kind == ChannelKind::Pagerduty).then_some(PAGERDUTY);
        let address = match (settings.url.as_deref(), kept) {
            (Some(_), Some(_)) => {
                return Err(self.setting("url", "is given beside url_env or url_file: one of them"));
            }
            (Some(_), None) if settings.kind == ChannelKind::Slack => {
                let problem = "of Slack is a secret: name a url_env or url_file that holds it";
                return Err(self.setting("url", problem));
            }
            (None, Some(source)) => Address::Kept(source),
            (given, None) => {
                let text = given.or(default).ok_or(self.lacks(URL))?;
                // The value is not said: a password may stand in what was meant as an address.
                let url = http_url(text)
                    .ok_or(self.setting("url", "is not an http:// or https:// address"))?;
                if !url.username().is_empty() || url.password().is_some() {
                    let problem = "has a password in it: name a url_env or url_file that holds it";
                    return Err(self.setting("url", problem));
                }
                Address::Plain(url)
            }
        };
        if let Address::Kept(source) = &address {
            let sound = source
                .read()
                .is_ok_and(|url| http_url(url.expose()).is_some());
            if !sound {
                return Err(self.setting(
                    "url_env or url_file",
                    "does not hold an http:// or https:// address",
                ));
            }
        }
        Ok(address)
    }

    fn timeout(&self) -> Result<Duration, ChannelError> {
        let Some(text) = &self.settings.timeout else {
            return Ok(TIMEOUT);
        };
        match humantime::parse_duration(text) {
            Ok(timeout) if !timeout.is_zero() && timeout <= LONGEST_TIMEOUT => Ok(timeout),
            _ => Err(self.value("timeout", text, "a duration such as 10s, at most 1m")),
        }
    }

    fn mail(&self) -> Result<Mail, ChannelError> {
        let settings = self.settings;
        let smtp = settings.smtp.as_ref().ok_or(self.lacks("smtp"))?;
        let (host, port) = smtp
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok().filter(|port| *port > 0)?)))
            .filter(|(host, _)| !host.is_empty())
            .ok_or(self.value("smtp", smtp, "host:port of a mail server"))?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let security = settings.security.unwrap_or(Security::Starttls);
        let login = match (&settings.username, self.secret()?) {
            (Some(username), Some(secret)) => Some((username.clone(), secret)),
            _ => None,
        };
        let here = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        if login.is_some() && security == Security::None && !here {
            let problem = "would send the password in the clear: starttls or tls";
            return Err(self.value("security", "none", problem));
        }
        let mailbox = |key, text: &str| {
            let mailbox: Result<Mailbox, _> = text.parse();
            mailbox.map_err(|_| self.value(key, text, "an address such as ops@example.com"))
        };
        let from = settings.from.as_deref().ok_or(self.lacks("from"))?;
        let to: Result<Vec<_>, _> = settings.to.iter().map(|to| mailbox("to", to)).collect();
        let to = to?;
        if to.is_empty() {
            return Err(self.lacks("to"));
        }
        if to.len() > 100 {
            return Err(self.setting("to", "names more than 100 addresses: use a list"));
        }
        Ok(Mail {
            host,
            port,
            security,
            login,
            from: mailbox("from", from)?,
            to,
        })
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
