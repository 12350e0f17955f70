//! What a participant's page asks for. Each request names the trial that it is about, and is refused unless that is the
//! current trial of the cookie's session.

use super::{
    app::{AppState, Refusal, now},
    cookie::{SessionKey, cookie, set_cookie},
    pages::{self, Visit},
};
use crate::study::{
    answer::TrialAnswer,
    secret::{hash, name_of_hex, random_secret},
    session::{self, NextStep, NextTrial, SessionError},
    trial::{PairPlace, VoidReason},
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

/// The page, in the state of the visitor's session.
pub async fn page(State(app): State<AppState>, headers: HeaderMap) -> Result<Html<String>, Refusal> {
    let key = cookie(&headers, &app.session_cookie).map(hash);
    let design = app.clone();
    let visit = app.recorder.call(move |db| {
        match key.map_or(Err(SessionError::NoSession), |key| session::find(db, &key)) {
            Ok(session) if session.completed => Ok(Visit::Completed),
            Ok(_) => Ok(Visit::Unfinished),
            Err(SessionError::NoSession) if session::is_open(db, &design.design, now())? => Ok(Visit::New),
            Err(SessionError::NoSession) => Ok(Visit::Full),
            Err(error) => Err(error),
        }
    });
    Ok(Html(pages::participant(&app.design, visit.await?).into_string()))
}

/// Begins a session after consent. A browser that has one keeps it.
pub async fn sign_up(
    State(app): State<AppState>,
    headers: HeaderMap,
    Json(NoFields {}): Json<NoFields>,
) -> Result<Response, Refusal> {
    if let Some(key) = cookie(&headers, &app.session_cookie).map(hash) {
        match app.recorder.call(move |db| session::find(db, &key)).await {
            Ok(_) => return Ok(StatusCode::NO_CONTENT.into_response()),
            Err(SessionError::NoSession) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let secret = random_secret().map_err(SessionError::from)?;
    let (key, design) = (hash(&secret), app.clone());
    app.recorder.call(move |db| session::sign_up(db, &design.design, &key, now())).await?;
    let cookie = set_cookie(&headers, &app.session_cookie, &secret);
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)]).into_response())
}

/// An empty object. Since requests must be JSON, other sites cannot make a browser send them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFields {}

/// What the page is to do next.
#[derive(Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Instruction {
    Trial(NextTrial),
    Done { code: Option<String> },
}

/// The next trial, or the end.
pub async fn next(
    State(app): State<AppState>,
    SessionKey(key): SessionKey,
    Json(NoFields {}): Json<NoFields>,
) -> Result<Json<Instruction>, Refusal> {
    let design = app.clone();
    let step = app.recorder.call(move |db| {
        let session = session::find(db, &key)?;
        session::next(db, &design.design, &session, now())
    });
    Ok(Json(match step.await? {
        NextStep::Trial(trial) => Instruction::Trial(trial),
        NextStep::Done => Instruction::Done { code: app.code.clone() },
    }))
}

/// A picture of the current trial. Photographs and fakes take the same way and have the same length.
pub async fn picture(
    State(app): State<AppState>,
    SessionKey(key): SessionKey,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let name = name_of_hex(&name).ok_or(SessionError::NoPicture)?;
    let find = move |db: &_| session::picture(db, &session::find(db, &key)?, &name);
    let (photograph, version) = app.recorder.call(find).await?;
    let read = tokio::task::spawn_blocking(move || app.pictures.read(photograph, version));
    let pixels =
        read.await.map_err(|error| Refusal::fault(&error))?.map_err(|error| Refusal::fault(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], pixels).into_response())
}

/// A trial of the session by its number.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialNumber {
    trial: usize,
}

/// The pictures are about to be shown.
pub async fn begin(
    State(app): State<AppState>,
    SessionKey(key): SessionKey,
    Json(TrialNumber { trial }): Json<TrialNumber>,
) -> Result<StatusCode, Refusal> {
    let begin = move |db: &_| session::begin(db, &session::find(db, &key)?, trial, now());
    app.recorder.call(begin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where the fake was; None in the test.
#[derive(Serialize)]
pub struct Feedback {
    fake: Option<PairPlace>,
}

/// An answer. The reply comes after it is on disk.
pub async fn answer(
    State(app): State<AppState>,
    SessionKey(key): SessionKey,
    Json(answer): Json<TrialAnswer>,
) -> Result<Json<Feedback>, Refusal> {
    if !answer.is_plausible() {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "exposures, frame, and response must be times in milliseconds",
        ));
    }
    let store = move |db: &_| session::answer(db, &session::find(db, &key)?, &answer, now());
    Ok(Json(Feedback { fake: app.recorder.call(store).await? }))
}

/// The page was hidden while the pictures were shown.
pub async fn void(
    State(app): State<AppState>,
    SessionKey(key): SessionKey,
    Json(TrialNumber { trial }): Json<TrialNumber>,
) -> Result<StatusCode, Refusal> {
    let drop = move |db: &_| session::void(db, &session::find(db, &key)?, trial, VoidReason::Hidden, now());
    app.recorder.call(drop).await?;
    Ok(StatusCode::NO_CONTENT)
}
