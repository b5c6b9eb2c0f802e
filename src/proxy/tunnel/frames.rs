//! Where frames begin and end in one direction of a WebSocket (RFC 6455, section 5.2).
//!
//! Only looks: the bytes go on whatever this makes of them. What breaks the framing is followed no further, for then the two
//! ends may not agree on where a frame ends, or speak something else altogether.

/// Who sends. A client masks its frames, a server does not (section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// How far the frames of one direction have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    sender: Sender,
    place: Place,
    closed: bool,
}

/// What the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The first of a frame.
    Boundary,
    /// The one with the mask bit and the short length.
    Length(Kind),
    /// One of a longer length, which only data has.
    LongLength {
        width: Width,
        /// Bytes of it that have come.
        seen: u8,
        /// What they amount to.
        length: u64,
    },
    /// One of the mask or the payload; so many are to come, at least one.
    Rest { kind: Kind, left: u64 },
    /// Nobody knows.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Close,
    /// A ping or a pong.
    Control,
}

/// A length of 126 is one of two bytes to come, 127 one of eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Two,
    Eight,
}

const MASKED: u8 = 0x80;
const MASK_LENGTH: u64 = 4;

/// The second and third reserved bit. The first is that of compression (RFC 7692); no extension has these (IANA, "WebSocket
/// Extension Names"), and none may change where a frame ends.
const RESERVED: u8 = 0x30;

/// The longest payload of a control frame (section 5.5).
const LONGEST_CONTROL: u8 = 125;

impl Frames {
    /// Before the first frame.
    #[must_use]
    pub fn from(sender: Sender) -> Self {
        Self { sender, place: Place::Boundary, closed: false }
    }

    /// Whether a frame has just ended, or none has begun.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.place == Place::Boundary
    }

    /// Whether something came that is no frame. Stays so.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.place == Place::Lost
    }

    /// Whether a whole close frame has passed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Bytes that pass.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = self.pass_frame(bytes);
            bytes = &bytes[passed..];
        }
    }

    /// How many of these bytes belong to the frame under way, or to the next where none is; all of them where that is not known.
    #[must_use]
    pub fn frame_within(mut self, bytes: &[u8]) -> usize {
        self.pass_frame(bytes)
    }

    /// Takes bytes up to the end of a frame; how many that are.
    fn pass_frame(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let (byte, mut taken) = (bytes[at], 1);
            match self.place {
                Place::Boundary => self.place = first(byte),
                Place::Length(kind) => self.length(kind, byte),
                Place::LongLength { width, seen, length } => {
                    self.long_length(width, seen + 1, length << 8 | u64::from(byte));
                }
                Place::Rest { kind, left } => {
                    taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    self.expect(kind, left - taken as u64);
                }
                Place::Lost => return bytes.len(),
            }
            at += taken;
            if self.is_at_boundary() {
                break;
            }
        }
        at
    }

    fn length(&mut self, kind: Kind, byte: u8) {
        let short = byte & !MASKED;
        let is_masked = byte & MASKED != 0;
        if is_masked != (self.sender == Sender::Client) || kind != Kind::Data && short > LONGEST_CONTROL {
            self.place = Place::Lost;
            return;
        }
        match short {
            126 => self.place = Place::LongLength { width: Width::Two, seen: 0, length: 0 },
            127 => self.place = Place::LongLength { width: Width::Eight, seen: 0, length: 0 },
            short => self.expect(kind, u64::from(short) + self.mask()),
        }
    }

    fn long_length(&mut self, width: Width, seen: u8, length: u64) {
        // The shortest way has to be taken, and the highest bit is never set.
        let (bytes, allowed) = match width {
            Width::Two => (2, 126..=0xffff),
            Width::Eight => (8, 0x1_0000..=u64::MAX >> 1),
        };
        if seen < bytes {
            self.place = Place::LongLength { width, seen, length };
        } else if allowed.contains(&length) {
            self.expect(Kind::Data, length + self.mask());
        } else {
            self.place = Place::Lost;
        }
    }

    fn mask(&self) -> u64 {
        match self.sender {
            Sender::Client => MASK_LENGTH,
            Sender::Server => 0,
        }
    }

    /// So many bytes are left of the frame.
    fn expect(&mut self, kind: Kind, left: u64) {
        if left > 0 {
            self.place = Place::Rest { kind, left };
        } else {
            self.place = Place::Boundary;
            self.closed |= kind == Kind::Close;
        }
    }
}

