//! The researcher's pages, behind the token: progress, and the answers as CSV. The token is sent in a form or in a header
//! (`Authorization: Bearer …`), never in an address.

use super::{
    app::{AppState, Refusal, now},
    cookie::{cookie, set_cookie},
    pages,
};
use crate::study::{
    secret::{hash, hex, is_equal},
    session::SessionError,
    tally::tally,
    trial_record::{read_trials, trials_csv},
};
use axum::{
    Form,
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{Html, IntoResponse, Redirect, Response},
};
use serde::Deserialize;

/// A request by one who knows the token.
pub struct Researcher;

impl FromRequestParts<AppState> for Researcher {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Response> {
        let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let by_token =
            bearer.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|token| knows(app, token));
        let by_cookie = cookie(&parts.headers, &app.admin_cookie)
            .is_some_and(|value| is_equal(&hash(value), &hash(&cookie_value(app))));
        if by_token || by_cookie { Ok(Self) } else { Err(login(false)) }
    }
}

fn knows(app: &AppState, token: &str) -> bool {
    is_equal(&hash(token), &app.token)
}

/// What the cookie holds in place of the token, which it does not tell.
fn cookie_value(app: &AppState) -> String {
    hex(&hash(&format!("admin {}", hex(&app.token))))
}

fn login(wrong: bool) -> Response {
    (StatusCode::UNAUTHORIZED, Html(pages::login(wrong).into_string())).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    token: String,
}

/// Stores a cookie for one who knows the token.
pub async fn log_in(
    State(app): State<AppState>,
    headers: HeaderMap,
    Form(Login { token }): Form<Login>,
) -> Response {
    if !knows(&app, token.trim()) {
        return login(true);
    }
    let cookie = set_cookie(&headers, &app.admin_cookie, &cookie_value(&app));
    ([(header::SET_COOKIE, cookie)], Redirect::to("admin")).into_response()
}

/// Progress of each algorithm.
pub async fn progress(_: Researcher, State(app): State<AppState>) -> Result<Html<String>, Refusal> {
    let state = app.clone();
    let tallies = app.recorder.call(move |db| {
        let trials = read_trials(db)?;
        Ok(tally(db, &state.design, &trials, now())?)
    });
    Ok(Html(pages::progress(&app.design, &tallies.await?).into_string()))
}

/// All trials.
pub async fn trials(_: Researcher, State(app): State<AppState>) -> Result<Response, Refusal> {
    let trials = app.recorder.call(|db| read_trials(db).map_err(SessionError::from)).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"trials.csv\""),
    ];
    Ok((headers, trials_csv(&app.design, &trials)).into_response())
}
