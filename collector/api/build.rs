//! Makes an empty `dashboard/dist`, so that the collector compiles before the dashboard was ever built.

fn main() {
    let dist = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dashboard/dist");
    if let Err(error) = std::fs::create_dir_all(dist) {
        println!("cargo::warning=cannot create {dist}: {error}");
    }
    // Debug builds read it from disk when asked, so a new dashboard needs no new collector.
    let embeds = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    println!(
        "cargo::rerun-if-changed={}",
        if embeds { dist } else { "build.rs" }
    );
}
