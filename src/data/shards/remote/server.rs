//! What is asked of a server, whatever its protocol.

use crate::data::shards::index::Stamp;
use std::io;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FetchError {
    /// There is no such file.
    #[cfg_attr(not(feature = "stores"), expect(dead_code, reason = "only servers answer so"))]
    Missing,
    /// It may be there later: a busy server, a cut connection.
    Temporary(String),
    /// It will fail again.
    Final(String),
}

impl FetchError {
    /// The file is not the one that was asked for.
    pub fn changed() -> Self {
        Self::Final("has changed on the server since it was indexed; run the command again".into())
    }

    /// A file of this machine that cannot be written.
    pub fn local(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Temporary(error.to_string()),
            _ => Self::Final(format!("cannot be kept in the cache: {error}")),
        }
    }

    /// The rest of a sentence that begins with the address.
    pub fn reason(&self) -> String {
        match self {
            Self::Missing => "is missing".into(),
            Self::Temporary(reason) => format!("cannot be fetched: {reason}"),
            Self::Final(reason) => reason.clone(),
        }
    }
}

/// Takes the bytes of a file as they arrive.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// A server that has shards.
pub(super) trait ShardServer: Send + Sync {
    /// Names of the files in a folder.
    ///
    /// # Errors
    /// See [`FetchError`]; a server that has no lists.
    fn list(&self, _folder: &str) -> Result<Vec<String>, FetchError> {
        Err(FetchError::Final("cannot be listed".into()))
    }

    /// Size and version of the file that is there now.
    ///
    /// # Errors
    /// See [`FetchError`].
    fn stamp(&self, address: &str) -> Result<Stamp, FetchError>;

    /// Hands that version of the file to `sink`, from the byte `from` on.
    ///
    /// # Errors
    /// As there, and another version. What `sink` got by then is right.
    fn fetch(&self, address: &str, stamp: &Stamp, from: u64, sink: &mut Sink) -> Result<(), FetchError>;
}
