//! The worker threads of a loader, and their queues.

use super::{
    error::DataError,
    worker::{ShardJob, ShardResult, WorkerContext, run_worker},
};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
};

/// The worker threads and their job and result queues.
pub(super) struct WorkerPool {
    context: Arc<WorkerContext>,
    pub threads: Vec<JoinHandle<()>>,
    jobs: Option<Sender<ShardJob>>,
    /// receiving end of `jobs`, for discarding queued jobs
    queue: Receiver<ShardJob>,
    pub done: Receiver<ShardResult>,
}

impl WorkerPool {
    pub fn new(context: &Arc<WorkerContext>, threads: usize) -> Result<Self, DataError> {
        let (jobs, queue) = unbounded();
        let (report, done) = unbounded();
        let mut pool = Self { context: context.clone(), threads: Vec::new(), jobs: Some(jobs), queue, done };
        for n in 0..threads {
            let (context, queue, report) = (context.clone(), pool.queue.clone(), report.clone());
            let thread = thread::Builder::new().name(format!("decode-{n}"));
            let thread = thread.spawn(move || run_worker(&context, &queue, &report));
            pool.threads.push(thread.map_err(|e| DataError::Worker(format!("cannot start: {e}")))?);
        }
        Ok(pool)
    }

    pub fn send(&self, job: ShardJob) {
        if let Some(jobs) = &self.jobs {
            // Fails only if every thread has exited, which `wait_for` then reports.
            let _ = jobs.send(job);
        }
    }

    /// Discards all queued jobs.
    pub fn forget(&self) {
        while self.queue.try_recv().is_ok() {}
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.context.stop.store(true, Relaxed);
        self.jobs = None;
        self.forget();
        for thread in self.threads.drain(..) {
            // a panic has already been reported as the result of its shard
            let _ = thread.join();
        }
    }
}
