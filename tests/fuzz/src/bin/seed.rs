//! Writes the first corpus of each target, from the captures of real instrumentation and the stores of earlier formats
//! in `tests/fixtures`, and from the expressions in tests and in the README.
//!
//! Takes the folder to write to; without one it is `corpus`, where cargo-fuzz looks. A target in form, which ends before
//! it is given anything: only so is it linked with what the flags that watch coverage ask for.
#![no_main]

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use highwater_model::Batch;
use highwater_model::normalise::Rules;
use highwater_model::otlp::batch_from_bytes;
use highwater_store::fuzzing;

libfuzzer_sys::fuzz_target!(init: seed_and_end(), |_nothing: &[u8]| {});

fn seed_and_end() {
    let seeded = seed();
    if let Err(error) = &seeded {
        eprintln!("cannot write the first inputs: {error}");
    }
    std::process::exit(i32::from(seeded.is_err()));
}

fn seed() -> std::io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = std::env::args_os().nth(1);
    let corpus = corpus.map_or_else(|| here.join("corpus"), PathBuf::from);
    let fixtures = here.join("../fixtures");
    let requests = requests(&fixtures)?;
    decoder(&requests, &mut Corpus::new(&corpus, "decoder")?)?;
    block(
        &requests,
        &fixtures.join("store/v1"),
        &mut Corpus::new(&corpus, "block")?,
    )?;
    query(&here.join("../.."), &mut Corpus::new(&corpus, "query")?)
}

/// A target's folder.
struct Corpus {
    folder: PathBuf,
    written: usize,
}

impl Corpus {
    fn new(corpus: &Path, target: &str) -> std::io::Result<Self> {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        let written = 0;
        Ok(Self { folder, written })
    }

    /// Inputs that are too large are no help: they are cut by the fuzzer.
    fn add(&mut self, input: &[u8], largest: usize) -> std::io::Result<()> {
        if input.len() > largest {
            return Ok(());
        }
        let name = format!("seed-{:05}", self.written);
        self.written += 1;
        fs::write(self.folder.join(name), input)
    }
}

impl Drop for Corpus {
    fn drop(&mut self) {
        println!("{} inputs in {}", self.written, self.folder.display());
    }
}

/// Each request of each capture, with its spans.
fn requests(fixtures: &Path) -> std::io::Result<Vec<(Vec<u8>, Batch)>> {
    let mut requests = Vec::new();
    for entry in fs::read_dir(fixtures)? {
        let path = entry?.path();
        if path.extension().is_none_or(|kind| kind != "otlp") {
            continue;
        }
        let file = fs::read(&path)?;
        // Each request stands after its length.
        let mut rest = file.as_slice();
        while let Some((head, after)) = rest.split_first_chunk() {
            let length = u32::from_be_bytes(*head) as usize;
            let (request, after) = after
                .split_at_checked(length)
                .ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, path.display().to_string()))?;
            rest = after;
            let (batch, _) = batch_from_bytes(request.to_vec().into(), &Rules::default())
                .map_err(Error::other)?;
            requests.push((request.to_vec(), batch));
        }
    }
    Ok(requests)
}

/// Each span of each capture, and the captures' smaller requests.
fn decoder(requests: &[(Vec<u8>, Batch)], corpus: &mut Corpus) -> std::io::Result<()> {
    for (request, batch) in requests {
        for span in &batch.spans {
            corpus.add(&span.raw, 64 << 10)?;
        }
        corpus.add(request, 64 << 10)?;
    }
    Ok(())
}

/// Blocks of the captures' spans, and those of the first format.
fn block(
    requests: &[(Vec<u8>, Batch)],
    first_format: &Path,
    corpus: &mut Corpus,
) -> std::io::Result<()> {
    const LARGEST: usize = 8 << 10;
    // A request of each few: those of one SDK are much alike.
    for (_, batch) in requests.iter().step_by(5) {
        for seed in fuzzing::block_seeds(batch.clone()) {
            corpus.add(&seed, LARGEST)?;
        }
    }
    for entry in fs::read_dir(first_format)? {
        let packed = entry?.path();
        let name = packed.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("spans-") {
            let dir = tempfile::tempdir()?;
            let file = dir.path().join("spans.db");
            fs::write(&file, zstd::decode_all(fs::File::open(&packed)?)?)?;
            for seed in fuzzing::block_seeds_of_file(&file) {
                corpus.add(&seed, LARGEST)?;
            }
        }
    }
    Ok(())
}

/// What stands in quotes in the tests of the language, and between backticks in the README.
fn query(root: &Path, corpus: &mut Corpus) -> std::io::Result<()> {
    for file in [
        "collector/store/src/query/tests.rs",
        "collector/store/src/suite/properties.rs",
        "dashboard/src/pages/traces/expression.rs",
    ] {
        for line in fs::read_to_string(root.join(file))?.lines() {
            let mut quoted = line.replace("\\\"", "\u{1}");
            quoted.push('"');
            for text in quoted.split('"').skip(1).step_by(2) {
                corpus.add(text.replace('\u{1}', "\"").as_bytes(), 256)?;
            }
        }
    }
    for text in fs::read_to_string(root.join("README.md"))?
        .split('`')
        .skip(1)
        .step_by(2)
    {
        corpus.add(text.as_bytes(), 256)?;
    }
    Ok(())
}
