//! The oracle of `fuzz/`, run with inputs made from its seeds: the same ones each time, so that nothing depends on a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use response::{Case, Class, Outcome};

#[path = "../../fuzz/src/request.rs"]
#[expect(unreachable_pub, reason = "it is public in its own crate")]
mod request;
#[expect(unreachable_pub, reason = "it is public in its own crate")]
#[path = "../../fuzz/src/response/mod.rs"]
mod response;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// What answers are made of, where bytes at random would find nothing.
const PIECES: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b";",
    b",",
    b"0",
    b"5",
    b"\x7f",
    b"\xff",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"content-length: 00005\r\n",
    b"Content-Length: 9223372036854775807\r\n",
    b"Content-Length: 18446744073709551614\r\n",
    b"Content-Length:5,5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\tCHUNKED \r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: Keep-Alive, X\r\n",
    b"X-A: b\r\n c\r\n",
    b"X-A : b\r\n",
    b"X-A:\r\n",
    b": b\r\n",
    OK,
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"000000000000000005",
];

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .expect("the corpus")
        .map(|entry| {
            let entry = entry.expect("an entry");
            (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a seed"))
        })
        .collect();
    // The order of a folder is nobody's promise.
    seeds.sort();
    seeds
}

/// How many inputs are made: more of them, other ones, where `TIDEGATE_ORACLE=<seed>:<inputs>` says so.
fn inputs(usual: usize) -> (u64, usize) {
    let asked = std::env::var("TIDEGATE_ORACLE").ok();
    let parsed = asked.as_deref().and_then(|asked| asked.split_once(':'));
    parsed.and_then(|(seed, inputs)| Some((seed.parse().ok()?, inputs.parse().ok()?))).unwrap_or((4, usual))
}

/// One to four changes, at random places.
fn mutate(random: &mut SmallRng, seeds: &[(String, Vec<u8>)], pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = seeds[random.random_range(0..seeds.len())].1.clone();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..8)).min(bytes.len());
        match random.random_range(0..6) {
            0 => drop(bytes.drain(at..end)),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            2 => {
                let other = &seeds[random.random_range(0..seeds.len())].1;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.random_range(0..=other.len())..]);
            }
            3 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            _ => drop(bytes.splice(at..at, pieces[random.random_range(0..pieces.len())].iter().copied())),
        }
    }
    bytes
}

#[test]
fn what_ours_accepts_hyper_accepts_alike_and_what_ours_alone_refuses_is_listed() {
    let seeds = seeds("response");
    let (seed, inputs) = inputs(12_000);
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut accepted, mut alone) = (0, BTreeSet::new());
    let large = [b"gw".as_slice(), OK, b"X-A: ", &vec![b'a'; 300_000], b"\r\n\r\n"].concat();
    let mutated = (0..inputs).map(|_| mutate(&mut random, &seeds, &PIECES));
    for input in seeds.iter().map(|(_, seed)| seed.clone()).chain([large]).chain(mutated) {
        let Some(case) = Case::of(&input) else { continue };
        match response::check(&case) {
            Outcome::Accepted(_) => accepted += 1,
            Outcome::Refused(_, Some(class)) => drop(alone.insert(class)),
            Outcome::Refused(..) | Outcome::Short => {}
        }
    }
    assert!(accepted > 1_000, "{accepted} accepted: the inputs are too broken to show much");
    let missing: Vec<_> = Class::ALL.into_iter().filter(|class| !alone.contains(class)).collect();
    assert_eq!(missing, [], "classes that nothing is of");
}

#[test]
fn what_is_written_to_a_backend_is_what_it_reads() {
    let seeds = seeds("request");
    let (seed, inputs) = inputs(3_000);
    let mut random = SmallRng::seed_from_u64(seed);
    let pieces = [
        b"\n".as_slice(),
        b":",
        b",",
        b"_",
        b"connection: host, x-forwarded-for, te\n",
        b"connection: close\n",
        b"x-forwarded-for: 6.6.6.6\n",
        b"X-Forwarded-Host:\n",
        b"forwarded: for=6.6.6.6\n",
        b"host: evil\n",
        b"te: trailers\n",
        b"content-length: 5\n",
        b"upgrade: h2c\n",
    ];
    seeds.iter().for_each(|(_, seed)| request::check(seed));
    (0..inputs).for_each(|_| request::check(&mutate(&mut random, &seeds, &pieces)));
}
