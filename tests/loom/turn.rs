//! Who was served when.

/// When a request came, joined the line (if it did) and was served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) came: usize,
    pub(crate) joined: Option<usize>,
    pub(crate) served: usize,
}

/// Where there is one slot: whoever came when another was in line already is served after that one.
pub(crate) fn assert_fair(turns: &[Turn]) {
    for first in turns {
        for second in turns {
            let behind = first.joined.is_some_and(|joined| joined < second.came);
            assert!(!behind || first.served <= second.served, "{second:?} overtook {first:?}");
        }
    }
}
