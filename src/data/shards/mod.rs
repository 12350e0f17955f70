//! Shards as [WebDataset](https://github.com/webdataset/webdataset) reads and writes them: tar files whose neighboring
//! members with the same key are a sample, `0007.jpg` beside `0007.cls`.
//!
//! A shard is read once from end to end for an index of its pictures and labels, which is kept in the cache folder. Then
//! any picture is read by its offset, so shards on this machine serve as any other set does: shuffled as a whole, resumed
//! at any batch. Shards of a server are downloaded whole, into a folder of limited size, since a request for each picture
//! would wait for each answer; an epoch then takes the shards in random order, a few at a time, and shuffles the pictures
//! of these. That order depends on seed and epoch alone, not on what has been downloaded, so it resumes as exactly.

mod class_names; // classes.json beside the shards
mod index; // pictures and labels of one shard, and their cache
mod labels; // label texts to class numbers
mod members; // members of a tar file
pub mod pack; // writes shards
mod pattern; // braces, wildcards and folders to shards
mod picture; // one picture for a shard
mod place; // files of this machine or of a server
mod remote; // shards of a server
mod sample; // keys, extensions
mod set; // ShardSet
pub mod source; // ShardsSource
mod writer; // one split as tar files

pub use set::ShardSet;
pub use source::ShardsSource;
