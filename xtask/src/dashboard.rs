//! The dashboard's build: WebAssembly, its glue, hashed names, one page, compressed once.
//!
//! The result is `dashboard/dist`, which the collector embeds. Every file but `index.html` and what stands in
//! `dashboard/public` carries the hash of its content in its name, so that a browser may keep it for ever.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::setup;
use crate::step::{cargo, root, run, step, target};

const STEM: &str = "highwater-dashboard";

/// How to compile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Variant {
    /// Small: what is released.
    Small,
    /// Compiles soon, runs slower, and is several times larger.
    Quick,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Variant::Small => "small",
            Variant::Quick => "quick",
        }
    }
}

/// Builds `dashboard/dist` in `variant`, unless nothing it is made of has changed.
pub(crate) fn build(variant: Variant) -> Result<()> {
    let inputs = format!("{:016x}", inputs()?);
    if built(&inputs) == Some(variant) {
        eprintln!("-> the dashboard is up to date");
        return Ok(());
    }
    make(variant, &inputs)
}

/// Builds `dashboard/dist` unless either variant of it is up to date.
pub(crate) fn build_if_stale() -> Result<()> {
    let inputs = format!("{:016x}", inputs()?);
    match built(&inputs) {
        Some(variant) => {
            eprintln!("-> the dashboard is up to date ({})", variant.name());
            Ok(())
        }
        None => make(Variant::Small, &inputs),
    }
}

fn dist() -> PathBuf {
    root().join("dashboard/dist")
}

fn stamp() -> PathBuf {
    target("dashboard/stamp")
}

/// Says which variant of these inputs stands in `dashboard/dist`.
fn built(inputs: &str) -> Option<Variant> {
    let text = fs::read_to_string(stamp()).ok()?;
    let (name, of) = text.trim().split_once(' ')?;
    if of != inputs || !dist().join("index.html").is_file() {
        return None;
    }
    [Variant::Small, Variant::Quick]
        .into_iter()
        .find(|variant| variant.name() == name)
}

fn make(variant: Variant, inputs: &str) -> Result<()> {
    setup::wasm_target()?;
    let wasm = step("compile the dashboard to WebAssembly", || compile(variant))?;
    step("make the dashboard's page", || {
        let out = target("dashboard/next");
        let _ = fs::remove_dir_all(&out);
        fs::create_dir_all(&out)?;
        let sizes = assemble(&wasm, &out, variant)?;
        replace(&out, &dist())?;
        fs::write(stamp(), format!("{} {inputs}", variant.name()))?;
        eprintln!("   {sizes}");
        Ok(())
    })
}

/// Returns the hash of everything that `dist` is made of.
fn inputs() -> Result<u64> {
    let mut files = Vec::new();
    for folder in ["dashboard", "shared"] {
        list(&root().join(folder), &mut files)?;
    }
    files.retain(|file| !file.starts_with(dist()));
    files.extend(
        ["Cargo.toml", "Cargo.lock", "xtask/src/dashboard.rs"].map(|file| root().join(file)),
    );
    files.sort();
    let mut hash = Xxh3::new();
    for file in files {
        hash.update(file.strip_prefix(root())?.to_string_lossy().as_bytes());
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        hash.update(&content.len().to_le_bytes());
        hash.update(&content);
    }
    Ok(hash.digest())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", folder.display()));
        }
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

fn compile(variant: Variant) -> Result<PathBuf> {
    // A target directory of its own: builds of the collector go on meanwhile.
    let directory = target("wasm");
    let (profile, folder) = match variant {
        Variant::Small => ("wasm", "wasm"),
        Variant::Quick => ("dev", "debug"),
    };
    let mut command = cargo([
        "build",
        "--quiet",
        "--package",
        STEM,
        "--target",
        "wasm32-unknown-unknown",
        "--profile",
        profile,
        "--target-dir",
    ]);
    command.arg(&directory);
    if variant == Variant::Quick {
        // Debug information would be most of what the browser loads.
        command.env("CARGO_PROFILE_DEV_DEBUG", "false");
    }
    run(&mut command)?;
    Ok(directory
        .join("wasm32-unknown-unknown")
        .join(folder)
        .join(format!("{STEM}.wasm")))
}

