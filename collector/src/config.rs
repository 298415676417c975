//! Settings: file < environment < flag. Unknown keys are errors that name the key.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use highwater_notifiers::{Channel, ChannelSettings};
use serde::{Deserialize, Serialize};

use crate::cli::Flags;
use crate::units::{Size, Span};

/// What can be wrong with settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not valid:\n{message}")]
    Parse { path: PathBuf, message: String },
    #[error("{key} = {value:?}: {problem}")]
    Value {
        key: &'static str,
        value: String,
        problem: String,
    },
    #[error(transparent)]
    Channel(#[from] highwater_notifiers::ChannelError),
    #[error(
        "--listen {address} can be reached from other machines, so it needs --auth-token TOKEN \
         (or --allow-anonymous, if everybody there may read every trace and record)"
    )]
    Anonymous { address: SocketAddr },
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

/// Everything that can be set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: String,
    pub(crate) otlp_grpc: String,
    pub(crate) otlp_http: String,
    pub(crate) poll_interval: Span,
    pub(crate) retention: Span,
    pub(crate) retention_size: Size,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth_token: Option<String>,
    pub(crate) allow_anonymous: bool,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    /// Alert rules: TOML of `[[rule]]` and `[[maintenance]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rules: Option<PathBuf>,
    /// What links in alerts begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
    pub(crate) lag: LagSettings,
    pub(crate) correlation: CorrelationSettings,
    pub(crate) receiver: ReceiverSettings,
    pub(crate) store: StoreSettings,
    pub(crate) dead_letters: DeadLetterSettings,
    pub(crate) kafka: Vec<KafkaSettings>,
    /// Where alerts are told.
    pub(crate) channel: Vec<ChannelSettings>,
}

/// `[lag]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LagSettings {
    /// Time lag above which a group is critical.
    pub(crate) mark: Span,
    /// How long a group must stand still before it is called stopped.
    pub(crate) window: Span,
    /// Marks of particular groups, by name or glob (`billing-*`); the longest glob that matches wins.
    pub(crate) marks: BTreeMap<String, Span>,
}

/// `[correlation]`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CorrelationSettings {
    /// Span attributes that identify a business transaction, such as `order.id`. They keep their name as key.
    pub(crate) attributes: Vec<String>,
    /// Further message headers that carry a correlation id, beside the usual ones.
    pub(crate) headers: Vec<String>,
}

/// `[receiver]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReceiverSettings {
    /// Largest request, after decompression.
    pub(crate) max_request: Size,
    /// Memory of all requests together, from their arrival to their commit; beyond it senders are told to try again.
    pub(crate) max_in_flight: Size,
    /// Connections to each OTLP port; fewer where too few files may be open for them.
    pub(crate) max_connections: usize,
    /// Spans that may wait for the writer; beyond it senders are told to try again.
    pub(crate) queue_spans: usize,
    /// Origins allowed to send from a browser.
    pub(crate) cors_origins: Vec<String>,
}

/// `[store]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StoreSettings {
    /// So much of the disk stays free: below it the oldest spans go, and when only the newest are left, senders are
    /// told to try again. When it is not given: 1GiB, or a 50th of a smaller disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min_free: Option<Size>,
    /// Aggregates and lag history take up to so much; beyond it the oldest lag history goes.
    pub(crate) history_size: Size,
}

/// `[dead_letters]`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DeadLetterSettings {
    /// Topics that hold dead letters although nothing else tells.
    pub(crate) topics: Vec<String>,
}

/// `[[kafka]]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaSettings {
    /// Name on pages and in ids: letters, digits, `.`, `_`, `-`.
    #[serde(default)]
    pub(crate) name: String,
    /// `host:port` of one or more brokers.
    pub(crate) bootstrap: Vec<String>,
    /// The environment it belongs to.
    #[serde(default = "default_environment")]
    pub(crate) environment: String,
    /// Any librdkafka property (`security.protocol`, `sasl.username`, ...).
    #[serde(default)]
    pub(crate) properties: BTreeMap<String, String>,
}

