//! `cargo xtask screenshots`: every page of the running demo, dark and light.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::demo::{Demo, Options, interrupted};
use crate::step::{output, step, target};
use crate::{http, setup};

/// Long enough for rates, a few retries and the first dead letters.
const WARM_UP: Duration = Duration::from_secs(45);

/// Runs a calm demo for a while and takes every page into `target/screenshots`.
pub(crate) fn take() -> Result<()> {
    setup::browser()?;
    let mut demo = Demo::start(&Options {
        kafka: None,
        calm: true,
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
        ("overview", "/".to_owned()),
        ("map", "/map".to_owned()),
        ("map-table", "/map?view=table".to_owned()),
        ("traces", "/traces".to_owned()),
        ("lag", "/lag".to_owned()),
        ("lag-group", "/lag/demo/billing".to_owned()),
        ("dead-letters", "/dead-letters".to_owned()),
        (
            "dead-letters-topic",
            "/dead-letters/demo/orders.billing.dlt".to_owned(),
        ),
        ("journey", "/journeys/ORD-0001".to_owned()),
        ("health", "/settings/health".to_owned()),
    ];
    let traces: Value = serde_json::from_str(&http::get(address, "/api/v1/traces?limit=1")?)?;
    if let Some(trace) = traces["traces"][0]["trace_id"].as_str() {
        pages.push(("trace", format!("/traces/{trace}")));
    }
    let mut taken = 0;
    for (name, path) in &pages {
        for (theme, scheme) in [("dark", "0"), ("light", "1")] {
            let file = folder.join(format!("{name}-{theme}.png"));
            picture(&format!("http://{address}{path}"), scheme, &file)?;
            taken += 1;
        }
    }
    Ok(taken)
}

fn picture(url: &str, scheme: &str, file: &Path) -> Result<()> {
    let profile = target("screenshots/profile");
    let _ = fs::remove_dir_all(&profile);
    let _ = fs::remove_file(file);
    output(
        Command::new("chromium")
            .args([
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
                "--window-size=1440,900",
                // The page has this long to fetch and draw; the event stream never lets it become idle by itself.
                "--timeout=4000",
            ])
            .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--screenshot={}", file.display()))
            .arg(url),
    )?;
    let _ = fs::remove_dir_all(&profile);
    fs::metadata(file).with_context(|| format!("Chromium took no picture of {url}"))?;
    Ok(())
}
