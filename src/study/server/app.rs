//! What every request of a running study shares, and how a request is refused.

use crate::study::{
    design::StudyDesign,
    pictures::PictureFile,
    recorder::Recorder,
    secret::{SecretHash, hex},
    session::{Millis, SessionError},
};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

pub struct StudyApp {
    pub recorder: Recorder,
    pub pictures: PictureFile,
    pub design: StudyDesign,
    pub token: SecretHash,
    /// Names of the cookies, which differ between studies of one host.
    pub session_cookie: String,
    pub admin_cookie: String,
    /// Shown to participants at the end.
    pub code: Option<String>,
}

pub type AppState = Arc<StudyApp>;

impl StudyApp {
    /// Names of the cookies of a study by the hash of its pictures.
    pub fn cookies(pictures: &[u8]) -> [String; 2] {
        let id = hex(&pictures[..pictures.len().min(4)]);
        [format!("hueristic_{id}"), format!("hueristic_admin_{id}")]
    }
}

/// The time, in milliseconds since 1970.
pub fn now() -> Millis {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}

/// A request that is not carried out: status and `{"error": …}`.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        let status = match error {
            SessionError::NoSession => StatusCode::UNAUTHORIZED,
            SessionError::Full => StatusCode::FORBIDDEN,
            SessionError::NotCurrent => StatusCode::CONFLICT,
            SessionError::NoPicture => StatusCode::NOT_FOUND,
            SessionError::NotStored | SessionError::Database(_) | SessionError::Entropy(_) => {
                return Self::fault(&error);
            }
        };
        Self::new(status, error.to_string())
    }
}

impl Refusal {
    /// The server's own fault, which is logged and not told.
    pub fn fault(error: &dyn std::error::Error) -> Self {
        tracing::error!("a request failed: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the request failed; try again")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(serde_json::json!({ "error": self.message }))).into_response()
    }
}