/// A frame's first byte: whether it is the last of its message, reserved bits, and the opcode.
fn first(byte: u8) -> Place {
    let is_last = byte & 0x80 != 0;
    match byte & 0x0f {
        _ if byte & RESERVED != 0 => Place::Lost,
        0..=2 => Place::Length(Kind::Data),
        // A control frame is a message of its own.
        8 if is_last => Place::Length(Kind::Close),
        9 | 10 if is_last => Place::Length(Kind::Control),
        _ => Place::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Sender::{Client, Server};
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A frame with this first byte and a payload of that length.
    fn frame(sender: Sender, first: u8, length: usize) -> Vec<u8> {
        let mask = if sender == Client { MASKED } else { 0 };
        let mut frame = vec![first];
        match length {
            0..=125 => frame.push(mask | u8::try_from(length).expect("small")),
            126..=0xffff => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(length).expect("small").to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        // Payload and mask look like a close frame's head, which must not be taken for one.
        let rest = length + if sender == Client { 4 } else { 0 };
        frame.resize(frame.len() + rest, 0x88);
        frame
    }

    fn after(sender: Sender, bytes: &[u8]) -> Frames {
        let mut frames = Frames::from(sender);
        frames.pass(bytes);
        frames
    }

    #[test]
    fn only_a_whole_frame_stands_at_a_boundary_however_it_is_split() {
        for sender in [Client, Server] {
            for length in [0, 1, 125, 126, 127, 300, 0xffff, 0x1_0000] {
                let frame = frame(sender, 0x82, length);
                let near_the_edges = (1..20.min(frame.len())).chain(frame.len().saturating_sub(6).max(1)..frame.len());
                for cut in near_the_edges {
                    let (head, tail) = frame.split_at(cut);
                    let mut frames = after(sender, head);
                    assert!(!frames.is_at_boundary() && !frames.is_lost(), "{sender:?} {length} cut at {cut}");
                    assert_eq!(frames.frame_within(&[tail, tail].concat()), tail.len());
                    frames.pass(tail);
                    assert!(frames.is_at_boundary() && !frames.is_closed(), "{sender:?} {length} cut at {cut}");
                }
                let mut frames = Frames::from(sender);
                for (number, byte) in frame.iter().enumerate() {
                    frames.pass(&[*byte]);
                    assert_eq!(frames.is_at_boundary(), number + 1 == frame.len(), "{sender:?} {length}: {number}");
                }
            }
        }
    }

    #[test]
    fn a_close_frame_is_noticed_once_all_of_it_has_passed() {
        for sender in [Client, Server] {
            for length in [0, 2, 125] {
                let frame = [frame(sender, 0x89, 3), frame(sender, 0x88, length)].concat();
                assert!(!after(sender, &frame[..frame.len() - 1]).is_closed());
                assert!(after(sender, &frame).is_closed());
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_not_followed() {
        let eight = |length: u64| [&[0x82, 127], &length.to_be_bytes()[..]].concat();
        for (what, bytes) in [
            ("a reserved data opcode", vec![0x83]),
            ("a reserved control opcode", vec![0x8b]),
            ("the second reserved bit", vec![0xa1]),
            ("the third reserved bit", vec![0x91]),
            ("a ping in pieces", vec![0x09]),
            ("a close in pieces", vec![0x08]),
            ("a long ping", vec![0x89, 126]),
            ("a longer pong", vec![0x8a, 127]),
            ("a server's mask", vec![0x82, 0x81]),
            ("125 in two bytes", vec![0x82, 126, 0, 125]),
            ("65535 in eight bytes", eight(0xffff)),
            ("more than 63 bits", eight(1 << 63)),
            ("a line of text", b"hello\n".to_vec()),
        ] {
            assert!(!after(Server, &bytes[..bytes.len() - 1]).is_lost() || what == "a line of text", "{what}");
            let mut frames = after(Server, &bytes);
            assert!(frames.is_lost() && !frames.is_at_boundary(), "{what}");
            assert_eq!(frames.frame_within(b"12345"), 5);
            frames.pass(&frame(Server, 0x88, 0));
            assert!(frames.is_lost() && !frames.is_closed(), "{what}");
        }
        assert!(after(Client, &[0x82, 0x01]).is_lost(), "a client that does not mask");
        assert!(!after(Server, &eight(u64::MAX >> 1)).is_lost());
        assert!(!after(Server, &[0xc1, 5]).is_lost(), "a compressed message");
    }

    fn any_frame() -> impl Strategy<Value = (u8, usize)> {
        let data = (
            prop_oneof![Just(0x00), Just(0x80), Just(0x01), Just(0x82), Just(0xc1)],
            prop_oneof![0_usize..130, 60_000_usize..70_000],
        );
        let control = (prop_oneof![Just(0x89), Just(0x8a)], 0_usize..=125);
        prop_oneof![data, control]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Against the sums of the frames' lengths.
        #[test]
        fn boundaries_are_where_frames_end(
            kinds in vec(any_frame(), 1..8), masked in any::<bool>(), pieces in vec(1_usize..40_000, 1..20),
        ) {
            let sender = if masked { Client } else { Server };
            let all: Vec<Vec<u8>> = kinds.iter().map(|(first, length)| frame(sender, *first, *length)).collect();
            let ends: Vec<usize> = all.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }).collect();
            let bytes = all.concat();
            let (mut frames, mut at) = (Frames::from(sender), 0);
            for piece in pieces.iter().cycle() {
                let rest = &bytes[at..];
                let next_end = ends.iter().find(|end| **end > at).map_or(rest.len(), |end| end - at);
                prop_assert_eq!(frames.frame_within(rest), next_end);
                let piece = &rest[..rest.len().min(*piece)];
                frames.pass(piece);
                at += piece.len();
                prop_assert_eq!(frames.is_at_boundary(), ends.contains(&at));
                if at == bytes.len() {
                    break;
                }
            }
            prop_assert!(!frames.is_closed());
        }

        /// Whatever comes, it says the same however it is split.
        #[test]
        fn any_bytes_are_seen_the_same_in_pieces(bytes in vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>()) {
            for sender in [Client, Server] {
                let whole = after(sender, &bytes);
                let mut one_by_one = Frames::from(sender);
                bytes.iter().for_each(|byte| one_by_one.pass(&[*byte]));
                prop_assert_eq!(whole, one_by_one);
                let cut = cut.index(bytes.len() + 1);
                let mut halves = after(sender, &bytes[..cut]);
                prop_assert!(halves.frame_within(&bytes[cut..]) <= bytes.len() - cut);
                halves.pass(&bytes[cut..]);
                prop_assert_eq!(whole, halves);
            }
        }
    }
}
