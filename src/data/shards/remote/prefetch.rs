//! Threads that fetch shards ahead of the pictures that are read. How far is a matter of time only: what is not there yet
//! is fetched by who reads it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// Shards that are fetched at a time.
const THREADS: usize = 4;

/// Fetches shards in the order of their first use.
pub(in crate::data::shards) struct Prefetcher {
    shared: Arc<Shared>,
}

struct Shared {
    plan: Mutex<Plan>,
    wake: Condvar,
    fetch: Box<dyn Fn(usize) + Send + Sync>,
}

/// Which shards are wanted.
#[derive(Default)]
struct Plan {
    /// in the order of their first use
    shards: Vec<usize>,
    places: HashMap<usize, usize>,
    /// place of the first shard that is not taken by a thread
    next: usize,
    /// place behind the last shard that may be fetched
    until: usize,
    mix: usize,
    ended: bool,
}

impl Prefetcher {
    /// Threads that call `fetch` with numbers of shards, of which groups of `mix` are read together.
    pub fn new(mix: usize, fetch: impl Fn(usize) + Send + Sync + 'static) -> Self {
        let plan = Mutex::new(Plan { mix: mix.max(1), ..Plan::default() });
        let shared = Arc::new(Shared { plan, wake: Condvar::new(), fetch: Box::new(fetch) });
        for number in 0..THREADS {
            let shared = shared.clone();
            let thread = thread::Builder::new().name(format!("fetch-{number}"));
            // Without threads, shards are fetched when they are read.
            let _ = thread.spawn(move || shared.run());
        }
        Self { shared }
    }

    /// Sets what is read next: the shards of the pictures in the order in which they are read.
    pub fn announce(&self, shards: impl Iterator<Item = usize>) {
        let (mut plan, mut seen) = (self.shared.plan(), HashSet::new());
        plan.shards = shards.filter(|shard| seen.insert(*shard)).collect();
        plan.places = plan.shards.iter().enumerate().map(|(place, shard)| (*shard, place)).collect();
        (plan.next, plan.until) = (0, 2 * plan.mix);
        self.shared.wake.notify_all();
    }

    /// Says that a picture of a shard is read: the group behind that of the shard may be fetched.
    pub fn reached(&self, shard: usize) {
        let mut plan = self.shared.plan();
        let Some(place) = plan.places.get(&shard) else { return };
        let until = (place / plan.mix + 2) * plan.mix;
        if until > plan.until {
            plan.until = until;
            self.shared.wake.notify_all();
        }
    }
}

impl Drop for Prefetcher {
    /// Threads end when what they are fetching has arrived; nothing waits for them.
    fn drop(&mut self) {
        self.shared.plan().ended = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while let Some(shard) = self.next() {
            (self.fetch)(shard);
        }
    }

    /// The next shard to fetch, when there is one; None at the end.
    fn next(&self) -> Option<usize> {
        let mut plan = self.plan();
        loop {
            if plan.ended {
                return None;
            }
            if let Some(shard) = plan.shards.get(plan.next).copied().filter(|_| plan.next < plan.until) {
                plan.next += 1;
                return Some(shard);
            }
            plan = self.wake.wait(plan).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, sync::mpsc, time::Duration};

    #[test]
    fn two_groups_are_fetched_and_one_more_for_each_that_is_reached() {
        let (fetched, arrived) = mpsc::channel();
        let prefetcher = Prefetcher::new(2, move |shard| fetched.send(shard).unwrap());
        let next = |count: usize| -> BTreeSet<usize> {
            let found = (0..count).map(|_| arrived.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
            assert!(arrived.recv_timeout(Duration::from_millis(20)).is_err(), "more was fetched");
            found
        };
        prefetcher.announce([7, 3, 7, 3, 9, 1, 4, 4, 0, 8].into_iter());
        assert_eq!(next(4), [7, 3, 9, 1].into());
        prefetcher.reached(3);
        assert_eq!(next(0), [].into());
        prefetcher.reached(1);
        assert_eq!(next(2), [4, 0].into());
        prefetcher.reached(99);
        prefetcher.announce([5, 6].into_iter());
        assert_eq!(next(2), [5, 6].into());
        drop(prefetcher);
        assert_eq!(arrived.recv_timeout(Duration::from_secs(60)), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
