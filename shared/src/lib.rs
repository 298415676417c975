//! The wire contract of API and dashboard.
//!
//! Owns: every type that crosses HTTP, in one place, so that the two sides cannot drift apart. Compiles to WebAssembly.
//! Refuses to know: tokio, sqlx, axum, and what the collector's rooms look like inside.
//!
//! JSON is snake_case; instants are RFC 3339 strings with nanoseconds; durations are integers with the unit in the
//! name; ids are lower-case hex; **unknown is `null`, never 0**.

pub mod alerts;
pub mod dead_letters;
pub mod lag;
pub mod problem;
pub mod search;
pub mod status;
pub mod time;
pub mod topology;
pub mod traces;

pub use time::Instant;

/// Derives what every wire type needs.
macro_rules! wire {
    ($($item:item)*) => {
        $(
            #[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
            #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
            $item
        )*
    };
}
pub(crate) use wire;

wire! {
    /// The range an answer is about, snapped outward to bucket edges.
    #[derive(Copy, Default)]
    pub struct Window {
        /// Start of the range: counts, charts and lists are of `from` to `to`.
        pub from: Instant,
        /// End of the range.
        pub to: Instant,
        /// Start of the part that rates and latencies are of: 5 minutes before `to`, or `from` when that is later. Rates of
        /// a group are of its newest readings, and have a `rate_from` of their own.
        pub rate_from: Instant,
    }

    /// How good or bad something is; drawn as colour and shape.
    #[derive(Copy, Eq, Default)]
    #[serde(rename_all = "snake_case")]
    pub enum Level {
        /// Above the mark.
        Critical,
        /// On the way there.
        Warning,
        /// Fine.
        Ok,
        /// Cannot be told.
        #[default]
        Unknown,
    }

    /// What changed, as the event stream says it; carries no page data.
    pub struct Change {
        /// `topology`, `groups`, `brokers`, `dead_letters`, `traces`, `status`, `alerts`.
        pub topic: String,
        /// Rises with every change of that topic.
        pub version: u64,
        /// When.
        pub at: Instant,
    }
}
