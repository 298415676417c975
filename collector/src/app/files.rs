//! How many files may be open: each connection is one, and the store must still find some.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The OTLP ports, each of which has its own bound on connections.
const PORTS: u64 = 2;
/// Left to the store, the dashboard and the brokers: a file of spans has up to four readers of three files each.
const OTHERS: u64 = 1_024;

/// Raises the limit on open files as far as a process may, and returns the connections that each OTLP port may have:
/// `wanted`, or fewer where the rest would not be enough.
///
/// The soft limit is 1,024 on most machines, for programs that use `select`. A thousand connections that never ask for
/// anything would reach it, and SQLite could then open no file.
pub(super) fn connections_within_limit(wanted: usize) -> usize {
    let limit = raised(getrlimit(Resource::Nofile));
    // `None` is no limit.
    let Some(files) = limit.current else {
        return wanted;
    };
    let connections = share_of(files, wanted);
    if connections < wanted {
        tracing::warn!(
            open_files = files,
            needed = needed(wanted),
            connections,
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

/// Connections of one port: at most half of a small limit is for them.
fn share_of(files: u64, wanted: usize) -> usize {
    let others = OTHERS.min(files / 2);
    let most = (files - others) / PORTS;
    usize::try_from(most).map_or(wanted, |most| wanted.min(most.max(1)))
}

#[cfg(test)]
mod tests {
    use super::{needed, share_of};

    #[test]
    fn a_small_limit_takes_connections_and_leaves_files_to_the_others() {
        assert_eq!(share_of(needed(4_096), 4_096), 4_096);
        assert_eq!(share_of(needed(4_096) - 1, 4_096), 4_095);
        assert_eq!(share_of(1_024, 4_096), 256);
        assert_eq!(share_of(1_024, 100), 100);
        assert_eq!(share_of(0, 4_096), 1);
        assert_eq!(share_of(u64::MAX, 4_096), 4_096);
    }
}
