//! Shards of a web server or an S3 store (feature `stores`): downloaded whole into a folder of limited size, ahead of the
//! pictures that are read next. The libraries give up within seconds, so the attempts are ours.

mod connect; // the server of an address
mod download; // attempts, back-off
#[cfg(feature = "stores")]
mod http;
mod place; // a shard of a server
mod prefetch; // downloads ahead
#[cfg(feature = "stores")]
mod s3;
mod server; // what a server answers
mod shard_cache; // downloaded shards

pub(super) use place::{beside, check_room, remote_shards};
pub(super) use prefetch::Prefetcher;
