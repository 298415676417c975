//! `cargo xtask fuzz`: builds the targets of `tests/fuzz` with coverage and runs them, each with its bounds.
//!
//! The compiler's coverage pass is asked for by flags that every toolchain has, so that nothing is installed: what the
//! nightly one adds, the sanitizers, looks for faults that Rust without `unsafe` does not have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step::{cargo, output, root, run, step, target};

/// What bounds a target's run.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) runs: u64,
    pub(crate) seconds: Option<u64>,
}

impl Bounds {
    /// What every run of the tests has time for.
    pub(crate) const SHORT: Self = Self {
        runs: 100_000,
        seconds: Some(20),
    };
}

/// A target, the longest input it is given, and its dictionary.
struct Target {
    name: &'static str,
    longest: usize,
    dictionary: Option<&'static str>,
}

const TARGETS: [Target; 3] = [
    Target {
        name: "decoder",
        longest: 4 << 10,
        dictionary: None,
    },
    Target {
        name: "block",
        longest: 4 << 10,
        dictionary: None,
    },
    Target {
        name: "query",
        longest: 256,
        dictionary: Some("query.dict"),
    },
];

/// A target may hold so much memory, and take so long for one input.
const MEBIBYTES_AT_MOST: u32 = 1_024;
const SECONDS_AN_INPUT: u32 = 10;

/// As cargo-fuzz gives them, without a sanitizer.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

/// Runs one target, or all, and fails when one found something.
pub(crate) fn fuzz(only: Option<&str>, bounds: &Bounds) -> Result<()> {
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| only.is_none_or(|only| only == target.name))
        .collect();
    if chosen.is_empty() {
        let names = TARGETS.map(|target| target.name).join(", ");
        bail!(
            "there is no fuzz target {:?}; there are {names}",
            only.unwrap_or_default()
        );
    }
    let programs = step("build the fuzz targets, with coverage", build)?;
    let seeds = target("fuzz/seeds");
    step("make their first inputs", || {
        // What an earlier version made is no help.
        let _ = fs::remove_dir_all(&seeds);
        output(Command::new(programs.join("seed")).arg(&seeds)).map(drop)
    })?;
    let mut found = Vec::new();
    for target in chosen {
        let ran = step(&format!("fuzz {}", target.name), || {
            let ran = target.run(&programs, &seeds, bounds)?;
            println!(
                "{}: {} executions, {} a second, {}",
                target.name,
                ran.executions,
                ran.a_second,
                match &ran.crash {
                    None => "no crash".to_owned(),
                    Some(input) => format!("crashed: {}", input.display()),
                }
            );
            Ok(ran)
        })?;
        found.extend(ran.crash.map(|input| (target.name, input)));
    }
    if let Some((name, input)) = found.first() {
        bail!(
            "{} of the targets crashed; once more: {} {}",
            found.len(),
            programs.join(name).display(),
            input.display()
        );
    }
    Ok(())
}

/// Builds targets and seeds; gives the folder they are in.
fn build() -> Result<PathBuf> {
    let version = output(&mut cargo(["-vV"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("cargo does not say what machine this is")?;
    let folder = target("fuzz/build");
    let mut command = cargo(["build", "--quiet", "--release", "--bins", "--target", host]);
    command
        .arg("--manifest-path")
        .arg(root().join("tests/fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder)
        // Only what is built for the target gets them: a build script could not be linked with them.
        .env("RUSTFLAGS", COVERAGE)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut command)?;
    Ok(folder.join(host).join("release"))
}

/// What a run came to.
struct Ran {
    executions: u64,
    a_second: u64,
    crash: Option<PathBuf>,
}

impl Target {
    fn run(&self, programs: &Path, seeds: &Path, bounds: &Bounds) -> Result<Ran> {
        let corpus = target("fuzz/corpus").join(self.name);
        let crashes = target("fuzz/crashes").join(self.name);
        for folder in [&corpus, &crashes] {
            fs::create_dir_all(folder)?;
        }
        let before = inputs(&crashes)?;
        let mut command = Command::new(programs.join(self.name));
        command
            .arg(format!("-runs={}", bounds.runs))
            .arg(format!("-max_total_time={}", bounds.seconds.unwrap_or(0)))
            .arg(format!("-max_len={}", self.longest))
            .arg(format!("-rss_limit_mb={MEBIBYTES_AT_MOST}"))
            .arg(format!("-timeout={SECONDS_AN_INPUT}"))
            .args(["-print_final_stats=1", "-verbosity=0", "-len_control=0"])
            .arg(format!("-artifact_prefix={}/", crashes.display()));
        if let Some(dictionary) = self.dictionary {
            let dictionary = root().join("tests/fuzz").join(dictionary);
            command.arg(format!("-dict={}", dictionary.display()));
        }
        // What is found goes into the first folder, and is where the next run begins.
        let ended = command
            .args([&corpus, &seeds.join(self.name)])
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start the fuzz target {}", self.name))?;
        let told = String::from_utf8_lossy(&ended.stderr);
        let number = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|number| number.trim().parse().ok())
        };
        let crash = inputs(&crashes)?
            .into_iter()
            .find(|input| !before.contains(input));
        if !ended.status.success() {
            eprint!("{told}");
            if crash.is_none() {
                bail!("the fuzz target {} ended with {}", self.name, ended.status);
            }
        }
        Ok(Ran {
            executions: number("stat::number_of_executed_units:").unwrap_or(0),
            a_second: number("stat::average_exec_per_sec:").unwrap_or(0),
            crash,
        })
    }
}

fn inputs(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    entries.collect()
}