/// Writes the whole of `dist` into `out` and says how large it is.
fn assemble(wasm: &Path, out: &Path, variant: Variant) -> Result<String> {
    let glue = target("dashboard/glue");
    let _ = fs::remove_dir_all(&glue);
    Bindgen::new()
        .input_path(wasm)
        .web(true)?
        .typescript(false)
        .remove_name_section(variant == Variant::Small)
        .remove_producers_section(variant == Variant::Small)
        .out_name(STEM)
        .generate(&glue)
        .context("cannot make the glue between WebAssembly and the browser")?;

    // What the page's own files are called, by the address they are written with.
    let mut names = BTreeMap::new();
    let mut page = fs::read_to_string(root().join("dashboard/index.html"))
        .context("cannot read dashboard/index.html")?;

    let wasm_name = hashed(
        out,
        &format!("{STEM}.wasm"),
        &fs::read(glue.join(format!("{STEM}_bg.wasm")))?,
    )?;
    let glue_name = hashed(
        out,
        &format!("{STEM}.js"),
        &fs::read(glue.join(format!("{STEM}.js")))?,
    )?;
    copy(&glue.join("snippets"), &out.join("snippets"))?;
    // An own file, because the page's policy runs no inline script.
    let start = format!(
        "import init from \"{glue_name}\";\n\
         init({{ module_or_path: \"{wasm_name}\" }}).catch((error) => {{\n\
         \x20 document.body.textContent = \"The dashboard could not start in this browser: \" + error;\n\
         }});\n"
    );
    let start_name = hashed(out, "start.js", start.as_bytes())?;

    let mut fonts = Vec::new();
    list(&root().join("dashboard/fonts"), &mut fonts)?;
    for file in fonts {
        let name = file_name(&file)?;
        let content = fs::read(&file)?;
        let hashed = hashed(out, &format!("fonts/{name}"), &content)?;
        names.insert(format!("/fonts/{name}"), hashed);
    }
    let mut sheets = Vec::new();
    list(&root().join("dashboard/style"), &mut sheets)?;
    for file in sheets {
        let name = file_name(&file)?;
        let mut text = fs::read_to_string(&file)?;
        for (written, hashed) in &names {
            text = text.replace(written.as_str(), hashed);
        }
        let hashed = hashed(out, &format!("style/{name}"), text.as_bytes())?;
        names.insert(format!("/style/{name}"), hashed);
    }
    copy(&root().join("dashboard/public"), out)?;

    let mut head = String::new();
    if let Some(fonts) = names
        .get("/style/fonts.css")
        .filter(|_| !page.contains("/style/fonts.css"))
    {
        head += &format!("<link rel=\"stylesheet\" href=\"{fonts}\">\n");
    }
    for (written, hashed) in &names {
        page = page.replace(&format!("\"{written}\""), &format!("\"{hashed}\""));
    }
    if let Some(missing) = page
        .split('"')
        .find(|text| text.starts_with("/style/") && !out.join(&text[1..]).is_file())
    {
        bail!("dashboard/index.html names {missing}, which is not in dashboard/style");
    }
    head += &format!(
        "<link rel=\"modulepreload\" href=\"{glue_name}\">\n\
         <link rel=\"preload\" href=\"{wasm_name}\" as=\"fetch\" type=\"application/wasm\" crossorigin>\n\
         <script type=\"module\" src=\"{start_name}\"></script>\n"
    );
    let Some(end) = page.find("</head>") else {
        bail!("dashboard/index.html has no </head>");
    };
    page.insert_str(end, &head);
    fs::write(out.join("index.html"), page)?;

    let wasm_path = out.join(&wasm_name[1..]);
    compress(out, variant)?;
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len() / 1024);
    Ok(format!(
        "{} kB of WebAssembly, {} kB as brotli, {} kB as gzip",
        size(&wasm_path),
        size(&with_suffix(&wasm_path, "br")),
        size(&with_suffix(&wasm_path, "gz")),
    ))
}

/// Writes `content` under `name` with its hash in it, `app.js` as `app-0123456789abcdef.js`; returns its address.
fn hashed(out: &Path, name: &str, content: &[u8]) -> Result<String> {
    let (stem, extension) = name
        .rsplit_once('.')
        .context("a file of the dashboard has no extension")?;
    let name = format!("{stem}-{:016x}.{extension}", xxh3_64(content));
    let path = out.join(&name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("/{name}"))
}

fn file_name(path: &Path) -> Result<&str> {
    path.file_name()
        .and_then(|name| name.to_str())
        .with_context(|| format!("{} has a name that is not UTF-8", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut files = Vec::new();
    list(from, &mut files)?;
    for file in files {
        let destination = to.join(file.strip_prefix(from)?);
        if let Some(folder) = destination.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&file, &destination).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}

/// Puts `.br` and `.gz` beside every file that text compression helps.
fn compress(out: &Path, variant: Variant) -> Result<()> {
    // Brotli's last levels cost seconds of a developer's time each build; a release has them.
    let (brotli_level, gzip_level) = match variant {
        Variant::Small => (11, 9),
        Variant::Quick => (3, 1),
    };
    let mut files = Vec::new();
    list(out, &mut files)?;
    for file in files {
        let compressible = file
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| {
                ["html", "js", "css", "wasm", "svg", "txt"].contains(&extension)
            });
        if !compressible {
            continue;
        }
        let content = fs::read(&file)?;
        let settings = brotli::enc::BrotliEncoderParams {
            quality: brotli_level,
            lgwin: 22,
            ..Default::default()
        };
        let mut small = Vec::new();
        brotli::BrotliCompress(&mut content.as_slice(), &mut small, &settings)?;
        fs::write(with_suffix(&file, "br"), small)?;
        let mut gzip =
            flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(gzip_level));
        gzip.write_all(&content)?;
        fs::write(with_suffix(&file, "gz"), gzip.finish()?)?;
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Puts the folder `new` in the place of `old`; a running collector that reads from disk misses it for a moment only.
fn replace(new: &Path, old: &Path) -> Result<()> {
    let aside = target("dashboard/previous");
    let _ = fs::remove_dir_all(&aside);
    if old.exists() {
        fs::rename(old, &aside).with_context(|| format!("cannot move {}", old.display()))?;
    }
    fs::rename(new, old).with_context(|| format!("cannot move {}", new.display()))?;
    let _ = fs::remove_dir_all(&aside);
    Ok(())
}
