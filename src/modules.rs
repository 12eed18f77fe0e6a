//! The SmartModules that were built into this program.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use runtime::ModuleMark;
use sink::Modules;

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// The three SmartModules.
///
/// # Errors
/// When the program was built without them, or with some of other sources than its own.
pub fn load() -> Result<Modules> {
    Ok(Modules {
        filter_map: module("access-filter-map")?,
        window_aggregate: module("access-window-aggregate")?,
        anomaly: module("access-anomaly")?,
    })
}

fn module(name: &str) -> Result<Arc<[u8]>> {
    let found = MODULES.iter().find(|(known, _)| *known == name);
    let (_, wasm) = found.with_context(|| {
        format!("this program was built without the SmartModule {name}; build it with `cargo xtask build`")
    })?;
    ensure!(
        ModuleMark::read(wasm) == Some(ModuleMark::of_this_build(name)),
        "this program was built with a SmartModule {name} of other sources; build both with `cargo xtask build`"
    );
    Ok(Arc::from(*wasm))
}
