//! The binary as it is given out: compiled with a profile of what it did under the load of the benches.
//!
//! The compiler then knows which of two ways is taken, and lays out and inlines what a collector does all day. The load is
//! ingest with its clustering, look-ups and a start after a kill, and the poll of a Kafka cluster. A profile belongs to
//! its compiler and to these versions of all crates: it is made here, and not kept in the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::dashboard::{self, Variant};
use crate::setup;
use crate::step::{cargo, output, run, step, target};

/// Benches of the load, and how often what they count is counted: without, what handles each span hides what answers
/// a question.
const LOAD: [(&str, u32, &[&str]); 3] = [
    ("ingest", 1, &["--spans", "1500000"]),
    // Told by the process after the kill, whose look-ups are always five of a kind.
    ("lookup", 10, &["--spans", "400000", "--lookups", "5"]),
    (
        "poll",
        10,
        &[
            "--groups",
            "50",
            "--topics",
            "20",
            "--partitions",
            "10",
            "--polls",
            "10",
            "--interval-s",
            "1",
        ],
    ),
];

/// Builds the binary, with the profile that is here unless a new one is asked for; gives its path.
pub(crate) fn release(train: bool) -> Result<PathBuf> {
    dashboard::build(Variant::Small)?;
    let profile = target("trained/highwater.profdata");
    if train || !profile.is_file() {
        make_profile(&profile)?;
    } else {
        eprintln!("-> the profile is of an earlier run; --train makes it anew");
    }
    step("build the collector with its profile", || {
        build("trained", &format!("-Cprofile-use={}", profile.display()))
    })
}

/// Runs the load on a binary that counts what it does.
fn make_profile(profile: &Path) -> Result<()> {
    let merge = setup::profile_tool()?;
    setup::kafka_jars()?;
    let counts = target("counted/profiles");
    let binary = step("build the collector so that it counts what it does", || {
        build(
            "counted",
            &format!("-Cprofile-generate={}", counts.display()),
        )
    })?;
    let mut merge = Command::new(merge);
    merge.args(["merge", "--sparse", "--output"]).arg(profile);
    for (bench, weight, arguments) in LOAD {
        let counts = counts.join(bench);
        if counts.exists() {
            fs::remove_dir_all(&counts)?;
        }
        step(&format!("run the load of the bench {bench}"), || {
            let mut command = cargo([
                "bench",
                "--quiet",
                "--package",
                "highwater-tests",
                "--bench",
                bench,
                "--",
            ]);
            command
                .args(arguments)
                .env("HIGHWATER_BIN", &binary)
                .env("LLVM_PROFILE_FILE", counts.join("%p.profraw"));
            output(&mut command).map(drop)
        })?;
        let mut found = false;
        for file in fs::read_dir(&counts)? {
            let file = file?;
            // A process that was killed has told nothing.
            if file.metadata()?.len() > 0 {
                found = true;
                merge.arg(format!(
                    "--weighted-input={weight},{}",
                    file.path().display()
                ));
            }
        }
        ensure!(
            found,
            "the collector told nothing of the bench {bench} into {}",
            counts.display()
        );
    }
    fs::create_dir_all(profile.parent().unwrap_or(profile))?;
    step("put together what was counted", || run(&mut merge))
}

/// Builds the binary into a directory of its own; only it, and not what runs while it is compiled, with the flag.
fn build(directory: &str, flag: &str) -> Result<PathBuf> {
    let host = host()?;
    let mut flags: Vec<String> = std::env::var("RUSTFLAGS")
        .map(|flags| flags.split_whitespace().map(str::to_owned).collect())
        .unwrap_or_default();
    flags.push(flag.to_owned());
    let mut build = cargo(["build", "--quiet", "--release", "--package", "highwater"]);
    build
        .args(["--target", &host, "--target-dir"])
        .arg(target(directory))
        // A path in it may have spaces.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    run(&mut build)?;
    Ok(target(directory)
        .join(host)
        .join("release")
        .join("highwater"))
}

/// The platform that this compiler compiles for.
fn host() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .with_context(|| format!("rustc does not say which host it is for: {version}"))
}
