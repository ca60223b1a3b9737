#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shadernet_fuzz::graphs::run(data));
