//! Fuzzes `texts::flags`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::texts::flags(input));
