//! What happens in a run, and when: drawn from its seed before it begins.

use std::time::Duration;

use super::random::Random;
use super::tunables::Tunables;

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Story {
    /// Nothing fails and nobody edits: every request is served.
    Calm,
    /// The same at a load that does not change, long enough to see that the instances do not either.
    Steady,
    /// Nothing fails, and people edit, wake, put to sleep, remove and bring back.
    Edited,
    /// For a time all starts fail.
    Failing,
    /// Everything at once.
    Mixed,
}

/// How the provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Every start succeeds, and what runs goes on.
    Well,
    /// Some starts fail, and some of what runs ends by itself.
    Flaky,
    /// Every start fails, or what was started ends within 10 s.
    Broken,
}

/// Who comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    /// A tunnel: quiet, shows life now and then, ends when it is told.
    Tunnel,
    /// Is ignored: wakes nothing, and keeps nothing awake.
    Ignored,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Visit {
    pub(super) kind: Kind,
    /// How long the lease is held.
    pub(super) hold: Duration,
    /// Leaves after so long a wait; before the start timeout, if at all.
    pub(super) patience: Option<Duration>,
    pub(super) chance: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Visit(Visit),
    /// The version is as this from now on.
    Edit(Box<Tunables>),
    Mood(Mood),
    /// One of those that run ends by itself.
    Kill(u64),
    Sleep,
    Knock,
    /// So many run, says the provider.
    Adopt(u32),
    /// The version is removed, with so much time to drain.
    Remove(Duration),
    /// It comes back, if it was removed.
    Return,
    /// What it runs is another program now.
    Replace,
    /// From now on the load stays as it is, and so should the instances.
    Settled,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) first: Tunables,
    /// Whether somebody who waits at the end is still served, or all is stopped at once.
    pub(super) orderly_end: bool,
    pub(super) actions: Vec<(Duration, Action)>,
}

/// The time for draining in all runs; longer than any request.
pub(super) const DRAIN: Duration = Duration::from_secs(25);

struct Draft {
    random: Random,
    story: Story,
    now: Duration,
    tunables: Tunables,
    actions: Vec<(Duration, Action)>,
}

impl Plan {
    pub(super) fn draw(seed: u64, story: Story) -> Self {
        let mut random = Random::new(seed).fork(1);
        let tunables = Tunables::draw(&mut random, story);
        let orderly_end = random.chance(30);
        let mut draft = Draft { random, story, now: Duration::ZERO, tunables: tunables.clone(), actions: Vec::new() };
        match story {
            Story::Steady => draft.steady(),
            Story::Failing => draft.failing(),
            Story::Calm | Story::Edited | Story::Mixed => draft.changing(),
        }
        let mut actions = draft.actions;
        actions.sort_by_key(|(at, _)| *at);
        Self { first: tunables, orderly_end, actions }
    }
}

impl Draft {
    fn act(&mut self, action: Action) {
        self.actions.push((self.now, action));
    }

    fn visit(&mut self, at: Duration) {
        // In a calm run even one instance gets everything done within the start timeout.
        let quick = self.story == Story::Calm && self.tunables.max_concurrency.is_some();
        let random = &mut self.random;
        let kind = match random.between(0, 99) {
            0..10 if !quick => Kind::Tunnel,
            10..18 => Kind::Ignored,
            _ => Kind::Request,
        };
        let hold = match kind {
            Kind::Tunnel => random.millis(0, 60_000),
            _ if quick || random.chance(50) => random.millis(0, 300),
            _ => random.millis(0, 10_000),
        };
        let patience = random.chance(10).then(|| random.millis(0, 15_000));
        self.actions.push((at, Action::Visit(Visit { kind, hold, patience, chance: random.next() })));
    }

    fn burst(&mut self) {
        let within = self.random.between(0, 800);
        for _ in 0..self.random.between(1, 40) {
            let at = self.now + self.random.millis(0, within);
            self.visit(at);
        }
        self.now += self.random.millis(within, within + 12_000);
    }

    fn trickle(&mut self, visits: u64) {
        let every = self.random.between(150, 3_000);
        for _ in 0..self.random.between(3, visits) {
            self.now += self.random.millis(0, 2 * every);
            self.visit(self.now);
        }
    }

