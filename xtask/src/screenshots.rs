//! `cargo xtask screenshots`: every page of the running demo, dark and light.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::demo::{Demo, Options, interrupted};
use crate::guard::Guarded;
use crate::step::{step, target};
use crate::{http, setup};

/// Long enough for rates, a few retries and the first dead letters, and for the consumer that becomes slow after a
/// minute to fall behind its mark.
const WARM_UP: Duration = Duration::from_secs(150);

/// Runs the demo for a while and takes every page into `target/screenshots`.
pub(crate) fn take() -> Result<()> {
    setup::browser()?;
    let mut demo = Demo::start(&Options {
        kafka: None,
        calm: false,
        port: 0,
        duration: None,
        open: false,
    })?;
    step("let the shop work for a while", || {
        let end = Instant::now() + WARM_UP;
        while Instant::now() < end {
            demo.check()?;
            if interrupted() {
                bail!("interrupted");
            }
            // The shop works meanwhile; between two looks nothing is to do.
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    })?;
    let taken = step("take the pages", || pages(demo.address));
    demo.stop()?;
    println!("{} pictures in {}", taken?, target("screenshots").display());
    Ok(())
}

fn pages(address: SocketAddr) -> Result<usize> {
    let folder = target("screenshots");
    fs::create_dir_all(&folder)?;
    let mut pages = vec![
        // Of the time that the demo has run: an hour would be empty for the most part.
        ("overview", "/?from=now-5m".to_owned()),
        ("map", "/map".to_owned()),
        ("map-table", "/map?view=table".to_owned()),
        ("traces", "/traces".to_owned()),
        ("lag", "/lag?from=now-5m".to_owned()),
        ("lag-group", "/lag/demo/billing?from=now-5m".to_owned()),
        ("dead-letters", "/dead-letters".to_owned()),
        (
            "dead-letters-topic",
            "/dead-letters/demo/orders.billing.dlt".to_owned(),
        ),
        ("alerts", "/alerts?from=now-5m".to_owned()),
        ("alerts-rule", "/alerts?rule=time-lag".to_owned()),
        ("journey", "/journeys/ORD-0001".to_owned()),
        ("health", "/settings/health".to_owned()),
    ];
    let traces: Value = serde_json::from_str(&http::get(address, "/api/v1/traces?limit=1")?)?;
    if let Some(trace) = traces["traces"][0]["trace_id"].as_str() {
        pages.push(("trace", format!("/traces/{trace}")));
    }
    let mut taken = 0;
    for (theme, scheme) in [("dark", 0), ("light", 1)] {
        let browser = Browser::start(scheme)?;
        for (name, path) in &pages {
            browser.picture(
                &format!("http://{address}{path}"),
                &folder.join(format!("{name}-{theme}.png")),
            )?;
            taken += 1;
        }
    }
    Ok(taken)
}

/// A headless window, spoken to over WebDriver. Chromium's own `--screenshot` cannot tell when a page that holds an
/// event stream has been drawn.
struct Browser {
    address: SocketAddr,
    session: String,
    _driver: Guarded,
}

impl Browser {
    /// Opens a window whose system theme is `scheme`: 0 dark, 1 light.
    fn start(scheme: u8) -> Result<Browser> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let driver = Guarded::start(
            Command::new("chromedriver").arg(format!("--port={port}")),
            |command| {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            },
        )?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while http::get(address, "/status").is_err() {
            if Instant::now() > deadline {
                bail!("chromedriver did not answer within 20 s");
            }
            // Chromedriver only tells that it listens by answering.
            thread::sleep(Duration::from_millis(50));
        }
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--force-prefers-reduced-motion",
            &format!("--blink-settings=preferredColorScheme={scheme}"),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let opened = http::ask(address, "POST", "/session", &wanted.to_string())?;
        let opened: Value = serde_json::from_str(&opened)?;
        let session = opened["value"]["sessionId"]
            .as_str()
            .context("chromedriver opened no session")?
            .to_owned();
        let browser = Browser {
            address,
            session,
            _driver: driver,
        };
        // The page itself: a window's size is with its frame.
        let page = json!({
            "cmd": "Emulation.setDeviceMetricsOverride",
            "params": { "width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": false },
        });
        browser.tell("POST", "goog/cdp/execute", &page)?;
        Ok(browser)
    }

    /// Takes a page once its text has not changed for a second.
    fn picture(&self, url: &str, file: &Path) -> Result<()> {
        self.tell("POST", "url", &json!({ "url": url }))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        // Nothing while something loads; numbers change all the time.
        let text = json!({
            "script": "return document.querySelector('[aria-busy=true]') ? '' : document.body.innerText.replace(/[0-9]+/g, '')",
            "args": [],
        });
        let (mut last, mut since) = (Value::Null, Instant::now());
        while Instant::now() < deadline && since.elapsed() < Duration::from_secs(1) {
            let now = self.tell("POST", "execute/sync", &text)?;
            if now != last || now.as_str().is_none_or(|text| text.trim().is_empty()) {
                (last, since) = (now, Instant::now());
            }
            thread::sleep(Duration::from_millis(100));
        }
        let picture = self.tell("GET", "screenshot", &Value::Null)?;
        let picture = base64::engine::general_purpose::STANDARD
            .decode(picture.as_str().context("chromedriver took no picture")?)?;
        fs::write(file, picture).with_context(|| format!("cannot write {}", file.display()))
    }

    fn tell(&self, method: &str, command: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = http::ask(
            self.address,
            method,
            &format!("/session/{}/{command}", self.session),
            &body,
        )?;
        let mut answer: Value = serde_json::from_str(&answer)?;
        Ok(answer["value"].take())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closes Chromium, which chromedriver started and would leave behind.
        let _ = http::ask(
            self.address,
            "DELETE",
            &format!("/session/{}", self.session),
            "",
        );
    }
}