fn default_environment() -> String {
    "default".to_owned()
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: default_data_dir(),
            listen: "127.0.0.1:8844".to_owned(),
            otlp_grpc: "127.0.0.1:4317".to_owned(),
            otlp_http: "127.0.0.1:4318".to_owned(),
            poll_interval: Span(Duration::from_secs(15)),
            retention: Span(Duration::from_secs(7 * 86_400)),
            retention_size: Size(50 << 30),
            auth_token: None,
            allow_anonymous: false,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            rules: None,
            public_url: None,
            lag: LagSettings::default(),
            correlation: CorrelationSettings::default(),
            receiver: ReceiverSettings::default(),
            store: StoreSettings::default(),
            dead_letters: DeadLetterSettings::default(),
            kafka: Vec::new(),
            channel: Vec::new(),
        }
    }
}

impl Default for LagSettings {
    fn default() -> Self {
        Self {
            mark: Span(Duration::from_secs(60)),
            window: Span(Duration::from_secs(300)),
            marks: BTreeMap::new(),
        }
    }
}

impl Default for ReceiverSettings {
    fn default() -> Self {
        Self {
            max_request: Size(64 << 20),
            max_in_flight: Size(128 << 20),
            max_connections: 4096,
            queue_spans: 131_072,
            cors_origins: Vec::new(),
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            min_free: None,
            history_size: Size(2 << 30),
        }
    }
}

fn user_dir(variable: &str, below_home: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(below_home)))
}

fn default_data_dir() -> PathBuf {
    user_dir("XDG_DATA_HOME", ".local/share").map_or_else(
        || PathBuf::from("highwater-data"),
        |dir| dir.join("highwater"),
    )
}

