//! A client, as the proxy behaves for it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate::lifecycle::lease::Lease;
use tidegate::lifecycle::unit::{AcquireError, State, Unit};
use tidegate::telemetry::counters::{Class, Sample};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::invariants::BACKOFF;
use super::plan::{Kind, Story, Visit};
use super::random::Random;
use super::trace::Event;
use super::world::{Phase, World};

pub(super) struct Client {
    pub(super) world: Rc<World>,
    pub(super) generation: usize,
    pub(super) unit: Arc<Unit>,
    pub(super) visit: Visit,
    pub(super) story: Story,
}

impl Client {
    pub(super) async fn come(self) {
        let mut random = Random::new(self.visit.chance);
        let (lease, waited) = match self.unit.acquire(random.next()) {
            Some(lease) => (lease, false),
            // What is ignored wakes nothing.
            None if self.visit.kind == Kind::Ignored => return,
            None => {
                self.world.busy(self.generation);
                let lease = self.wait().await;
                if lease.is_none() {
                    // It is answered an error, and was traffic all the same.
                    self.count(false);
                }
                self.world.idle(self.generation);
                let Some(lease) = lease else { return };
                (lease, true)
            }
        };
        self.world.generation(self.generation).unanswered += u32::from(waited);
        self.hold(lease, waited, &mut random).await;
    }

    async fn wait(&self) -> Option<Lease> {
        let since = Instant::now();
        let (start_timeout, max_waiting) = {
            let generation = self.world.generation(self.generation);
            (generation.tunables.start_timeout, generation.tunables.max_waiting)
        };
        let waiting = match self.unit.wait() {
            Ok(waiting) => waiting,
            Err(error) => {
                let crowded = self.unit.waiting() >= max_waiting;
                self.refused(&error, since, crowded);
                if self.unit.state() == State::Asleep {
                    self.is_woken().await;
                }
                return None;
            }
        };
        self.world.note(Event::Waits);
        self.world.generation(self.generation).waiting += 1;
        let patience = self.visit.patience.filter(|patience| *patience < start_timeout);
        let called = timeout_at(since + patience.unwrap_or(start_timeout), waiting).await;
        self.world.generation(self.generation).waiting -= 1;
        match called {
            Ok(Ok(lease)) => Some(lease),
            Ok(Err(error)) => {
                self.refused(&error, since, false);
                None
            }
            Err(_) if patience.is_some() => {
                self.world.note(Event::Left);
                None
            }
            Err(_) => {
                self.waited_in_vain(since);
                None
            }
        }
    }

    /// Where nobody may wait, the version comes up for those who come again.
    async fn is_woken(&self) {
        sleep(Duration::from_millis(2)).await;
        let asleep = self.unit.state() == State::Asleep && self.world.generation(self.generation).told == 0;
        self.world.holds(!asleep, || "a request is refused and wakes nothing".to_owned());
    }

    /// A request that is refused has a reason.
    fn refused(&self, error: &AcquireError, since: Instant, crowded: bool) {
        let (what, why) = {
            let generation = self.world.generation(self.generation);
            let failed = generation.failed.is_some_and(|at| at.elapsed() <= BACKOFF);
            match error {
                AcquireError::Gone => ("gone", generation.leaving.is_some()),
                AcquireError::Failed { .. } => ("failed", failed),
                AcquireError::Timeout => ("timeout", failed),
                AcquireError::Full { .. } => ("full", crowded || generation.disturbed + BACKOFF >= since),
            }
        };
        self.world.note(Event::Refused(what));
        self.world.holds(why, || format!("a request is refused without a reason: {error}"));
    }

    fn waited_in_vain(&self, since: Instant) {
        self.world.note(Event::Refused("waited in vain"));
        let reason = {
            let generation = self.world.generation(self.generation);
            let limited = generation.tunables.max_concurrency.is_some() && self.story != Story::Calm;
            limited || generation.disturbed >= since || generation.told > 0
        };
        self.world.holds(reason, || format!("a request has waited for {:?} without a reason", since.elapsed()));
    }

    async fn hold(&self, mut lease: Lease, waited: bool, random: &mut Random) {
        let number = usize::from(lease.instance().endpoint().port) - 1;
        let died = self.world.leased(self.generation, number, lease.instance());
        if random.chance(1) {
            lease.instance().connect_failed();
        }
        let until = Instant::now() + self.visit.hold;
        let gone = gone(&self.world, number, &died);
        // The others have their answer when they are over.
        let answered = self.visit.kind == Kind::Tunnel;
        if answered {
            self.world.generation(self.generation).unanswered -= u32::from(waited);
            lease.answered();
        }
        match self.visit.kind {
            Kind::Request => {
                self.world.busy(self.generation);
                tokio::select! { biased; () = gone => {}, () = sleep_until(until) => {} }
                self.count(false);
                self.world.idle(self.generation);
            }
            Kind::Ignored => {
                lease.make_quiet();
                tokio::select! { biased; () = gone => {}, () = sleep_until(until) => {} }
                self.count(true);
            }
            Kind::Tunnel => {
                self.count(false);
                self.world.stir(self.generation);
                lease.make_quiet();
                let life = self.tunnel(&lease, until, random);
                tokio::select! { biased; () = gone => {}, () = life => {} }
            }
        }
        self.world.note(Event::Back(number));
        if !answered {
            self.world.generation(self.generation).unanswered -= u32::from(waited);
        }
        drop(lease);
    }

    async fn tunnel(&self, lease: &Lease, until: Instant, random: &mut Random) {
        loop {
            let next = until.min(Instant::now() + random.millis(500, 20_000));
            tokio::select! {
                biased;
                () = lease.instance().draining() => return sleep(random.millis(0, 2_000)).await,
                () = sleep_until(next) => {}
            }
            if next == until {
                return;
            }
            lease.touch();
            self.world.stir(self.generation);
        }
    }

    /// The request is over.
    fn count(&self, ignored: bool) {
        if ignored {
            self.unit.ignored();
        }
        let elapsed_us = u64::try_from(self.visit.hold.as_micros()).expect("short");
        self.unit.counters().record(0, &Sample { class: Class::Success, elapsed_us, bytes_in: 0, bytes_out: 0 });
    }
}

/// The connection breaks, for nothing is left of the instance.
async fn gone(world: &World, number: usize, died: &Notify) {
    let told = died.notified();
    if world.phase(number) != Phase::Over {
        told.await;
    }
    sleep(Duration::from_millis(1)).await;
}
