#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log_ambassador_fuzz::scanner::check(bytes));