/// The first settings file that exists: in the working directory, then the user's.
fn find_file() -> Option<PathBuf> {
    let here = PathBuf::from("highwater.toml");
    let users = user_dir("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("highwater.toml"));
    std::iter::once(here)
        .chain(users)
        .find(|path| path.is_file())
}

impl Settings {
    /// Reads the file, then lays environment and flags over it.
    ///
    /// # Errors
    /// When the file cannot be read or has an unknown key, or a value does not fit; the message names both.
    pub(crate) fn load(flags: Flags) -> Result<Self, ConfigError> {
        let mut settings = match flags.config.clone().or_else(find_file) {
            Some(path) => {
                let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read {
                    path: path.clone(),
                    source,
                })?;
                toml::from_str(&text).map_err(|error| ConfigError::Parse {
                    path,
                    message: error.to_string(),
                })?
            }
            None => Self::default(),
        };
        settings.overlay(flags)?;
        settings.check()?;
        Ok(settings)
    }

    fn overlay(&mut self, flags: Flags) -> Result<(), ConfigError> {
        let Flags {
            config: _,
            data_dir,
            listen,
            otlp_grpc,
            otlp_http,
            kafka,
            ..
        } = flags;
        macro_rules! over {
            ($($field:ident <- $value:expr;)*) => {
                $(if let Some(value) = $value { self.$field = value; })*
            };
        }
        over! {
            data_dir <- data_dir;
            listen <- listen;
            otlp_grpc <- otlp_grpc;
            otlp_http <- otlp_http;
            poll_interval <- flags.poll_interval;
            retention <- flags.retention;
            retention_size <- flags.retention_size;
            log <- flags.log;
            log_format <- flags.log_format;
        }
        self.auth_token = flags
            .auth_token
            .or_else(|| self.auth_token.take())
            .filter(|t| !t.is_empty());
        self.rules = flags.rules.or_else(|| self.rules.take());
        self.public_url = flags.public_url.or_else(|| self.public_url.take());
        self.allow_anonymous |= flags.allow_anonymous;
        for text in kafka.iter().filter(|text| !text.trim().is_empty()) {
            let cluster = parse_cluster(text)?;
            // A named cluster of the file keeps its other settings and gets the new addresses.
            match self
                .kafka
                .iter_mut()
                .find(|c| !c.name.is_empty() && c.name == cluster.name)
            {
                Some(known) => known.bootstrap = cluster.bootstrap,
                None => self.kafka.push(cluster),
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), ConfigError> {
        let mut unnamed = 0;
        let mut names = std::collections::BTreeSet::new();
        for cluster in &mut self.kafka {
            if cluster.name.is_empty() {
                unnamed += 1;
                cluster.name = if unnamed == 1 {
                    "kafka".to_owned()
                } else {
                    format!("kafka-{unnamed}")
                };
            }
            let value = || cluster.name.clone();
            if !cluster
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            {
                let problem =
                    "a cluster's name has letters, digits, '.', '_' and '-' only".to_owned();
                return Err(ConfigError::Value {
                    key: "kafka.name",
                    value: value(),
                    problem,
                });
            }
            if !names.insert(cluster.name.clone()) || cluster.name == "unknown" {
                let problem = "this name is taken".to_owned();
                return Err(ConfigError::Value {
                    key: "kafka.name",
                    value: value(),
                    problem,
                });
            }
            if cluster.bootstrap.is_empty() {
                let problem = "needs at least one host:port in bootstrap".to_owned();
                return Err(ConfigError::Value {
                    key: "kafka.bootstrap",
                    value: value(),
                    problem,
                });
            }
        }
        let positive = [
            ("poll_interval", self.poll_interval),
            ("retention", self.retention),
            ("lag.mark", self.lag.mark),
            ("lag.window", self.lag.window),
        ];
        if let Some((key, value)) = positive.into_iter().find(|(_, value)| value.0.is_zero()) {
            let problem = "must be more than 0".to_owned();
            return Err(ConfigError::Value {
                key,
                value: value.to_string(),
                problem,
            });
        }
        let receiver = &self.receiver;
        let counts = [
            ("receiver.queue_spans", receiver.queue_spans == 0),
            ("receiver.max_connections", receiver.max_connections == 0),
            ("receiver.max_in_flight", receiver.max_in_flight.0 == 0),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, zero)| *zero) {
            let problem = "must be more than 0".to_owned();
            return Err(ConfigError::Value {
                key,
                value: "0".to_owned(),
                problem,
            });
        }
        let listen = self.listen_address()?;
        if !listen.ip().is_loopback() && self.auth_token.is_none() && !self.allow_anonymous {
            return Err(ConfigError::Anonymous { address: listen });
        }
        self.otlp_grpc_address()?;
        self.otlp_http_address()?;
        self.check_public_url()?;
        self.channels().map(|_| ())
    }

    fn check_public_url(&self) -> Result<(), ConfigError> {
        let web = |url: &&String| url.starts_with("http://") || url.starts_with("https://");
        match self.public_url.as_ref().filter(|url| !web(url)) {
            None => Ok(()),
            Some(url) => Err(ConfigError::Value {
                key: "public_url",
                value: url.clone(),
                problem: "is not an address such as https://highwater.example".to_owned(),
            }),
        }
    }

    /// Where alerts are told; names are told apart.
    pub(crate) fn channels(&self) -> Result<Vec<Channel>, ConfigError> {
        let mut channels: Vec<Channel> = Vec::new();
        for settings in &self.channel {
            let channel =
                Channel::from_settings(settings.clone(), |name| std::env::var(name).ok())?;
            if channels.iter().any(|known| known.name() == channel.name()) {
                return Err(ConfigError::Value {
                    key: "channel.name",
                    value: channel.name().to_owned(),
                    problem: "this name is taken".to_owned(),
                });
            }
            channels.push(channel);
        }
        Ok(channels)
    }

    pub(crate) fn listen_address(&self) -> Result<SocketAddr, ConfigError> {
        resolve("listen", &self.listen)
    }

    pub(crate) fn otlp_grpc_address(&self) -> Result<SocketAddr, ConfigError> {
        resolve("otlp_grpc", &self.otlp_grpc)
    }

    pub(crate) fn otlp_http_address(&self) -> Result<SocketAddr, ConfigError> {
        resolve("otlp_http", &self.otlp_http)
    }

    /// The settings as a file, secrets hidden.
    pub(crate) fn shown(&self) -> anyhow::Result<String> {
        let mut shown = self.clone();
        if shown.auth_token.is_some() {
            shown.auth_token = Some(HIDDEN.to_owned());
        }
        for value in shown
            .kafka
            .iter_mut()
            .flat_map(|cluster| &mut cluster.properties)
        {
            let secret = ["password", "secret", "key.pem", "sasl.jaas", "token"];
            if secret.iter().any(|word| value.0.contains(word)) {
                *value.1 = HIDDEN.to_owned();
            }
        }
        Ok(toml::to_string(&shown)?)
    }
}

const HIDDEN: &str = "(hidden)";

fn resolve(key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    let failed = |problem: String| ConfigError::Value {
        key,
        value: text.to_owned(),
        problem,
    };
    text.to_socket_addrs()
        .map_err(|error| failed(format!("is not an address such as 127.0.0.1:8844: {error}")))?
        .next()
        .ok_or_else(|| failed("names no address".to_owned()))
}

/// Reads `[NAME=]HOST:PORT[,HOST:PORT...]`.
fn parse_cluster(text: &str) -> Result<KafkaSettings, ConfigError> {
    let (name, addresses) = text.split_once('=').unwrap_or(("", text));
    let bootstrap: Vec<String> = addresses
        .split(',')
        .map(str::trim)
        .filter(|a| !a.is_empty())
        .map(str::to_owned)
        .collect();
    let port_missing = |address: &&String| {
        address
            .rsplit_once(':')
            .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
    };
    if let Some(address) = bootstrap.iter().find(port_missing) {
        let problem = format!("{address:?} is not HOST:PORT");
        return Err(ConfigError::Value {
            key: "kafka",
            value: text.to_owned(),
            problem,
        });
    }
    Ok(KafkaSettings {
        name: name.trim().to_owned(),
        bootstrap,
        environment: default_environment(),
        properties: BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{ConfigError, Settings};
    use crate::cli::Flags;

    fn with_file(text: &str, mut flags: Flags) -> Result<Settings, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        flags.config = Some(file.path().to_owned());
        Settings::load(flags)
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let flags = Flags {
            listen: Some("127.0.0.1:9000".into()),
            ..Flags::default()
        };
        let settings = with_file("listen = '127.0.0.1:1'\nretention = '2d'", flags).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:9000");
        assert_eq!(settings.retention.0.as_secs(), 172_800);
        assert_eq!(settings.poll_interval.0.as_secs(), 15);
    }

    #[test]
    fn an_unknown_key_is_refused_and_named() {
        let error = with_file("[lag]\nmarc = '1m'", Flags::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("marc") && error.contains("mark"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_refused_with_key_and_value() {
        let error = with_file("retention = 'soon'", Flags::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("retention") && error.contains("soon"),
            "{error}"
        );
        let error = with_file(
            "[[kafka]]\nname = 'a b'\nbootstrap = ['x:1']",
            Flags::default(),
        );
        assert!(error.unwrap_err().to_string().contains("a b"));
        let flags = Flags {
            kafka: vec!["eu=localhost".into()],
            ..Flags::default()
        };
        assert!(
            with_file("", flags)
                .unwrap_err()
                .to_string()
                .contains("HOST:PORT")
        );
    }

    #[test]
    fn unnamed_clusters_are_numbered_and_named_ones_keep_their_properties() {
        let file = "[[kafka]]\nname = 'eu'\nbootstrap = ['a:1']\n[kafka.properties]\n'sasl.password' = 'hunter2'";
        let flags = Flags {
            kafka: vec!["b:2,c:3".into(), "d:4".into(), "eu=e:5".into()],
            ..Flags::default()
        };
        let settings = with_file(file, flags).unwrap();
        let names: Vec<_> = settings
            .kafka
            .iter()
            .map(|c| (c.name.as_str(), c.bootstrap.len()))
            .collect();
        assert_eq!(names, [("eu", 1), ("kafka", 2), ("kafka-2", 1)]);
        assert_eq!(settings.kafka[0].bootstrap, ["e:5"]);
        let shown = settings.shown().unwrap();
        assert!(
            !shown.contains("hunter2") && shown.contains("(hidden)"),
            "{shown}"
        );
    }

    #[test]
    fn a_non_loopback_address_without_a_token_is_refused() {
        let flags = || Flags {
            listen: Some("0.0.0.0:8844".into()),
            ..Flags::default()
        };
        assert!(matches!(
            with_file("", flags()),
            Err(ConfigError::Anonymous { .. })
        ));
        assert!(with_file("auth_token = 't'", flags()).is_ok());
        assert!(with_file("allow_anonymous = true", flags()).is_ok());
    }

    #[test]
    fn what_config_prints_can_be_read_back() {
        let settings = with_file("", Flags::default()).unwrap();
        let shown = settings.shown().unwrap();
        assert_eq!(with_file(&shown, Flags::default()).unwrap(), settings);
    }
}
