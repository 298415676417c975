//! Makes an empty `dashboard/dist`, so that the collector compiles before the dashboard was ever built.

fn main() {
    let dist = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dashboard/dist");
    if let Err(error) = std::fs::create_dir_all(dist) {
        println!("cargo::warning=cannot create {dist}: {error}");
    }
    println!("cargo::rerun-if-changed={dist}");
}
