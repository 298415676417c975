//! How many files may be open: each connection is one, and the store must still find some.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The OTLP ports, each of which has its own bound on connections.
const PORTS: u64 = 2;
/// Left to the dashboard, which may have half of them, to the store and the brokers: a file of spans has up to four readers
/// of three files each.
const OTHERS: u64 = 2_048;

/// Connections that may be open at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Connections {
    /// To each OTLP port.
    pub(super) otlp: usize,
    /// To the dashboard.
    pub(super) pages: usize,
}

/// Raises the limit on open files as far as a process may, and returns the connections that ports may have: `wanted` to each
/// OTLP port, or fewer where the rest would not be enough.
///
/// The soft limit is 1,024 on most machines, for programs that use `select`. A thousand connections that never ask for
/// anything would reach it, and SQLite could then open no file.
pub(super) fn connections_within_limit(wanted: usize) -> Connections {
    let limit = raised(getrlimit(Resource::Nofile));
    // `None` is no limit.
    let files = limit.current.unwrap_or(u64::MAX);
    let connections = share_of(files, wanted);
    if connections.otlp < wanted {
        tracing::warn!(
            open_files = files,
            needed = needed(wanted),
            connections = connections.otlp,
            wanted,
            "few files may be open, so each OTLP port takes fewer connections than [receiver] max_connections: raise the \
             hard limit (LimitNOFILE= in systemd, --ulimit nofile= in Docker, ulimit -Hn in a shell)"
        );
    }
    connections
}

fn raised(limit: Rlimit) -> Rlimit {
    if limit.current == limit.maximum {
        return limit;
    }
    let wanted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, open_files = ?limit.current, "cannot raise the limit on open files");
            limit
        }
    }
}

fn needed(connections: usize) -> u64 {
    PORTS * connections as u64 + OTHERS
}

/// At most half of a small limit is for OTLP.
fn share_of(files: u64, wanted: usize) -> Connections {
    let others = OTHERS.min(files / 2);
    let most = |files: u64| usize::try_from(files).map_or(usize::MAX, |files| files.max(1));
    Connections {
        otlp: wanted.min(most((files - others) / PORTS)),
        pages: most(others / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::{Connections, needed, share_of};

    #[test]
    fn a_small_limit_takes_connections_and_leaves_files_to_the_others() {
        let shares = |files, wanted| {
            let Connections { otlp, pages } = share_of(files, wanted);
            (otlp, pages)
        };
        assert_eq!(shares(needed(4_096), 4_096), (4_096, 1_024));
        assert_eq!(shares(needed(4_096) - 1, 4_096), (4_095, 1_024));
        assert_eq!(shares(1_024, 4_096), (256, 256));
        assert_eq!(shares(1_024, 100), (100, 256));
        assert_eq!(shares(0, 4_096), (1, 1));
        assert_eq!(shares(u64::MAX, 4_096), (4_096, 1_024));
    }
}
