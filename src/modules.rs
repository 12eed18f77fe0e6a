//! The SmartModules that were built into this program.

use std::sync::Arc;

use anyhow::{Context, Result};
use sink::Modules;

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// The three SmartModules.
///
/// # Errors
/// When the program was built without them.
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
    Ok(Arc::from(*wasm))
}
