//! `cargo xtask check`, `test` and `bench`.

use std::fs;

use anyhow::{Result, bail};

use crate::dashboard::{self, Variant};
use crate::demo::{self, binary};
use crate::fuzz;
use crate::release;
use crate::setup;
use crate::step::{cargo, is_there, root, run, step, target};

const DASHBOARD: &str = "highwater-dashboard";
const TESTS: &str = "highwater-tests";

/// Formatting, lints and documentation, with warnings denied.
pub(crate) fn check() -> Result<()> {
    step("formatting", || {
        run(&mut cargo(["fmt", "--all", "--check"]))
    })?;
    step("lints", || {
        run(&mut cargo([
            "clippy",
            "--quiet",
            "--workspace",
            "--exclude",
            DASHBOARD,
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    setup::wasm_target()?;
    step("lints of the dashboard", || {
        let mut command = cargo([
            "clippy",
            "--quiet",
            "--package",
            DASHBOARD,
            "--target",
            "wasm32-unknown-unknown",
        ]);
        command
            .arg("--target-dir")
            .arg(target("wasm"))
            .args(["--", "-D", "warnings"]);
        run(&mut command)
    })?;
    step("documentation", || {
        run(cargo([
            "doc",
            "--quiet",
            "--workspace",
            "--exclude",
            DASHBOARD,
            "--no-deps",
            "--document-private-items",
        ])
        .env("RUSTDOCFLAGS", "-D warnings"))
    })
}

/// Ends a test program that does not end by itself, the longest of which takes four minutes: its output then says which
/// test it was, where a CI that runs out of time says nothing. In the foreground, so that Ctrl-C reaches the tests.
const TIME_LIMIT: &str = "target.'cfg(unix)'.runner = \
    ['timeout', '--verbose', '--foreground', '--kill-after=30', '20m']";

/// Every test there is. `arguments` go to the test programs.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    setup::kafka_jars()?;
    setup::browser()?;
    setup::alert_receivers()?;
    // The tests look at what is released; a developer's quick build will do as well.
    dashboard::build_if_stale()?;
    demo::build()?;
    let bounded = is_there("timeout", "--version");
    let with_programs = |mut command: std::process::Command| {
        if bounded {
            command.args(["--config", TIME_LIMIT]);
        }
        command
            .env("HIGHWATER_BIN", binary("highwater"))
            .env("SHOP_BIN", binary("shop"))
            .arg("--")
            .args(arguments);
        command
    };
    step("tests of the collector, the shop and the whole", || {
        run(&mut with_programs(cargo([
            "test",
            "--workspace",
            "--exclude",
            DASHBOARD,
        ])))
    })?;
    step("tests of the dashboard", || {
        run(&mut with_programs(cargo(["test", "--package", DASHBOARD])))
    })?;
    fuzz::fuzz(None, &fuzz::Bounds::SHORT)
}

/// Builds the dashboard.
pub(crate) fn dashboard(quick: bool) -> Result<()> {
    dashboard::build(if quick {
        Variant::Quick
    } else {
        Variant::Small
    })
}

/// Runs a bench, optimised; without a name, says which there are.
pub(crate) fn bench(name: Option<&str>, trained: bool, arguments: &[String]) -> Result<()> {
    let mut benches = Vec::new();
    for crates in ["collector", ".", "tests"] {
        for entry in fs::read_dir(root().join(crates))? {
            let folder = entry?.path();
            let package = fs::read_to_string(folder.join("Cargo.toml"))
                .ok()
                .and_then(|manifest| manifest.parse::<toml::Table>().ok())
                .and_then(|manifest| {
                    Some(manifest.get("package")?.get("name")?.as_str()?.to_owned())
                });
            let (Some(package), Ok(files)) = (package, fs::read_dir(folder.join("benches"))) else {
                continue;
            };
            for file in files {
                let file = file?.path();
                if let Some(stem) = file
                    .file_stem()
                    .filter(|_| file.extension().is_some_and(|kind| kind == "rs"))
                {
                    benches.push((stem.to_string_lossy().into_owned(), package.clone()));
                }
            }
        }
    }
    benches.sort();
    let Some(wanted) = name else {
        for (bench, package) in benches {
            println!("{bench}  ({package})");
        }
        return Ok(());
    };
    let Some((bench, package)) = benches.iter().find(|(bench, _)| bench == wanted) else {
        bail!("there is no bench {wanted:?}; cargo xtask bench lists them");
    };
    let mut command = cargo(["bench", "--package", package, "--bench", bench, "--"]);
    if package == TESTS {
        // A bench of the whole runs the binary as it is released.
        let binary = if trained {
            release::release(false)?
        } else {
            dashboard::build_if_stale()?;
            step("build the collector, optimised", || {
                run(&mut cargo([
                    "build",
                    "--quiet",
                    "--release",
                    "--package",
                    "highwater",
                ]))
            })?;
            target("release").join("highwater")
        };
        command.env("HIGHWATER_BIN", binary);
    } else if trained {
        bail!("the bench {bench} is of one crate and not of the binary: it runs without --trained");
    }
    run(command.args(arguments))
}
