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
    /// Check, measure, copy or export what is stored; a collector may run meanwhile
    #[command(subcommand)]
    Store(StoreCommand),
    /// Print a completion script
    Completions {
        /// The shell to complete in
        shell: Shell,
    },
}

/// What can be done with a data directory from outside. Everything only reads it.
#[derive(Subcommand, Debug)]
pub(crate) enum StoreCommand {
    /// Read every file whole and say what is damaged
    ///
    /// Compares every page, block checksum, span hash, count and index. Exit code 0: all is well; 1: something is
    /// damaged, or could not be read. Reads as many bytes as are stored.
    Check {
        #[command(flatten)]
        at: StoreFlags,
    },
    /// Sizes by file, spans, bytes a span, oldest and newest, and when retention will begin to remove
    ///
    /// Exit code 0: all is well; 1: a file is damaged, and its spans are not counted.
    Stats {
        #[command(flatten)]
        at: StoreFlags,
        /// The collector's --retention, for the forecast [default: 7d, or the settings file's]
        #[arg(long, env = "HIGHWATER_RETENTION", value_name = "DURATION")]
        retention: Option<Span>,
        /// The collector's --retention-size, for the forecast [default: 50GiB, or the settings file's]
        #[arg(long, env = "HIGHWATER_RETENTION_SIZE", value_name = "SIZE")]
        retention_size: Option<Size>,
    },
    /// Print a trace as OTLP JSON, as a collector takes it
    ///
    /// highwater store export --trace ID | curl -H 'Content-Type: application/json' --data-binary @-
    /// http://127.0.0.1:4318/v1/traces
    #[command(verbatim_doc_comment)]
    Export {
        #[command(flatten)]
        at: StoreFlags,
        /// The trace's id: 32 hexadecimal digits
        #[arg(long, value_name = "ID")]
        trace: String,
    },
    /// Copy the data directory; what was acknowledged before is in the copy
    ///
    /// The copy is a data directory itself: start a collector on it with --data-dir. Needs the space of the original
    /// at most. A copy that was cut off has no catalog.db, and is not taken for a store. A damaged file is copied as it is. Exit
    /// code 0: all is well; 1: a file is damaged, or the copy could not be made.
    Backup {
        #[command(flatten)]
        at: StoreFlags,
        /// Where the copy goes: a new or an empty directory
        #[arg(value_name = "DIR")]
        to: PathBuf,
    },
}

/// Which data directory, and how the answer looks.
#[derive(clap::Args, Debug)]
pub(crate) struct StoreFlags {
    /// Settings file that names the data directory; default: as the collector finds it
    #[arg(long, env = "HIGHWATER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The data directory; default: the collector's
    #[arg(long, env = "HIGHWATER_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
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
    /// Alert rules and maintenance windows (TOML); read again when it changes [default: the built-in rules]
    #[arg(long, env = "HIGHWATER_RULES", value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// How the dashboard is reached from elsewhere: links in alerts begin with it [default: where it listens]
    #[arg(long, env = "HIGHWATER_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
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
