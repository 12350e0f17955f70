//! Attempts at a file until it is complete, with longer and longer waits between them.

use super::server::{FetchError, ShardServer};
use crate::{data::shards::index::Stamp, progress};
use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    thread,
    time::{Duration, Instant},
};

/// Slowest download that is not given up, in bytes a second, and what an attempt may take beside.
const SLOWEST: u64 = 64 << 10;
const LEAST: Duration = Duration::from_secs(60);

/// How long to keep trying.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Wait after the first failure; it doubles each time.
    pub first: Duration,
    pub longest: Duration,
    /// Time without any progress after which the last failure is reported.
    pub total: Duration,
}

impl Patience {
    /// To learn of a file: a wrong address is to be told soon.
    pub const ASKING: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(8),
        total: Duration::from_secs(30),
    };
    /// For a file that was there: servers are restarted, networks fail for minutes.
    pub const READING: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(60),
        total: Duration::from_secs(900),
    };
}

/// Waits between attempts.
struct Backoff {
    patience: Patience,
    wait: Duration,
    since: Instant,
}

impl Backoff {
    fn new(patience: Patience) -> Self {
        Self { patience, wait: patience.first, since: Instant::now() }
    }

    /// Waits after a failure.
    ///
    /// # Errors
    /// The failure, if it is final or was repeated for too long.
    fn after(&mut self, what: &str, failure: FetchError) -> Result<(), FetchError> {
        let FetchError::Temporary(reason) = &failure else { return Err(failure) };
        if self.since.elapsed() + self.wait > self.patience.total {
            let tried = self.since.elapsed().as_secs();
            return Err(FetchError::Temporary(format!("{reason} (tried for {tried} s)")));
        }
        if self.wait == self.patience.first {
            let total = self.patience.total.as_secs();
            tracing::warn!("{what}: {reason}; trying again for up to {total} s");
        }
        thread::sleep(self.wait);
        self.wait = (2 * self.wait).min(self.patience.longest);
        Ok(())
    }
}

/// Repeats `attempt` while its failures may pass.
///
/// # Errors
/// The last failure.
pub(super) fn retried<T>(
    what: &str,
    patience: Patience,
    mut attempt: impl FnMut() -> Result<T, FetchError>,
) -> Result<T, FetchError> {
    let mut backoff = Backoff::new(patience);
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(failure) => backoff.after(what, failure)?,
        }
    }
}

/// Downloads what `file` lacks of a version of the file at `address`.
///
/// # Errors
/// The last failure; `file` keeps what arrived.
pub(super) fn download(
    server: &dyn ShardServer,
    address: &str,
    stamp: &Stamp,
    file: &File,
    patience: Patience,
) -> Result<(), FetchError> {
    let bar = progress::byte_bar(address.rsplit('/').next().unwrap_or(address));
    bar.set_length(stamp.size);
    let mut backoff = Backoff::new(patience);
    loop {
        let from = beginning(file, stamp).map_err(|error| FetchError::local(&error))?;
        bar.set_position(from);
        let mut arrived = from;
        let end = Instant::now() + LEAST + Duration::from_secs(stamp.size / SLOWEST);
        let result = server.fetch(address, stamp, from, &mut |bytes: &[u8]| {
            arrived += bytes.len() as u64;
            bar.inc(bytes.len() as u64);
            if Instant::now() > end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it arrives too slowly"));
            }
            (&mut &*file).write_all(bytes)
        });
        if arrived > from {
            backoff = Backoff::new(patience);
        }
        match result {
            Ok(()) if arrived == stamp.size => break,
            Ok(()) if arrived > stamp.size => return Err(FetchError::changed()),
            Ok(()) => {
                let cut = format!("it ended after {arrived} of {} bytes", stamp.size);
                backoff.after(address, FetchError::Temporary(cut))?;
            }
            Err(failure) => backoff.after(address, failure)?,
        }
    }
    progress::remove(&bar);
    Ok(())
}

/// Where to go on in `file`; at its start if nothing tells that the rest belongs to what is there.
fn beginning(mut file: &File, stamp: &Stamp) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if !stamp.version.is_empty() && length <= stamp.size {
        return Ok(length);
    }
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shards::remote::server::Sink;
    use std::{io::Read, sync::Mutex};

    const QUICK: Patience = Patience {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(4),
        total: Duration::from_millis(40),
    };
    const CONTENT: &[u8] = b"0123456789";

    /// Serves the content; each failure is used up by one request, after that many bytes.
    struct Unsteady(Mutex<Vec<(usize, FetchError)>>, Mutex<Vec<u64>>);

    impl ShardServer for Unsteady {
        fn stamp(&self, _: &str) -> Result<Stamp, FetchError> {
            Err(FetchError::Missing)
        }
        fn fetch(&self, _: &str, _: &Stamp, from: u64, sink: &mut Sink) -> Result<(), FetchError> {
            self.1.lock().unwrap().push(from);
            let rest = &CONTENT[from as usize..];
            match self.0.lock().unwrap().pop() {
                None => sink(rest).map_err(|error| FetchError::local(&error)),
                Some((bytes, failure)) => {
                    sink(&rest[..bytes]).unwrap();
                    Err(failure)
                }
            }
        }
    }

    /// What was downloaded, and where each request began.
    fn downloaded(
        version: &str,
        mut failures: Vec<(usize, FetchError)>,
    ) -> (Result<Vec<u8>, FetchError>, Vec<u64>) {
        failures.reverse();
        let server = Unsteady(Mutex::new(failures), Mutex::default());
        let mut file = tempfile::tempfile().unwrap();
        let stamp = Stamp { size: 10, version: version.into() };
        let result = download(&server, "a.tar", &stamp, &file, QUICK);
        let mut content = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut content).unwrap();
        (result.map(|()| content), server.1.into_inner().unwrap())
    }

    fn busy() -> FetchError {
        FetchError::Temporary("busy".into())
    }

    #[test]
    fn a_cut_download_goes_on_where_it_ended_if_the_version_is_known() {
        let cuts = || vec![(3, busy()), (0, busy()), (4, busy())];
        assert_eq!(downloaded("etag", cuts()), (Ok(CONTENT.to_vec()), vec![0, 3, 3, 7]));
        assert_eq!(downloaded("", cuts()), (Ok(CONTENT.to_vec()), vec![0, 0, 0, 0]));
    }

    #[test]
    fn failures_that_stay_are_reported() {
        let (result, requests) = downloaded("etag", vec![(0, busy()); 99]);
        assert!(matches!(result, Err(FetchError::Temporary(why)) if why.contains("busy (tried for")));
        assert!((3..99).contains(&requests.len()), "{requests:?}");
        assert_eq!(downloaded("etag", vec![(2, FetchError::changed())]).0, Err(FetchError::changed()));
        // a failure now and then between pieces that arrive is no reason to give up
        let slow = (0..9).flat_map(|_| [(0, busy()), (0, busy()), (1, busy())]).collect();
        assert_eq!(downloaded("etag", slow).0, Ok(CONTENT.to_vec()));
    }

    #[test]
    fn questions_are_repeated_until_answered() {
        let mut left = 3;
        let answer = retried("a", QUICK, || {
            left -= 1;
            if left > 0 { Err(busy()) } else { Ok(7) }
        });
        assert_eq!((answer, left), (Ok(7), 0));
        assert_eq!(retried("a", QUICK, || Err::<(), _>(FetchError::Missing)), Err(FetchError::Missing));
    }
}
