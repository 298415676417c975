//! Names of landmarks: what the collector notes beside the figures, and the pages draw beside a curve.

/// A version of a service, the first one seen: no deploy.
pub const VERSION: &str = "version";
/// A service came with another version than before.
pub const DEPLOYED: &str = "deployed";
/// A group's members or what they read changed.
pub const REBALANCED: &str = "rebalanced";
/// Committed offsets went back.
pub const REWOUND: &str = "rewound";

/// Between the parts of a subject; no name has it.
const SEPARATOR: char = '\u{1f}';

/// The subject of a group's landmarks.
#[must_use]
pub fn of_group(cluster: &str, group: &str) -> String {
    format!("group{SEPARATOR}{cluster}{SEPARATOR}{group}")
}

/// The subject of a service's landmarks.
#[must_use]
pub fn of_service(environment: &str, service: &str) -> String {
    format!("service{SEPARATOR}{environment}{SEPARATOR}{service}")
}
