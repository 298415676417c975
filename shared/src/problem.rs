//! Errors: RFC 9457 problem documents.

use crate::wire;

wire! {
    /// An `application/problem+json` body.
    pub struct Problem {
        /// `about:blank`, or a path that names the kind of problem.
        #[serde(rename = "type")]
        pub kind: String,
        /// A short title for the kind of problem.
        pub title: String,
        /// The HTTP status.
        pub status: u16,
        /// What was wrong and what to do, in a sentence.
        pub detail: String,
    }
}
