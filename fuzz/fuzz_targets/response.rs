#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::response::{Case, check};

fuzz_target!(|input: &[u8]| {
    if let Some(case) = Case::of(input) {
        let _ours = check(&case);
    }
});
