//! The oracle for answers of backends: whatever our reader accepts, hyper's client accepts with the same status, headers, body,
//! trailers and left-over bytes; what ours alone refuses is of a class in [`Class`]; anything else is a mistake.

mod class;
mod hyper_client;
mod ours;

pub use self::class::Class;

/// What the request was, and what comes back, read by read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The request.
    pub asked: Asked,
    /// What each read gives; then the connection ends.
    pub reads: Vec<Vec<u8>>,
}

/// What the request was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A GET.
    Get,
    /// A HEAD.
    Head,
    /// A GET that asks for a WebSocket.
    Upgrade,
}

impl Case {
    /// A case from any bytes: `g`, `h` or `u` for the request, `w` for one read of everything or another byte for a pattern of
    /// reads, then what the backend sends.
    #[must_use]
    pub fn of(input: &[u8]) -> Option<Self> {
        let [asked, pattern, answer @ ..] = input else { return None };
        let asked = match asked {
            b'h' => Asked::Head,
            b'u' => Asked::Upgrade,
            _ => Asked::Get,
        };
        Some(Self { asked, reads: cut(answer, *pattern) })
    }

    /// All that the backend sends.
    #[must_use]
    pub fn answer(&self) -> Vec<u8> {
        self.reads.concat()
    }
}

/// Cuts bytes into pieces: small and smaller ones for small patterns, larger ones else.
fn cut(mut bytes: &[u8], pattern: u8) -> Vec<Vec<u8>> {
    if pattern == b'w' {
        return if bytes.is_empty() { Vec::new() } else { vec![bytes.to_vec()] };
    }
    let most = [1, 2, 5, 40, 300][usize::from(pattern) % 5];
    let (mut pieces, mut state) = (Vec::new(), u32::from(pattern) + 1);
    while !bytes.is_empty() {
        // Xorshift: some pattern, the same each time.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let (piece, rest) = bytes.split_at((1 + state as usize % most).min(bytes.len()));
        pieces.push(piece.to_vec());
        bytes = rest;
    }
    pieces
}

/// What a reader made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer.
    Accepted(Answer),
    /// It broke off.
    Short,
    /// It is none, or one that could be read two ways; the class, if it is one that ours alone may refuse.
    Refused(String, Option<Class>),
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, sorted by name, but for a plain `Connection: keep-alive`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
    /// Its trailers, sorted by name.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// What follows it.
    pub left: Vec<u8>,
}

/// What our reader makes of a case, once it has been compared with what hyper's client makes of it.
///
/// # Panics
/// They differ in a way that no class allows.
#[must_use]
pub fn check(case: &Case) -> Outcome {
    let (ours, theirs) = (ours::read(case), hyper_client::read(case));
    match (&ours, &theirs) {
        (Outcome::Accepted(_), _) => assert_eq!(ours, theirs, "ours and hyper's, {}", told(case)),
        (Outcome::Refused(_, Some(class)), Outcome::Accepted(_)) => {
            assert!(class.applies(&case.answer()), "{class:?} has nothing to do with it, {}", told(case));
        }
        (_, Outcome::Accepted(_)) => panic!("ours alone refuses: {ours:?}, hyper: {theirs:?}, {}", told(case)),
        _ => {}
    }
    ours
}

fn told(case: &Case) -> String {
    format!("{:?}, reads of {:?}: {}", case.asked, lengths(&case.reads), case.answer().escape_ascii())
}

fn lengths(reads: &[Vec<u8>]) -> Vec<usize> {
    reads.iter().take(20).map(Vec::len).collect()
}

/// Headers as both sides are compared by.
fn sorted(headers: &http::HeaderMap) -> Vec<(String, Vec<u8>)> {
    let plain = |name: &http::HeaderName, value: &[u8]| {
        name == http::header::CONNECTION && value.eq_ignore_ascii_case(b"keep-alive")
    };
    let kept = headers.iter().filter(|(name, value)| !plain(name, value.as_bytes()));
    let mut all: Vec<_> = kept.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    // Stable: values of one name stay in their order.
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
