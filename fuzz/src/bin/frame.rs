//! Fuzzes `bytes::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::bytes::frame(input));
