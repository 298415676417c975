//! A real Chromium through chromedriver, and the few things every browser test does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use thirtyfour::common::log::LoggingPrefsLogLevel;
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, ChromiumLikeCapabilities};

use crate::process::{Process, eventually};

/// How long an element may take to appear.
const WAIT: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A window of 1440 x 900 with an empty profile of its own. It ends when dropped.
#[derive(Debug)]
pub struct Browser {
    /// The window.
    pub driver: WebDriver,
    chromedriver: Chromedriver,
    _profile: tempfile::TempDir,
}

/// Ends its browsers before itself, also when a test fails: chromedriver alone would leave them behind.
#[derive(Debug)]
struct Chromedriver {
    process: Process,
    port: u16,
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        let shutdown = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(
                b"GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            )?;
            stream.read_to_end(&mut Vec::new())?;
            Ok(())
        };
        // It may be gone already; the process itself ends when it is dropped.
        let _ = shutdown();
    }
}

impl Browser {
    /// Starts chromedriver and a headless window.
    ///
    /// # Errors
    ///
    /// When Chromium or chromedriver is missing; `cargo xtask test` installs both.
    pub async fn start() -> Result<Self> {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        let mut process = Process::start("chromedriver", &command)?;
        let line = process
            .line_after("ChromeDriver was started successfully on port", WAIT)
            .await
            .context("is it there? On Debian: apt-get install -y chromium chromium-driver")?;
        let port: u16 = line
            .trim_end_matches('.')
            .parse()
            .context("chromedriver's port")?;
        let chromedriver = Chromedriver { process, port };
        let profile = tempfile::tempdir()?;
        let mut capabilities = ChromeCapabilities::new();
        let profile_argument = format!("--user-data-dir={}", profile.path().display());
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1440,900",
            // Pictures and clicks on something that moves would differ from run to run.
            "--force-prefers-reduced-motion",
            profile_argument.as_str(),
        ] {
            capabilities.add_arg(argument)?;
        }
        capabilities.set_browser_log_level(LoggingPrefsLogLevel::Severe)?;
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await?;
        driver.set_window_rect(0, 0, 1440, 900).await?;
        Ok(Self {
            driver,
            chromedriver,
            _profile: profile,
        })
    }

    /// Waits for an element with this `data-testid`.
    ///
    /// # Errors
    ///
    /// When it does not appear; the page's address and text are in the message.
    pub async fn find(&self, test_id: &str) -> Result<WebElement> {
        self.css(&format!("[data-testid=\"{test_id}\"]")).await
    }

    /// Waits for an element that matches a CSS selector.
    ///
    /// # Errors
    ///
    /// When it does not appear; the page's address and text are in the message.
    pub async fn css(&self, selector: &str) -> Result<WebElement> {
        let found = self
            .driver
            .query(By::Css(selector))
            .wait(WAIT, LOOK)
            .first()
            .await;
        match found {
            Ok(element) => Ok(element),
            Err(error) => {
                let page = self.page().await?;
                Err(anyhow::Error::from(error).context(format!("no {selector} on {page}")))
            }
        }
    }

    /// Waits for an element, brings it into view and clicks it. An element that is drawn anew meanwhile is looked for
    /// again.
    ///
    /// # Errors
    ///
    /// When it does not appear or something lies over it.
    pub async fn click(&self, selector: &str) -> Result<()> {
        eventually(&format!("a click on {selector}"), WAIT, || async {
            let element = self.css(selector).await?;
            element.scroll_into_view().await?;
            element.click().await?;
            Ok(())
        })
        .await
    }

    /// Waits until the page's text contains `text`, whatever the case of its letters.
    ///
    /// # Errors
    ///
    /// When it does not; what the page says is in the message.
    pub async fn says(&self, text: &str) -> Result<()> {
        let wanted = text.to_lowercase();
        eventually(&format!("the page to say {text:?}"), WAIT, || async {
            let page = self.text().await?;
            ensure!(
                page.to_lowercase().contains(&wanted),
                "{}",
                self.page().await?
            );
            Ok(())
        })
        .await
    }

    /// Waits until nothing on the page is loading.
    ///
    /// # Errors
    ///
    /// When something still does after a while.
    pub async fn settled(&self) -> Result<()> {
        self.css("main").await?;
        self.css("body:not(:has([aria-busy=true]))").await?;
        Ok(())
    }

    /// Returns how many elements match a CSS selector now.
    ///
    /// # Errors
    ///
    /// When the driver does not answer.
    pub async fn count(&self, selector: &str) -> Result<usize> {
        Ok(self.driver.find_all(By::Css(selector)).await?.len())
    }

    /// Returns the page's visible text.
    ///
    /// # Errors
    ///
    /// When the driver does not answer.
    pub async fn text(&self) -> Result<String> {
        Ok(self.driver.find(By::Tag("body")).await?.text().await?)
    }

    /// Returns the page's address and the beginning of its text, for messages.
    async fn page(&self) -> Result<String> {
        let text = self.text().await.unwrap_or_else(|error| error.to_string());
        let begin: String = text.chars().take(1_500).collect();
        Ok(format!(
            "{}, which says:\n{begin}",
            self.driver.current_url().await?
        ))
    }

    /// Takes a picture into `target/screenshots/NAME.png`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub async fn screenshot(&self, name: &str) -> Result<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{name}.png"));
        self.driver.screenshot(&path).await?;
        Ok(path)
    }

    /// Shows the page dark or light.
    ///
    /// # Errors
    ///
    /// When the page does not run.
    pub async fn theme(&self, theme: &str) -> Result<()> {
        let script = "document.documentElement.dataset.theme = arguments[0]";
        self.driver.execute(script, vec![theme.into()]).await?;
        Ok(())
    }

    /// Fails if the console has an error: an exception, a refused resource, a request that failed.
    ///
    /// # Errors
    ///
    /// Every error there, one a line.
    pub async fn no_errors(&self) -> Result<()> {
        let log = self.driver.get_log("browser").await?;
        let severe: Vec<String> = log
            .iter()
            .filter(|entry| entry.level == "SEVERE")
            .map(|entry| {
                format!(
                    "{}: {}",
                    entry.source.as_deref().unwrap_or("?"),
                    entry.message
                )
            })
            .collect();
        ensure!(
            severe.is_empty(),
            "the browser's console says:\n{}",
            severe.join("\n")
        );
        Ok(())
    }

    /// Ends the window.
    ///
    /// # Errors
    ///
    /// When the driver does not answer; what it printed is in the message.
    pub async fn quit(self) -> Result<()> {
        let Self {
            driver,
            chromedriver,
            ..
        } = self;
        let printed = || chromedriver.process.output().join("\n");
        driver.quit().await.with_context(printed)
    }
}
