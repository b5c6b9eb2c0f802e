//! A PROXY header is read alike however it is cut: every proper part of one is only a part, and what follows changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::proxy::proxy_protocol::{Parsed, parse};

fuzz_target!(|input: &[u8]| {
    let whole = parse(input);
    for cut in 0..input.len() {
        match (parse(&input[..cut]), whole) {
            (Ok(Parsed::More), Ok(Parsed::Whole { length, .. })) => assert!(cut < length && length <= input.len()),
            (Ok(Parsed::More), _) => {}
            (said, _) => assert_eq!(said, whole, "said after {cut} bytes"),
        }
    }
});
