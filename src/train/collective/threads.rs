//! Ranks that are threads of one process. They leave tensors and bytes in memory that all see, and take those of all. GPUs
//! use it for messages and sum by NCCL; on processors the sums are those of MPI, bit for bit.

use super::{
    operations::{Bucket, Collective, PendingSum, stuck},
    ranks::Ranks,
};
use anyhow::{Result, anyhow, bail, ensure};
use candle_core::Tensor;
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// One rank.
struct ThreadRank {
    rank: usize,
    board: Arc<Board>,
    /// The number of operations that it has begun.
    begun: AtomicU64,
}

/// What the threads of a process see of one another.
struct Board {
    size: usize,
    patience: Duration,
    /// What each rank shows of its progress.
    progress: Vec<AtomicU64>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Operations that some rank has begun and not all have ended, by their number.
    rounds: HashMap<u64, Round>,
    /// Ranks that have left.
    gone: Vec<usize>,
    /// Why the ranks cannot go on.
    failure: Option<String>,
}

/// One operation: what each rank has given, and how many have taken it.
struct Round {
    given: Vec<Option<Gift>>,
    taken: usize,
}

#[derive(Clone)]
enum Gift {
    Bytes(Arc<Vec<u8>>),
    Bucket(Arc<Bucket>),
}

/// So many ranks, each for a thread of its own. One that does not bring its part for longer than `patience` fails the others.
pub fn of_threads(size: usize, patience: Duration) -> Vec<Ranks> {
    let progress = (0..size).map(|_| AtomicU64::new(0)).collect();
    let board =
        Arc::new(Board { size, patience, progress, state: Mutex::default(), changed: Condvar::new() });
    let rank = |rank| ThreadRank { rank, board: board.clone(), begun: AtomicU64::new(0) };
    (0..size).map(|number| Ranks::new(rank(number))).collect()
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, number: u64, rank: usize, gift: Gift) {
        let mut state = self.lock();
        let empty = || Round { given: vec![None; self.size], taken: 0 };
        state.rounds.entry(number).or_insert_with(empty).given[rank] = Some(gift);
        self.changed.notify_all();
    }

    /// What all ranks give to an operation, by rank, once it is there.
    fn take(&self, number: u64, patience: Duration) -> Result<Vec<Gift>> {
        let mut state = self.lock();
        let began = Instant::now();
        loop {
            if let Some(gifts) = state.take(number, self.size) {
                return Ok(gifts);
            }
            if let Some(why) = &state.failure {
                bail!("{why}");
            }
            if let Some(rank) = state.lost(number) {
                bail!("rank {rank} has ended before the others");
            }
            let Some(left) = patience.checked_sub(began.elapsed()) else {
                bail!(stuck(state.absent(number).unwrap_or_default(), patience));
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn take(&mut self, number: u64, size: usize) -> Option<Vec<Gift>> {
        let round = self.rounds.get_mut(&number)?;
        let gifts = round.given.iter().cloned().collect::<Option<Vec<_>>>()?;
        round.taken += 1;
        if round.taken == size {
            self.rounds.remove(&number);
        }
        Some(gifts)
    }

    /// A rank that has left and not given to an operation.
    fn lost(&self, number: u64) -> Option<usize> {
        let round = self.rounds.get(&number)?;
        self.gone.iter().copied().find(|rank| round.given[*rank].is_none())
    }

    /// The first rank that has not given to an operation.
    fn absent(&self, number: u64) -> Option<usize> {
        self.rounds.get(&number)?.given.iter().position(Option::is_none)
    }
}

impl ThreadRank {
    /// Gives to the next operation; returns its number.
    fn give(&self, gift: Gift) -> u64 {
        let number = self.begun.fetch_add(1, Relaxed);
        self.board.give(number, self.rank, gift);
        number
    }

    fn exchange(&self, bytes: Vec<u8>, patience: Duration) -> Result<Vec<Arc<Vec<u8>>>> {
        let number = self.give(Gift::Bytes(Arc::new(bytes)));
        let bytes = |gift| match gift {
            Gift::Bytes(bytes) => Ok(bytes),
            Gift::Bucket(_) => Err(anyhow!(OTHER)),
        };
        self.board.take(number, patience)?.into_iter().map(bytes).collect()
    }
}

const OTHER: &str = "the threads of this process do different things: please report this";

impl Collective for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }
    fn size(&self) -> usize {
        self.board.size
    }
    fn beside(&self) -> usize {
        self.board.size
    }
    fn sum(&self, bucket: Bucket) -> Result<PendingSum> {
        let (number, board) = (self.give(Gift::Bucket(Arc::new(bucket))), self.board.clone());
        Ok(PendingSum::Waiting(Box::new(move || sum_in_order(&board.take(number, board.patience)?))))
    }
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let all = self.exchange(bytes, self.board.patience)?;
        Ok(all.into_iter().map(Arc::unwrap_or_clone).collect())
    }
    fn broadcast(&self, bytes: Option<Vec<u8>>) -> Result<Vec<u8>> {
        // Rank 0 may take its time.
        let all = self.exchange(bytes.unwrap_or_default(), Duration::MAX)?;
        all.into_iter().next().map(Arc::unwrap_or_clone).ok_or_else(|| anyhow!(OTHER))
    }
    fn show_progress(&self, progress: u64) {
        self.board.progress[self.rank].store(progress, Relaxed);
    }
    fn progress(&self) -> Vec<u64> {
        self.board.progress.iter().map(|progress| progress.load(Relaxed)).collect()
    }
    fn fail(&self, why: &str) {
        self.board.lock().failure.get_or_insert_with(|| why.into());
        self.board.changed.notify_all();
    }
}

