//! What must not be seen: values that print as `***`.

use std::fmt;
use std::path::PathBuf;

/// A key or a password is never longer; what is longer is another file.
const MAX_BYTES: u64 = 64 * 1024;

/// A value that no log line shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(value: &str) -> Self {
        // A file written by an editor, or by `echo`, ends with a new line.
        Self(value.trim_end_matches(['\r', '\n']).to_owned())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// Where a secret is.
///
/// An environment cannot change while a process runs, so a variable is read once. A file is read at each delivery:
/// mounted secrets are changed under a running process, and the next message should use the new one.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Value(Secret),
    File(PathBuf),
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read {file}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds nothing, or more than any secret.
    #[error("{file} is empty, or larger than 64 KiB")]
    Size {
        /// The file.
        file: PathBuf,
    },
}

impl Source {
    /// Reads the secret; of a file as it is now.
    pub(crate) fn read(&self) -> Result<Secret, SecretError> {
        use std::io::Read;
        let file = match self {
            Self::Value(secret) => return Ok(secret.clone()),
            Self::File(file) => file,
        };
        let mut text = String::new();
        std::fs::File::open(file)
            .and_then(|open| open.take(MAX_BYTES + 1).read_to_string(&mut text))
            .map_err(|source| SecretError::Read {
                file: file.clone(),
                source,
            })?;
        let secret = Secret::new(&text);
        if secret.expose().is_empty() || text.len() as u64 > MAX_BYTES {
            return Err(SecretError::Size { file: file.clone() });
        }
        Ok(secret)
    }
}

/// Returns `text` without the secrets, for answers of servers that repeat what they were sent.
pub(crate) fn scrubbed(text: &str, secrets: &[Option<&Secret>]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().flatten() {
        if !secret.expose().is_empty() {
            text = text.replace(secret.expose(), "***");
        }
    }
    text
}
