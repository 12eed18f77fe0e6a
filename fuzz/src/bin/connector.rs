//! Fuzzes `texts::connector`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::texts::connector(input));