/// The sums of all buckets in the order of the ranks, after the sums of earlier passes.
fn sum_in_order(gifts: &[Gift]) -> Result<Vec<Tensor>> {
    let buckets: Vec<&Bucket> = gifts
        .iter()
        .map(|gift| match gift {
            Gift::Bucket(bucket) => Ok(&**bucket),
            Gift::Bytes(_) => Err(anyhow!(OTHER)),
        })
        .collect::<Result<_>>()?;
    let (first, others) = buckets.split_first().ok_or_else(|| anyhow!(OTHER))?;
    let alike = |bucket: &&&Bucket| bucket.gradients.len() == first.gradients.len();
    ensure!(others.iter().all(|bucket| alike(&bucket)), OTHER);
    let sum = |place: usize| {
        let start = match first.carry.get(place) {
            Some(carry) => (carry + &first.gradients[place])?,
            None => first.gradients[place].clone(),
        };
        others.iter().try_fold(start, |sum, bucket| sum + &bucket.gradients[place])
    };
    Ok((0..first.gradients.len()).map(sum).collect::<candle_core::Result<_>>()?)
}

/// The others do not wait for a rank that is gone.
impl Drop for ThreadRank {
    fn drop(&mut self) {
        self.board.lock().gone.push(self.rank);
        self.board.changed.notify_all();
    }
}

impl fmt::Debug for ThreadRank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}, a thread", self.rank, self.board.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use std::thread;

    /// What each of so many threads returns.
    fn each<T: Send>(size: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
        let work = &work;
        thread::scope(|scope| {
            let start = |ranks| scope.spawn(move || work(ranks));
            let ranks = of_threads(size, Duration::from_millis(500));
            let threads: Vec<_> = ranks.into_iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        })
    }

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::from_slice(values, values.len(), &Device::Cpu).expect("a CPU tensor")
    }

    #[test]
    fn messages_come_by_rank_and_in_order() {
        let said = each(3, |ranks| {
            for round in 0..200u8 {
                let rank = ranks.rank() as u8;
                if round % 7 == rank {
                    thread::sleep(Duration::from_micros(200));
                }
                assert_eq!(
                    ranks.gather_bytes(vec![rank, round]).unwrap(),
                    [[0, round], [1, round], [2, round]]
                );
                let told =
                    if rank == 0 { ranks.give(vec![round]).map(|()| vec![round]) } else { ranks.take() };
                assert_eq!(told.unwrap(), [round]);
            }
            ranks.rank()
        });
        assert_eq!(said, [0, 1, 2]);
    }

    #[test]
    fn sums_are_taken_in_the_order_of_the_ranks() {
        let parts: [[f32; 2]; 3] = [[1e8, 1.0], [1.0, 2.0], [-1e8, 4.0]];
        let sums = each(3, |ranks| {
            let gradients = || vec![tensor(&parts[ranks.rank()])];
            // Both are begun before either ends.
            let first = ranks.sum(Bucket { gradients: gradients(), carry: vec![] }).unwrap();
            let carry = vec![tensor(&[-1e8, 1.0])];
            let second = ranks.sum(Bucket { gradients: gradients(), carry }).unwrap();
            [first, second].map(|sum| sum.wait().unwrap()[0].to_vec1::<f32>().unwrap())
        });
        for [first, second] in sums {
            assert_eq!(first, [(1e8f32 + 1.0) - 1e8, 7.0]);
            assert_eq!(second, [((-1e8f32 + 1e8) + 1.0) - 1e8, 8.0]);
        }
    }

    #[test]
    fn a_rank_that_fails_or_ends_wakes_the_others() {
        let said = each(3, |ranks| {
            if ranks.rank() == 1 {
                thread::sleep(Duration::from_millis(30));
                ranks.fail("rank 1: no more memory");
                return String::new();
            }
            ranks.gather_bytes(vec![]).unwrap_err().to_string()
        });
        assert_eq!(said, ["rank 1: no more memory", "", "rank 1: no more memory"]);
        let said = each(2, |ranks| match ranks.rank() {
            1 => String::new(),
            _ => ranks.take().unwrap_err().to_string(),
        });
        assert_eq!(said[0], "rank 1 has ended before the others");
    }

    #[test]
    fn a_rank_that_hangs_is_named_and_rank_0_may_take_its_time() {
        let said = each(2, |ranks| {
            let slow = || thread::sleep(Duration::from_millis(900));
            if ranks.leads() {
                slow();
                ranks.give(vec![1]).unwrap();
                return ranks.gather_bytes(vec![]).unwrap_err().to_string();
            }
            assert_eq!(ranks.take().unwrap(), [1]);
            slow();
            String::new()
        });
        assert!(said[0].starts_with("rank 1 lives, but"), "{said:?}");
    }
}
