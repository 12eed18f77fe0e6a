//! Fuzzes `bytes::line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::bytes::line(input));
