//! Memory that is read into, used again and again by one thread: it is in the cache still, and costs no allocation.

use std::cell::RefCell;

use bytes::BytesMut;

/// The most that are kept. Others are freed.
const MOST: usize = 64;

/// Read buffers of one thread, of [`Self::ROOM`] bytes each.
#[derive(Debug, Default)]
pub(super) struct Buffers(RefCell<Vec<BytesMut>>);

impl Buffers {
    /// The head and body of most answers come in one read of so many bytes.
    pub(super) const ROOM: usize = 4 * 1024;

    /// One that is empty and has room.
    pub(super) fn take(&self) -> BytesMut {
        let mut buffer = self.0.borrow_mut().pop().unwrap_or_default();
        // Where an answer is still on its way to a slow client, it has the memory.
        if buffer.try_reclaim(Self::ROOM) { buffer } else { BytesMut::with_capacity(Self::ROOM) }
    }

    /// Takes back what [`Self::take`] gave; what was made larger meanwhile should rather be dropped.
    pub(super) fn give_back(&self, mut buffer: BytesMut) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < MOST {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_nobody_has_any_of_it() {
        let buffers = Buffers::default();
        let read = |buffers: &Buffers| {
            let mut buffer = buffers.take();
            assert!(buffer.is_empty() && buffer.capacity() >= Buffers::ROOM);
            buffer.extend_from_slice(b"an answer");
            let taken = buffer.split_to(9).freeze();
            buffers.give_back(buffer);
            taken
        };
        let first = read(&buffers);
        let place = first.as_ptr();
        let second = read(&buffers);
        assert_ne!(place, second.as_ptr(), "the first is still in use");
        let place = second.as_ptr();
        assert_eq!(&first[..], b"an answer");
        drop(second);
        assert_eq!(read(&buffers).as_ptr(), place);
        assert_eq!(buffers.0.borrow().len(), 1);
    }
}
