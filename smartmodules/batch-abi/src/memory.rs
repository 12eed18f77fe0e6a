//! The exported functions' bodies: the host writes its input where [`alloc`] says, calls, and reads the
//! output during the import `copy_records`.

use std::cell::RefCell;

use fluvio_smartmodule::dataplane::core::Decoder;
use fluvio_smartmodule::dataplane::smartmodule::{
    SmartModuleAggregateOutput, SmartModuleInitErrorStatus, SmartModuleInitInput, SmartModuleInitOutput,
    SmartModuleInitRuntimeError, SmartModuleKind, SmartModuleOutput, SmartModuleTransformErrorStatus,
    SmartModuleTransformRuntimeError,
};

use crate::BatchModule;
use crate::batch::{Batch, Output, take_counted};

thread_local! {
    /// Where the host writes its input. It grows to the largest batch and stays.
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Where the output is encoded. It grows to the largest output and stays.
    static OUTPUT: RefCell<Output> = RefCell::new(Output::default());
}

#[cfg(target_arch = "wasm32")]
unsafe extern "C" {
    fn copy_records(ptr: i32, len: i32);
}

/// Where the host may write `len` bytes of input; valid until the next call of it.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
extern "C" fn alloc(len: usize) -> *mut u8 {
    INPUT.with_borrow_mut(|input| {
        input.resize(len.max(input.len()), 0);
        input.as_mut_ptr()
    })
}

/// Size of this module's memory in bytes, which never shrinks; zero where it is not WASM.
pub(crate) fn memory_bytes() -> u64 {
    #[cfg(target_arch = "wasm32")]
    const PAGE_BYTES: u64 = 65_536;
    #[cfg(target_arch = "wasm32")]
    return core::arch::wasm32::memory_size(0) as u64 * PAGE_BYTES;
    #[cfg(not(target_arch = "wasm32"))]
    0
}

/// Body of `init`. Zero when the parameters are right, else a status, with the reason handed to the host.
pub fn call_init<M: BatchModule>(module: &mut Option<M>, ptr: *mut u8, len: usize, version: i32) -> i32 {
    let version = wire_version(version);
    with_input(ptr, len, |mut bytes| {
        let mut input = SmartModuleInitInput::default();
        if input.decode(&mut bytes, version).is_err() {
            return SmartModuleInitErrorStatus::DecodingInput as i32;
        }
        match M::new(params(&input, version)) {
            Ok(new) => {
                *module = Some(new);
                0
            }
            Err(hint) => {
                let error = SmartModuleInitRuntimeError { hint };
                hand_over(|output| output.replace(&SmartModuleInitOutput { error }, version));
                SmartModuleInitErrorStatus::InitError as i32
            }
        }
    })
}

/// Body of `filter_map`.
pub fn call<M: BatchModule>(module: &mut Option<M>, ptr: *mut u8, len: usize, version: i32) -> i32 {
    let version = wire_version(version);
    with_input(ptr, len, |bytes| {
        let Some((batch, _)) = Batch::decode(bytes, version) else {
            return SmartModuleTransformErrorStatus::DecodingBaseInput as i32;
        };
        hand_over(|output| match run(module, &batch, &[], output) {
            Ok(()) => output.finish(),
            Err(hint) => output.replace(&error_output(hint, &batch, SmartModuleKind::FilterMap), version),
        })
    })
}

/// Body of `aggregate`.
pub fn call_aggregate<M: BatchModule>(module: &mut Option<M>, ptr: *mut u8, len: usize, version: i32) -> i32 {
    let version = wire_version(version);
    with_input(ptr, len, |bytes| {
        let decoded = Batch::decode(bytes, version)
            .and_then(|(batch, mut rest)| take_counted(&mut rest).map(|accumulator| (batch, accumulator)));
        let Some((batch, accumulator)) = decoded else {
            return SmartModuleTransformErrorStatus::DecodingBaseInput as i32;
        };
        hand_over(|output| match run(module, &batch, accumulator, output) {
            Ok(()) => output.finish_aggregate(),
            Err(hint) => {
                let base = error_output(hint, &batch, SmartModuleKind::Aggregate);
                output.replace(&SmartModuleAggregateOutput::new(base, Vec::new()), version)
            }
        })
    })
}

fn run<M: BatchModule>(
    module: &mut Option<M>,
    batch: &Batch,
    accumulator: &[u8],
    output: &mut Output,
) -> Result<(), String> {
    output.start();
    module.as_mut().ok_or("init was not called")?.run(batch, accumulator, output)
}

/// What tells the host, and so its log, why the stream ends here.
fn error_output(hint: String, batch: &Batch, kind: SmartModuleKind) -> SmartModuleOutput {
    let offset = batch.base_offset;
    let error = SmartModuleTransformRuntimeError { hint, offset, kind, ..Default::default() };
    SmartModuleOutput::with_error(Vec::new(), Some(error))
}

fn hand_over<T>(fill: impl FnOnce(&mut Output) -> T) -> T {
    OUTPUT.with_borrow_mut(|output| {
        let result = fill(output);
        #[cfg(target_arch = "wasm32")]
        // SAFETY: the host reads `len` bytes at `ptr` before it returns from the outer call, and `OUTPUT` is
        // not touched before the next one.
        unsafe {
            copy_records(output.bytes().as_ptr() as i32, output.bytes().len() as i32);
        }
        result
    })
}

fn with_input<T>(ptr: *mut u8, len: usize, read: impl FnOnce(&[u8]) -> T) -> T {
    // SAFETY: the host calls with the address that `alloc` gave it and the number of bytes that it wrote
    // there, and nothing else touches `INPUT` during the call.
    read(unsafe { std::slice::from_raw_parts(ptr, len) })
}

fn wire_version(version: i32) -> i16 {
    i16::try_from(version).unwrap_or(i16::MAX)
}

/// The parameters as a map; Fluvio's type only gives them out one by one, so they are encoded and read again.
fn params(input: &SmartModuleInitInput, version: i16) -> std::collections::BTreeMap<String, String> {
    use fluvio_smartmodule::dataplane::core::Encoder;
    let (mut bytes, mut map) = (Vec::new(), std::collections::BTreeMap::new());
    let encoded = input.params.encode(&mut bytes, version);
    match encoded.and_then(|()| map.decode(&mut bytes.as_slice(), version)) {
        Ok(()) => map,
        Err(_) => std::collections::BTreeMap::new(),
    }
}
