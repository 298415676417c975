//! Writes the first corpus of each target from the captures of real instrumentation in `tests/fixtures`.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

use highwater_model::normalise::Rules;
use highwater_model::otlp::batch_from_bytes;

fn main() -> std::io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    decoder(&here.join("../fixtures"), &here.join("corpus/decoder"))
}

/// Each distinct span of each capture, and the captures' smaller requests.
fn decoder(fixtures: &Path, corpus: &Path) -> std::io::Result<()> {
    const LARGEST: usize = 64 << 10;
    fs::create_dir_all(corpus)?;
    let mut written = 0;
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
            let inputs = batch
                .spans
                .iter()
                .map(|span| (span.hash, &*span.raw))
                .chain([(length as u64, request)]);
            for (name, input) in inputs.filter(|(_, input)| input.len() <= LARGEST) {
                fs::write(corpus.join(format!("{name:016x}")), input)?;
                written += 1;
            }
        }
    }
    println!("{written} inputs in {}", corpus.display());
    Ok(())
}
