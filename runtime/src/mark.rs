//! What a SmartModule's `.wasm` says of itself in two custom sections: its name, and the hash of the sources
//! it was built from. The rest of its bytes depends on where it was built.

use std::fmt;

use wasmparser::{Parser, Payload};

/// Name and origin of a SmartModule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleMark {
    name: String,
    code_hash: u64,
}

impl ModuleMark {
    /// The mark of a SmartModule built from the same sources as this program.
    pub fn of_this_build(name: &str) -> Self {
        Self { name: name.to_owned(), code_hash: domain::CODE_HASH }
    }

    /// The mark in a `.wasm`; `None` if it is not one of this project's.
    pub fn read(wasm: &[u8]) -> Option<Self> {
        let (mut name, mut code_hash) = (None, None);
        for payload in Parser::new(0).parse_all(wasm) {
            if let Payload::CustomSection(section) = payload.ok()? {
                match section.name() {
                    "streampulse.module" => name = String::from_utf8(section.data().to_vec()).ok(),
                    "streampulse.code_hash" => {
                        code_hash = section.data().try_into().map(u64::from_le_bytes).ok();
                    }
                    _ => {}
                }
            }
        }
        Some(Self { name: name?, code_hash: code_hash? })
    }
}

impl fmt::Display for ModuleMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of code {:016x}", self.name, self.code_hash)
    }
}
