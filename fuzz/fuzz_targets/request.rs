#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::request::check;

fuzz_target!(|input: &[u8]| {
    check(input);
});
