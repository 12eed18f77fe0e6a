//! Embeds the SmartModules into the program. They are compiled beforehand by `cargo xtask build`, since
//! a build script must not start a second toolchain; without them the program builds, and says so when
//! it needs one.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const MODULES: [&str; 3] = ["access-filter-map", "access-window-aggregate", "access-anomaly"];

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets this for every build script");
    let out = env::var("OUT_DIR").expect("cargo sets this for every build script");
    let built = Path::new(&root).join("smartmodules/target/wasm32-unknown-unknown/release-lto");

    let mut entries = String::new();
    for module in MODULES {
        let file = format!("{}.wasm", module.replace('-', "_"));
        let source = built.join(&file);
        // Also for a file that is not there yet, so that the next build after it appears takes it in.
        println!("cargo::rerun-if-changed={}", source.display());
        if !source.exists() {
            println!("cargo::warning=the SmartModule {module} is not built; run `cargo xtask build`");
            continue;
        }
        fs::copy(&source, Path::new(&out).join(&file))
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", source.display()));
        writeln!(entries, r#"    ("{module}", include_bytes!("{file}")),"#)
            .expect("writing to a string cannot fail");
    }
    let code = format!("pub const MODULES: &[(&str, &[u8])] = &[\n{entries}];\n");
    fs::write(Path::new(&out).join("modules.rs"), code)
        .unwrap_or_else(|error| panic!("cannot write modules.rs into {out}: {error}"));
}
