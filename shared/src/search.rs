//! The one box.

use crate::wire;

wire! {
    /// `GET /api/v1/search?q=`.
    pub struct SearchResults {
        /// The query.
        pub q: String,
        /// Best first, at most 5 of a kind.
        pub hits: Vec<SearchHit>,
    }

    /// Something found.
    pub struct SearchHit {
        /// `trace`, `journey`, `group`, `topic`, `service`, `dead_letter_topic`.
        pub kind: String,
        /// What to call it.
        pub title: String,
        /// What to know about it.
        pub subtitle: String,
        /// Where to go: a path of the dashboard.
        pub href: String,
        /// Matches the whole query.
        pub exact: bool,
    }
}
