//! End of the connection between the processes of a launcher.

/// Ends the connection in order; all ranks call it.
pub fn finish() {
    #[cfg(feature = "mpi")]
    super::mpi::finish();
}

/// Ends all ranks with an exit code from 1 to 255. Returns if there are no others.
pub fn abort(_code: u8) {
    #[cfg(feature = "mpi")]
    super::mpi::abort(_code);
}
