//! Which server an address is of.

use super::server::ShardServer;
use crate::data::error::DataError;
use std::sync::Arc;

/// The server of an address that begins with `http://`, `https://` or `s3://`.
///
/// # Errors
/// A build without the feature, an address without a bucket, unusable settings of the environment.
#[cfg(feature = "stores")]
pub(super) fn connect(address: &str) -> Result<Arc<dyn ShardServer>, DataError> {
    let fault = |reason| DataError::Shard { name: address.into(), reason };
    if address.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("s3://")) {
        return Ok(Arc::new(super::s3::S3Store::connect(address).map_err(fault)?));
    }
    Ok(Arc::new(super::http::WebServer::new().map_err(fault)?))
}

/// Stub for builds without the feature.
#[cfg(not(feature = "stores"))]
pub(super) fn connect(_: &str) -> Result<Arc<dyn ShardServer>, DataError> {
    let instead = "download the shards yourself and give their paths".into();
    Err(DataError::NeedsFeature { what: "reading shards from a server", feature: "stores", instead })
}
