//! WebSocket tunnels: bytes both ways, and an end in order where tidegate is the one that ends them.
//!
//! Bytes pass as they come; `frames` only watches where frames end. When the server drains, or the instance behind the tunnel
//! does, each side gets a close frame behind the frame that is under way towards it ("going away", RFC 6455, section 7.4.1),
//! and some time to answer with its own. A tunnel whose bytes are no WebSocket frames gets none: it goes on, until it ends by
//! itself or is cut off by the drain's deadline; once one of its sides has ended, the other has no longer than for an answer.

pub mod frames;
mod way;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use self::frames::Sender;
use self::way::Way;
use super::alarm::{Alarm, Alarms};
use super::worker::{Stage, Worker};
use crate::lifecycle::lease::Lease;

/// How long both sides may take to answer a close frame, and how long a frame that is under way may stand still before one. For
/// "a reasonable amount of time" (RFC 6455, section 7.1.1): many round trips for a peer that is there, and little beside a
/// drain's deadline, for one that is not keeps an instance from being stopped.
const ANSWER: Duration = Duration::from_secs(5);

/// Carries bytes both ways until both sides have ended, one has failed, or the tunnel has been ended: by the thread's end or
/// that of the lease's instance. `early` is what the backend has sent already. Every read is a sign of life of the lease.
pub async fn carry<C, B>(
    worker: &Worker,
    lease: &Lease,
    client: C,
    (backend, early): (B, BytesMut),
    limits: Limits,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut draining = pin!(lease.instance().draining());
    let mut tunnel = Tunnel::new(client, backend, early, worker.alarms.alarm());
    let watch = Watch::begin(limits, &worker.alarms);
    poll_fn(|cx| {
        if !tunnel.ending && watch.as_ref().is_some_and(|watch| watch.is_over(cx)) {
            if tunnel.is_lost() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            tunnel.end();
        }
        if !tunnel.ending && (worker.stage() >= Stage::Draining || draining.as_mut().poll(cx).is_ready()) {
            tunnel.end();
        }
        tunnel.poll(cx, || {
            lease.touch();
            watch.iter().for_each(Watch::renew);
        })
    })
    .await?;
    if tunnel.ending {
        // A server is who closes first (section 7.1.1), and to the client that is us; the backend's close is not waited for.
        let Tunnel { mut client, mut backend, .. } = tunnel;
        let closed = worker.alarms.within(Some(ANSWER), async { tokio::join!(client.shutdown(), backend.shutdown()) });
        // Either may be gone already.
        drop(closed.await);
    }
    Ok(())
}

/// How long a tunnel may be there; it then ends as in a drain.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Without a byte either way.
    pub idle: Option<Duration>,
    /// From its beginning.
    pub total: Option<Duration>,
}

/// Keeps [`Limits`].
struct Watch {
    limits: Limits,
    alarm: Alarm,
    /// On the thread's coarse clock, both.
    born: u64,
    last: Cell<u64>,
}

impl Watch {
    /// Nothing, where nothing is limited.
    fn begin(limits: Limits, alarms: &Rc<Alarms>) -> Option<Self> {
        let first = limits.idle.into_iter().chain(limits.total).min()?;
        let alarm = alarms.alarm();
        alarm.set(first);
        let born = alarms.now();
        Some(Self { limits, alarm, born, last: Cell::new(born) })
    }

    /// A byte has passed.
    fn renew(&self) {
        self.last.set(self.alarm.alarms().now());
    }

    /// Whether it has been there, or silent, for too long. The task is woken when it has.
    fn is_over(&self, cx: &Context<'_>) -> bool {
        while self.alarm.poll(cx).is_ready() {
            let now = self.alarm.alarms().now();
            let left = |limit: Option<Duration>, since: u64| {
                limit.map(|limit| limit.saturating_sub(Duration::from_millis(now.saturating_sub(since))))
            };
            let left = left(self.limits.idle, self.last.get()).into_iter().chain(left(self.limits.total, self.born));
            match left.min() {
                Some(Duration::ZERO) | None => return true,
                Some(left) => self.alarm.set(left),
            }
        }
        false
    }
}

/// Two connections coupled.
#[derive(Debug)]
struct Tunnel<C, B> {
    client: C,
    backend: B,
    /// From the client to the backend.
    up: Way,
    /// From the backend to the client.
    down: Way,
    /// Goes off when an end takes too long. It also is what wakes the tunnel to look at the thread's stage.
    alarm: Alarm,
    ending: bool,
    /// Of what is no WebSocket, one side has ended, and the alarm is set for the other.
    half_over: bool,
}

