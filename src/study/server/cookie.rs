//! Cookies: the session of a participant and that of the researcher. Scripts cannot read them, other sites cannot send them
//! along with requests that change anything, and the server stores only hashes.

use super::app::{AppState, Refusal};
use crate::study::{
    secret::{SecretHash, hash},
    session::SessionError,
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};

/// The session that a request belongs to, by the hash of its cookie.
pub struct SessionKey(pub SecretHash);

impl FromRequestParts<AppState> for SessionKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Refusal> {
        let secret = cookie(&parts.headers, &app.session_cookie).ok_or(SessionError::NoSession)?;
        Ok(Self(hash(secret)))
    }
}

/// The value of a cookie.
pub fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A `Set-Cookie` header that lasts until the browser is closed. Without a path, it is sent for the folder of the request,
/// so that studies can be below a prefix. Over HTTPS, as a proxy in front says, it is never sent without.
pub fn set_cookie(headers: &HeaderMap, name: &str, value: &str) -> String {
    let encrypted = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if encrypted { "; Secure" } else { "" };
    format!("{name}={value}; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "xa=1; a=2;b=3=4".parse().unwrap());
        headers.append(header::COOKIE, "c=5".parse().unwrap());
        let found = ["a", "b", "c", "xa", "x", ""].map(|name| cookie(&headers, name));
        assert_eq!(found, [Some("2"), Some("3=4"), Some("5"), Some("1"), None, None]);
    }

    #[test]
    fn cookies_stay_encrypted_behind_a_proxy() {
        let mut headers = HeaderMap::new();
        assert_eq!(set_cookie(&headers, "a", "1"), "a=1; HttpOnly; SameSite=Lax");
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        assert_eq!(set_cookie(&headers, "a", "1"), "a=1; HttpOnly; SameSite=Lax; Secure");
    }
}
