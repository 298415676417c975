//! The binary under test, in a directory of its own, on ports of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;

use crate::process::{Process, binary};

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(30);
/// The binary gives up draining before this.
const DRAIN: Duration = Duration::from_secs(20);

/// A running `highwater`.
#[derive(Debug)]
pub struct Highwater {
    process: Process,
    client: reqwest::Client,
    binary: PathBuf,
    data_dir: PathBuf,
    args: Vec<String>,
    /// `http://127.0.0.1:PORT`: dashboard and API.
    pub dashboard: String,
    /// `http://127.0.0.1:PORT`: OTLP over gRPC.
    pub otlp_grpc: String,
    /// `http://127.0.0.1:PORT`: OTLP over HTTP.
    pub otlp_http: String,
}

impl Highwater {
    /// Starts the binary on `data_dir` with `args` (`--flag=value`) beside free ports.
    ///
    /// # Errors
    ///
    /// When it does not print its addresses.
    pub async fn start(data_dir: &Path, args: &[&str]) -> Result<Self> {
        let binary = binary("HIGHWATER_BIN", "highwater", "highwater")?;
        Self::start_binary(&binary, data_dir, args).await
    }

    /// Starts a build of the binary as [`Self::start`] does.
    ///
    /// # Errors
    ///
    /// When it does not print its addresses.
    pub async fn start_binary(binary: &Path, data_dir: &Path, args: &[&str]) -> Result<Self> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut process = spawn(binary, data_dir, &args)?;
        let dashboard = process.line_after("dashboard", START).await?;
        let otlp_grpc = process.line_after("otlp-grpc", START).await?;
        let otlp_http = process.line_after("otlp-http", START).await?;
        let client = reqwest::Client::builder().timeout(START).build()?;
        let data_dir = data_dir.to_owned();
        Ok(Self {
            process,
            client,
            binary: binary.to_owned(),
            data_dir,
            args,
            dashboard,
            otlp_grpc,
            otlp_http,
        })
    }

    /// Kills it and starts it again on the same data, on the same ports.
    ///
    /// # Errors
    ///
    /// When it does not come up again.
    pub async fn kill_and_restart(mut self) -> Result<Self> {
        self.process.kill()?;
        self.start_again().await
    }

    /// Lets it drain and starts it again on the same data, on the same ports.
    ///
    /// # Errors
    ///
    /// When it does not drain, or does not come up again.
    pub async fn drain_and_restart(mut self) -> Result<Self> {
        let code = self.process.interrupt(DRAIN).await?;
        ensure!(
            code == Some(0),
            "{code:?}:\n{}",
            self.process.output().join("\n")
        );
        self.start_again().await
    }

    async fn start_again(self) -> Result<Self> {
        let addresses = [
            ("--listen", &self.dashboard),
            ("--otlp-grpc", &self.otlp_grpc),
            ("--otlp-http", &self.otlp_http),
        ];
        let mut args = self.args.clone();
        for (flag, address) in addresses {
            let address = address.trim_start_matches("http://");
            args.retain(|arg| !arg.starts_with(&format!("{flag}=")));
            args.push(format!("{flag}={address}"));
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Self::start_binary(&self.binary, &self.data_dir, &args).await
    }

    /// Returns its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns what `GET` of an API path answers, read from JSON.
    ///
    /// # Errors
    ///
    /// When the status is not a success or the body is of another shape; the body is in the message.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let response = self
            .client
            .get(format!("{}{path}", self.dashboard))
            .send()
            .await?;
        let status = response.status();
        let body = response.text().await?;
        if !status.is_success() {
            bail!("GET {path}: {status}: {body}");
        }
        serde_json::from_str(&body).with_context(|| {
            let begin: String = body.chars().take(400).collect();
            format!("GET {path} has another shape: {begin}")
        })
    }

    /// Returns what `GET` of any path answers, as text.
    ///
    /// # Errors
    ///
    /// When the request fails or the status is not a success.
    pub async fn text(&self, path: &str) -> Result<String> {
        let response = self
            .client
            .get(format!("{}{path}", self.dashboard))
            .send()
            .await?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// Asks it to end and returns its exit code with what it printed.
    ///
    /// # Errors
    ///
    /// When it does not drain in time.
    pub async fn interrupt(mut self) -> Result<(Option<i32>, Vec<String>)> {
        let code = self.process.interrupt(DRAIN).await?;
        Ok((code, self.process.output()))
    }

    /// Returns what it printed so far.
    #[must_use]
    pub fn output(&self) -> Vec<String> {
        self.process.output()
    }
}

fn spawn(binary: &Path, data_dir: &Path, args: &[String]) -> Result<Process> {
    let mut command = Command::new(binary);
    command.arg("--data-dir").arg(data_dir);
    for flag in ["--listen", "--otlp-grpc", "--otlp-http"] {
        if !args.iter().any(|arg| arg.starts_with(flag)) {
            command.arg(format!("{flag}=127.0.0.1:0"));
        }
    }
    command.args(args).current_dir(data_dir);
    // Settings of the machine under the test must not reach the binary.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HIGHWATER_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", data_dir);
    Process::start("highwater", &command)
}
