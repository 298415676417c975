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

/// Whose a landmark is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subject<'a> {
    /// A group's.
    Group {
        /// Its cluster.
        cluster: &'a str,
        /// Its name.
        group: &'a str,
    },
    /// A service's.
    Service {
        /// Its environment.
        environment: &'a str,
        /// Its name.
        service: &'a str,
    },
}

impl<'a> Subject<'a> {
    /// Reads what [`of_group`] or [`of_service`] wrote; `None` for anything else.
    pub(crate) fn read(subject: &'a str) -> Option<Self> {
        let mut parts = subject.splitn(3, SEPARATOR);
        match (parts.next()?, parts.next()?, parts.next()?) {
            ("group", cluster, group) => Some(Self::Group { cluster, group }),
            ("service", environment, service) => Some(Self::Service {
                environment,
                service,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_as_it_was_written() {
        let (cluster, group) = ("kafka", "billing");
        assert_eq!(
            Subject::read(&of_group(cluster, group)),
            Some(Subject::Group { cluster, group })
        );
        let (environment, service) = ("prod", "pay ments");
        assert_eq!(
            Subject::read(&of_service(environment, service)),
            Some(Subject::Service {
                environment,
                service
            })
        );
        assert_eq!(Subject::read("group"), None);
        assert_eq!(Subject::read("queue\u{1f}a\u{1f}b"), None);
    }
}
