//! The ABI of a SmartModule that gets one whole stored batch and gives few large records: the exported
//! functions by hand, because those of Fluvio's derive macro leak their output with every call. Input and
//! output live in two buffers that are reused, so guest memory stays flat however much flows through.
//!
//! This is the only place with `unsafe`. A module calls [`export_filter_map!`] or [`export_aggregate!`].

mod batch;
mod memory;

pub use batch::{Batch, Output, Record};
pub use fluvio_smartmodule::dataplane::smartmodule::SmartModuleExtraParams;

#[doc(hidden)]
pub use memory::{call, call_aggregate, call_init};

/// A text as an array, for a section of its own.
#[doc(hidden)]
pub const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = text.as_bytes()[i];
        i += 1;
    }
    bytes
}

/// What a module does with a stored batch.
pub trait BatchModule: Sized {
    /// Reads the parameters of the stream, once, before the first batch.
    ///
    /// # Errors
    /// A text that says which parameter is wrong; the stream then does not open.
    fn new(params: std::collections::BTreeMap<String, String>) -> Result<Self, String>;

    /// Runs one stored batch. `accumulator` is what Fluvio hands to a module of kind `aggregate`, else empty.
    ///
    /// # Errors
    /// Only for input that no producer of this project can make, or a bug: the stream ends with the text.
    fn run(&mut self, batch: &Batch, accumulator: &[u8], output: &mut Output) -> Result<(), String>;
}

/// Exports a [`BatchModule`] as a SmartModule of kind `filter_map`. `code_hash` marks its `.wasm`.
#[macro_export]
macro_rules! export_filter_map {
    ($module:ty, $code_hash:expr) => {
        $crate::export_init!($module, $code_hash);

        #[unsafe(no_mangle)]
        extern "C" fn filter_map(ptr: *mut u8, len: usize, version: i32) -> i32 {
            MODULE.with_borrow_mut(|module| $crate::call(module, ptr, len, version))
        }
    };
}

/// Exports a [`BatchModule`] as a SmartModule of kind `aggregate`. `code_hash` marks its `.wasm`.
#[macro_export]
macro_rules! export_aggregate {
    ($module:ty, $code_hash:expr) => {
        $crate::export_init!($module, $code_hash);

        #[unsafe(no_mangle)]
        extern "C" fn aggregate(ptr: *mut u8, len: usize, version: i32) -> i32 {
            MODULE.with_borrow_mut(|module| $crate::call_aggregate(module, ptr, len, version))
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! export_init {
    ($module:ty, $code_hash:expr) => {
        /// What this file is, as two custom sections of it: whoever deploys it compares these, since the
        /// other bytes depend on where it was built.
        #[used]
        #[cfg_attr(target_arch = "wasm32", unsafe(link_section = "streampulse.module"))]
        static MODULE_NAME: [u8; env!("CARGO_PKG_NAME").len()] = $crate::bytes(env!("CARGO_PKG_NAME"));
        #[used]
        #[cfg_attr(target_arch = "wasm32", unsafe(link_section = "streampulse.code_hash"))]
        static CODE_HASH: [u8; 8] = u64::to_le_bytes($code_hash);

        thread_local! {
            /// The module's state: a SmartModule is single-threaded, so this is one static.
            static MODULE: std::cell::RefCell<Option<$module>> = const { std::cell::RefCell::new(None) };
        }

        #[unsafe(no_mangle)]
        extern "C" fn init(ptr: *mut u8, len: usize, version: i32) -> i32 {
            MODULE.with_borrow_mut(|module| $crate::call_init(module, ptr, len, version))
        }
    };
}
