//! Log lines: to standard error, so that standard output holds the addresses only.

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::LogFormat;

/// The layout library tells every step of every layout under these names of its own.
const CHATTER: &str = "connected_components=warn,coordinate_calculation=warn,crossing_reduction=warn,\
    crossings_reduction=warn,cut_values=warn,initialization=warn,initializing=warn,layouting=warn,low_lim=warn,\
    ranking=warn,reduce_crossings=warn";

/// Starts logging at `level`, or with filters as tracing takes them (`info,highwater_store=debug`).
pub(crate) fn start(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{CHATTER},{level}")).with_context(|| {
        format!("log = {level:?} is neither a level (info, debug) nor a filter")
    })?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