impl<C, B> Tunnel<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    fn new(client: C, backend: B, early: BytesMut, alarm: Alarm) -> Self {
        let (up, down) = (Way::from(Sender::Client, BytesMut::new()), Way::from(Sender::Server, early));
        Self { client, backend, up, down, alarm, ending: false, half_over: false }
    }

    /// From now on it is to come to an end.
    fn end(&mut self) {
        self.ending = true;
        self.alarm.set(ANSWER);
    }

    fn poll(&mut self, cx: &mut Context<'_>, on_read: impl Fn()) -> Poll<io::Result<()>> {
        let may_close = self.may_close();
        // The client first: where the backend is gone already, the client still learns why.
        let down = self.down.poll(cx, &mut self.backend, &mut self.client, may_close, &on_read)?;
        let up = self.up.poll(cx, &mut self.client, &mut self.backend, may_close, &on_read)?;
        let is_over =
            if self.ending { self.up.is_over() && self.down.is_over() } else { up.is_ready() && down.is_ready() };
        if is_over {
            return Poll::Ready(Ok(()));
        }
        if self.ending && !self.half_over && self.is_lost() && (up.is_ready() || down.is_ready()) {
            self.half_over = true;
            self.alarm.set(ANSWER);
        }
        while self.alarm.poll(cx).is_ready() {
            self.too_slow()?;
        }
        Poll::Pending
    }

    /// Whether both sides are to get a close frame. Not where one of them has sent its own, for then they are at it by
    /// themselves; and not where one of them sends what is no frame.
    fn may_close(&self) -> bool {
        let ways = [self.up.frames(), self.down.frames()];
        self.ending && ways.iter().all(|frames| !frames.is_lost() && !frames.is_closed())
    }

    /// Whether one side has sent what is no frame.
    fn is_lost(&self) -> bool {
        self.up.frames().is_lost() || self.down.frames().is_lost()
    }

    /// The alarm went off.
    fn too_slow(&mut self) -> io::Result<()> {
        let is_lost = self.is_lost();
        let ways = [&mut self.up, &mut self.down];
        if is_lost && !self.half_over && !ways.iter().any(|way| way.is_closing()) {
            self.alarm.off();
            return Ok(());
        }
        let is_closed = ways.iter().any(|way| way.frames().is_closed());
        // Both have to be asked.
        let moved = ways.map(Way::has_moved).contains(&true);
        // A frame that takes its time is waited for, until one side has nothing more to say.
        if moved && !is_closed && !self.half_over {
            self.alarm.set(ANSWER);
            return Ok(());
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};

    /// What the client gets; to the backend the code is masked.
    const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

    /// Binary frames of five bytes.
    const FROM_CLIENT: &[u8] = b"\x82\x85mask12345";
    const FROM_SERVER: &[u8] = b"\x82\x0512345";

    /// Close frames without a code.
    const CLIENT_CLOSES: &[u8] = b"\x88\x80mask";
    const SERVER_CLOSES: &[u8] = b"\x88\x00";

    /// A tunnel as a task, its two ends, and what tells it to end.
    struct Ends {
        client: DuplexStream,
        backend: DuplexStream,
        end: Rc<Cell<bool>>,
        alarms: Rc<Alarms>,
        reads: Rc<Cell<usize>>,
        task: tokio::task::JoinHandle<io::Result<()>>,
    }

    impl Ends {
        /// Towards each end there is room for so many bytes.
        fn of(room: usize, early: &[u8]) -> Self {
            let alarms = Alarms::new();
            tokio::task::spawn_local(Rc::clone(&alarms).sweep());
            let ((client, client_side), (backend, backend_side)) = (duplex(room), duplex(room));
            let (end, reads) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
            let mut tunnel = Tunnel::new(client_side, backend_side, BytesMut::from(early), alarms.alarm());
            let (told, counted) = (Rc::clone(&end), Rc::clone(&reads));
            let task = tokio::task::spawn_local(async move {
                poll_fn(|cx| {
                    if told.get() && !tunnel.ending {
                        tunnel.end();
                    }
                    tunnel.poll(cx, || counted.set(counted.get() + 1))
                })
                .await
            });
            Self { client, backend, end, alarms, reads, task }
        }

        fn end(&self) {
            self.end.set(true);
            self.alarms.wake_all();
        }

        async fn outcome(self) -> io::Result<()> {
            self.task.await.expect("no panic")
        }
    }

    fn run(test: impl Future<Output = ()>) {
        // The clock goes on only when everybody waits for it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), test);
    }

    /// Lets everything happen that does so by itself.
    async fn settle() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn put(to: &mut DuplexStream, bytes: &[u8]) {
        to.write_all(bytes).await.expect("written");
    }

    async fn take(from: &mut DuplexStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        from.read_exact(&mut bytes).await.expect("so many bytes");
        bytes
    }

    /// Everything up to the end.
    async fn rest(mut from: DuplexStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).await.expect("an end");
        bytes
    }

    fn unmasked(close: &[u8]) -> [u8; 4] {
        let [first, length, a, b, _, _, high, low] = *close else { panic!("not 8 bytes: {close:?}") };
        [first, length ^ 0x80, high ^ a, low ^ b]
    }

    #[test]
    fn a_close_frame_comes_behind_the_frame_that_is_under_way_wherever_that_is() {
        run(async {
            for room in [1, 3, 64] {
                for cut in 0..=FROM_CLIENT.len() {
                    let mut ends = Ends::of(room, b"");
                    let (head, tail) = FROM_CLIENT.split_at(cut);
                    let mut got = Vec::new();
                    for byte in head {
                        put(&mut ends.client, &[*byte]).await;
                        got.extend(take(&mut ends.backend, 1).await);
                    }
                    ends.end();
                    assert_eq!(take(&mut ends.client, 4).await, GOING_AWAY, "nothing is under way to the client");
                    settle().await;
                    if !head.is_empty() {
                        for byte in tail {
                            put(&mut ends.client, &[*byte]).await;
                            got.extend(take(&mut ends.backend, 1).await);
                        }
                        assert_eq!(got, FROM_CLIENT, "cut at {cut}");
                    }
                    assert_eq!(unmasked(&take(&mut ends.backend, 8).await), GOING_AWAY);
                    put(&mut ends.backend, &GOING_AWAY).await;
                    settle().await;
                    assert!(!ends.task.is_finished(), "the client has not answered");
                    put(&mut ends.client, CLIENT_CLOSES).await;
                    ends.task.await.expect("no panic").expect("an end in order");
                    assert!(
                        rest(ends.client).await.is_empty() && rest(ends.backend).await.is_empty(),
                        "one close each"
                    );
                }
            }
        });
    }

    #[test]
    fn one_that_sends_all_the_time_is_cut_between_two_frames() {
        run(async {
            for room in [5, 700, 100_000] {
                let mut ends = Ends::of(room, FROM_SERVER);
                let (mut reading, mut writing) = tokio::io::split(ends.backend);
                let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
                tokio::task::spawn_local(async move {
                    while stopped.try_recv().is_err() {
                        writing.write_all(&FROM_SERVER.repeat(100)).await.expect("somebody reads");
                    }
                    writing.write_all(SERVER_CLOSES).await.expect("somebody reads");
                });
                let mut got = take(&mut ends.client, 1_000).await;
                ends.end.set(true);
                ends.alarms.wake_all();
                while !got.ends_with(&GOING_AWAY) {
                    got.extend(take(&mut ends.client, 1).await);
                }
                let frames = &got[..got.len() - 4];
                assert!(frames == FROM_SERVER.repeat(frames.len() / FROM_SERVER.len()), "{} bytes", frames.len());
                let mut close = [0; 8];
                reading.read_exact(&mut close).await.expect("a close frame");
                assert_eq!(unmasked(&close), GOING_AWAY);
                put(&mut ends.client, CLIENT_CLOSES).await;
                stop.send(()).expect("it sends");
                ends.task.await.expect("no panic").expect("an end in order");
                assert!(rest(ends.client).await.is_empty(), "nothing comes behind a close frame");
            }
        });
    }

    #[test]
    fn a_boundary_in_the_middle_of_a_read_is_enough() {
        run(async {
            let mut ends = Ends::of(64, b"");
            put(&mut ends.backend, &FROM_SERVER[..4]).await;
            assert_eq!(take(&mut ends.client, 4).await, FROM_SERVER[..4]);
            let across = [&FROM_SERVER[4..], &FROM_SERVER[..4]].concat();
            for _ in 0..3 {
                put(&mut ends.backend, &across).await;
                assert_eq!(take(&mut ends.client, across.len()).await, across);
            }
            ends.end();
            settle().await;
            put(&mut ends.backend, &across).await;
            assert_eq!(take(&mut ends.client, 7).await, [&FROM_SERVER[4..], &GOING_AWAY].concat());
            put(&mut ends.backend, &[&FROM_SERVER[4..], SERVER_CLOSES].concat()).await;
            put(&mut ends.client, CLIENT_CLOSES).await;
            ends.task.await.expect("no panic").expect("an end in order");
            assert!(rest(ends.client).await.is_empty());
        });
    }

    #[test]
    fn nobody_who_does_not_answer_is_waited_for_longer_than_some_seconds() {
        run(async {
            let mut ends = Ends::of(64, b"");
            let began = tokio::time::Instant::now();
            ends.end();
            assert_eq!(take(&mut ends.client, 4).await, GOING_AWAY);
            put(&mut ends.client, CLIENT_CLOSES).await;
            assert_eq!(ends.outcome().await.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
            assert!((ANSWER..ANSWER * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
        });
    }

    #[test]
    fn what_is_no_websocket_is_left_alone() {
        run(async {
            let mut ends = Ends::of(64, b"");
            put(&mut ends.client, b"hello").await;
            assert_eq!(take(&mut ends.backend, 5).await, b"hello");
            ends.end();
            tokio::time::sleep(ANSWER * 3).await;
            put(&mut ends.backend, b"hello yourself").await;
            assert_eq!(take(&mut ends.client, 14).await, b"hello yourself");
            drop((ends.client, ends.backend));
            ends.task.await.expect("no panic").expect("both have ended");
        });
    }

    #[test]
    fn what_is_no_websocket_and_half_over_is_not_waited_for_longer_than_some_seconds() {
        run(async {
            for told_first in [true, false] {
                let mut ends = Ends::of(64, b"");
                put(&mut ends.client, b"hello").await;
                assert_eq!(take(&mut ends.backend, 5).await, b"hello");
                if told_first {
                    ends.end();
                    tokio::time::sleep(ANSWER * 3).await;
                }
                ends.client.shutdown().await.expect("it has ended");
                settle().await;
                if !told_first {
                    tokio::time::sleep(ANSWER * 3).await;
                    ends.end();
                }
                let began = tokio::time::Instant::now();
                put(&mut ends.backend, b"the rest").await;
                assert_eq!(take(&mut ends.client, 8).await, b"the rest", "there is time for that");
                assert_eq!(ends.outcome().await.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
                assert!((ANSWER..ANSWER * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
            }
        });
    }

    #[test]
    fn those_who_take_leave_by_themselves_are_not_told_to() {
        run(async {
            let mut ends = Ends::of(64, b"");
            put(&mut ends.client, CLIENT_CLOSES).await;
            assert_eq!(take(&mut ends.backend, 6).await, CLIENT_CLOSES);
            ends.end();
            settle().await;
            let last = [FROM_SERVER, SERVER_CLOSES].concat();
            put(&mut ends.backend, &last).await;
            ends.task.await.expect("no panic").expect("an end in order");
            assert_eq!(rest(ends.client).await, last);
            assert!(rest(ends.backend).await.is_empty());
        });
    }

    #[test]
    fn a_frame_that_takes_its_time_is_waited_for_while_it_moves() {
        run(async {
            let mut ends = Ends::of(64, b"");
            put(&mut ends.client, b"\x82\x8amask").await;
            assert_eq!(take(&mut ends.backend, 6).await, b"\x82\x8amask");
            ends.end();
            for _ in 0..5 {
                tokio::time::sleep(ANSWER / 2).await;
                put(&mut ends.client, b"x").await;
                assert_eq!(take(&mut ends.backend, 1).await, b"x");
            }
            assert!(!ends.task.is_finished());
            assert_eq!(ends.reads.get(), 6, "one for each read");
            assert_eq!(ends.outcome().await.expect_err("it stands still").kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn a_tunnel_that_nobody_holds_up_has_no_buffer() {
        run(async {
            let ((mut client, client_side), (mut backend, backend_side)) = (duplex(1 << 16), duplex(100));
            let mut tunnel = Tunnel::new(client_side, backend_side, BytesMut::new(), Alarms::new().alarm());
            put(&mut client, &[7; 20_000]).await;
            let mut left = 20_000;
            while left > 0 {
                // A task may do only so much in one turn.
                tokio::task::yield_now().await;
                assert!(poll_fn(|cx| Poll::Ready(tunnel.poll(cx, || {}))).await.is_pending());
                assert!(tunnel.up.capacity() <= 8 * 1024 && tunnel.down.capacity() == 0);
                left -= backend.read(&mut [0; 100]).await.expect("more");
            }
            assert_eq!(tunnel.up.capacity(), 0);
        });
    }
}
