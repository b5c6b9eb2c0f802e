//! What is normalised is in its normal form: normalised once more, it stays.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::model::{host, path};

fuzz_target!(|input: &str| {
    let once = path::normalise(input);
    assert_eq!(path::normalise(&once), once, "of {input:?}");
    if let Some(once) = host::normalise(input) {
        assert_eq!(host::normalise(&once).as_deref(), Some(&*once), "of {input:?}");
    }
});
