//! The command line: flags, environment, subcommands.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::units::{Size, Span};

/// See where your events flow, and where they back up.
///
/// Takes OpenTelemetry spans (OTLP) and broker offsets, and shows the flow of events, consumer lag, traces over every
/// hop and dead letters in the browser. Needs no arguments. Settings come from highwater.toml, then from the
/// environment (`HIGHWATER_<FLAG>`), then from flags; the later wins.
#[derive(Parser, Debug)]
#[command(name = "highwater", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the collector and the dashboard; the same as no subcommand
    Serve(Box<Flags>),
    /// Print the effective settings, secrets hidden
    Config(Box<Flags>),
    /// Print a completion script
    Completions {
        /// The shell to complete in
        shell: Shell,
    },
}

#[derive(clap::Args, Debug, Default)]
pub(crate) struct Flags {
    /// Settings file; default: highwater.toml here, then in the user's config directory
    #[arg(long, env = "HIGHWATER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where spans and history are kept; default: the user's data directory
    #[arg(long, env = "HIGHWATER_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Dashboard and API [default: 127.0.0.1:8844]
    #[arg(long, env = "HIGHWATER_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// OTLP over gRPC; port 0 takes any [default: 127.0.0.1:4317]
    #[arg(long, env = "HIGHWATER_OTLP_GRPC", value_name = "ADDR")]
    pub(crate) otlp_grpc: Option<String>,
    /// OTLP over HTTP, protobuf and JSON [default: 127.0.0.1:4318]
    #[arg(long, env = "HIGHWATER_OTLP_HTTP", value_name = "ADDR")]
    pub(crate) otlp_http: Option<String>,
    /// A Kafka cluster to read offsets from; repeatable (in the environment: separated by spaces)
    #[arg(
        long,
        env = "HIGHWATER_KAFKA",
        value_name = "[NAME=]HOST:PORT[,HOST:PORT...]",
        value_delimiter = ' '
    )]
    pub(crate) kafka: Vec<String>,
    /// Time between two reads of a cluster's offsets [default: 15s]
    #[arg(long, env = "HIGHWATER_POLL_INTERVAL", value_name = "DURATION")]
    pub(crate) poll_interval: Option<Span>,
    /// Keep spans this long [default: 7d]
    #[arg(long, env = "HIGHWATER_RETENTION", value_name = "DURATION")]
    pub(crate) retention: Option<Span>,
    /// Keep spans up to this size [default: 50GiB]
    #[arg(long, env = "HIGHWATER_RETENTION_SIZE", value_name = "SIZE")]
    pub(crate) retention_size: Option<Size>,
    /// Token that API, dashboard and OTLP ask for
    #[arg(
        long,
        env = "HIGHWATER_AUTH_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    pub(crate) auth_token: Option<String>,
    /// Allow a non-loopback --listen without a token
    #[arg(long, env = "HIGHWATER_ALLOW_ANONYMOUS")]
    pub(crate) allow_anonymous: bool,
    /// error, warn, info, debug, trace, or filters as tracing takes them [default: info]
    #[arg(long, env = "HIGHWATER_LOG", value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// text or json [default: text]
    #[arg(long, env = "HIGHWATER_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<crate::config::LogFormat>,
}
