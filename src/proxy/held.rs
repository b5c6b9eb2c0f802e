//! Bodies of requests that wait: read ahead into memory, bounded each and all together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

/// What small pieces are put together to, in bytes.
const BLOCK: usize = 16 * 1024;

/// How many bytes are held at present, over all threads and versions.
#[derive(Debug, Default)]
pub struct HeldBodies(AtomicU64);

impl HeldBodies {
    fn take(&self, bytes: u64, most: u64) -> bool {
        let next = |held: u64| held.checked_add(bytes).filter(|held| *held <= most);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The part of one body that was read ahead. Counted among all that are held until it is taken or dropped.
#[derive(Debug)]
pub struct HeldBody {
    /// Copies: a piece as it comes may hold on to a buffer much larger than itself.
    blocks: VecDeque<BytesMut>,
    bytes: u64,
    all: Arc<HeldBodies>,
}

impl HeldBody {
    /// Nothing yet.
    #[must_use]
    pub fn among(all: &Arc<HeldBodies>) -> Self {
        Self { blocks: VecDeque::new(), bytes: 0, all: Arc::clone(all) }
    }

    /// Bytes that were not taken yet.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds what has come; false, and without it, where that makes more than `most` bytes over all bodies that are held.
    #[must_use]
    pub fn push(&mut self, data: &[u8], most: u64) -> bool {
        if !self.all.take(data.len() as u64, most) {
            return false;
        }
        self.bytes += data.len() as u64;
        match self.blocks.back_mut() {
            Some(last) if last.capacity() - last.len() >= data.len() => last.extend_from_slice(data),
            _ => {
                // As much again as there is, up to a block: what is allocated is at most about twice what is counted.
                let so_far = usize::try_from(self.bytes).unwrap_or(BLOCK).min(BLOCK);
                let mut block = BytesMut::with_capacity(data.len().max(so_far));
                block.extend_from_slice(data);
                self.blocks.push_back(block);
            }
        }
        true
    }

    /// The next piece, in order.
    pub fn pop(&mut self) -> Option<Bytes> {
        let block = self.blocks.pop_front()?.freeze();
        self.bytes -= block.len() as u64;
        self.all.give_back(block.len() as u64);
        Some(block)
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.all.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_the_count_returns_to_nothing() {
        let all = Arc::new(HeldBodies::default());
        let (mut one, mut two) = (HeldBody::among(&all), HeldBody::among(&all));
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for piece in sent.chunks(999) {
            assert!(one.push(piece, 120_000));
        }
        assert!(one.blocks.len() < 20, "{} blocks", one.blocks.len());
        assert!(two.push(&sent[..20_000], 120_000) && !two.push(b"x", 120_000), "full to the byte");
        let mut received = Vec::new();
        while let Some(piece) = one.pop() {
            received.extend_from_slice(&piece);
        }
        assert!(received == sent);
        assert!(two.push(b"x", 120_000));
        drop((one, two));
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