    /// Nobody comes, mostly for long enough for the version to sleep.
    fn pause(&mut self) {
        let stop_after = self.tunables.stop_after.unwrap_or(Duration::from_secs(20));
        let length = stop_after.mul_f64(self.random.between(50, 150) as f64 / 100.0);
        self.now += length + self.random.millis(0, 30_000);
    }

    fn changing(&mut self) {
        let until = self.random.millis(50_000, 220_000);
        while self.now < until {
            match self.random.between(0, 9) {
                0..4 => self.burst(),
                4..7 => self.trickle(20),
                _ => self.pause(),
            }
            if self.story != Story::Calm && self.random.chance(45) {
                self.event();
            }
        }
    }

    fn event(&mut self) {
        // Now and then in the middle of what was just begun.
        let before = self.now;
        self.now = self.now.saturating_sub(self.random.millis(0, 9_000));
        let mixed = self.story == Story::Mixed;
        match self.random.between(0, if mixed { 24 } else { 13 }) {
            0..5 => {
                let mut next = Tunables::draw(&mut self.random, self.story);
                if self.random.chance(50) {
                    // Only some of it.
                    next = Tunables { min: self.tunables.min, max: self.tunables.max, ..next };
                }
                self.tunables = next.clone();
                self.act(Action::Edit(Box::new(next)));
            }
            5 | 6 => {
                self.tunables.has_traffic = !self.tunables.has_traffic;
                let next = Box::new(self.tunables.clone());
                self.act(Action::Edit(next));
            }
            7 | 8 => self.act(Action::Sleep),
            9 if self.random.chance(50) => {
                let count = self.random.count(1, 4);
                self.act(Action::Adopt(count));
            }
            9 => self.act(Action::Knock),
            10 => {
                let time = self.random.millis(0, 40_000);
                self.act(Action::Remove(time));
                let back = self.now + self.random.millis(0, 20_000);
                self.actions.push((back, Action::Return));
            }
            11 => self.act(Action::Replace),
            12 | 13 => {
                // Fewer may run than do at the height of a burst.
                self.tunables = Tunables { min: self.tunables.min.min(1), max: 1, ..self.tunables.clone() };
                let next = Box::new(self.tunables.clone());
                self.act(Action::Edit(next));
                if mixed && self.random.chance(50) {
                    let at = self.now + self.random.millis(0, 3_000);
                    let which = self.random.next();
                    self.actions.push((at, Action::Kill(which)));
                }
            }
            14..17 => {
                let which = self.random.next();
                self.act(Action::Kill(which));
            }
            17..20 => self.act(Action::Mood(Mood::Flaky)),
            20 | 21 => self.act(Action::Mood(Mood::Broken)),
            _ => self.act(Action::Mood(Mood::Well)),
        }
        self.now = before;
    }

    fn failing(&mut self) {
        if self.random.chance(50) {
            self.trickle(10);
        }
        self.act(Action::Mood(Mood::Broken));
        let until = self.now + self.random.millis(50_000, 150_000);
        while self.now < until {
            if self.random.chance(30) { self.burst() } else { self.trickle(30) }
        }
        self.act(Action::Mood(Mood::Well));
        let until = self.now + Duration::from_secs(100);
        while self.now < until {
            self.trickle(10);
        }
    }

    fn steady(&mut self) {
        let random = &mut self.random;
        let t = &self.tunables;
        let target = u64::from(t.target.or(t.max_concurrency).expect("a steady version has a target"));
        // So many at a time, between two numbers of instances, whatever share of the target is aimed at.
        let instances = random.between(1, u64::from(t.max).min(3));
        let hold = random.between(2_000, 8_000);
        let per_second = t.is_by_rate();
        let aim = (instances as f64 - 0.5) * target as f64;
        let every = if per_second { 1_000.0 / aim } else { hold as f64 / aim };
        let count = (300_000.0 / every) as u64;
        for visit in 0..count {
            let visit_at = Duration::from_secs_f64(visit as f64 * every / 1_000.0);
            let hold = Duration::from_millis(if per_second { hold.min(800) } else { hold });
            let visit = Visit { kind: Kind::Request, hold, patience: None, chance: self.random.next() };
            self.actions.push((visit_at, Action::Visit(visit)));
        }
        self.actions.push((Duration::from_secs(120), Action::Settled));
    }
}
