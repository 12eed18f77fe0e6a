//! Fuzzes `bytes::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::bytes::state(input));
