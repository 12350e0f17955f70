//! The server of a study. Nothing in a page, an address, a header, a size, or a delay tells which picture of a pair is fake:
//! both are raw pixels under names that are drawn for the participant and the trial, and take the same way.

mod app;
mod cookie;
mod pages;

mod admin;
mod participant;

use super::{
    database::{self, StudyDatabase},
    pictures::PictureFile,
    recorder::Recorder,
    secret::{hash, random_secret},
};
use anyhow::{Context, Result};
use app::{AppState, Refusal, StudyApp};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use std::{
    fs::{File, OpenOptions, TryLockError},
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, runtime, signal, sync::oneshot, time::timeout};

/// Most bytes of a request's body: an answer has 150.
const BODY: usize = 4096;
/// How long requests in progress are waited for at the end.
const GRACE: Duration = Duration::from_secs(5);
/// File that is locked while a study is served.
const LOCK: &str = "lock";

/// Nothing comes from elsewhere, and no other page shows this one in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";
/// Of every response.
const HEADERS: [(header::HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// How a study is served.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    pub dir: PathBuf,
    pub address: SocketAddr,
    /// A token of the researcher's choice; None: the one that the study has, or a random one.
    pub token: Option<String>,
    /// Shown to participants at the end, from now on; None: the one that the study has, if any; empty: none.
    pub code: Option<String>,
}

/// What to tell the researcher when the server listens.
#[derive(Clone, Debug)]
pub struct Served {
    pub address: SocketAddr,
    /// The token, if it was drawn just now: it is stored as a hash, and cannot be told again.
    pub new_token: Option<String>,
}

/// Serves a study until Ctrl-C or SIGTERM, and calls `ready` when it listens.
///
/// # Errors
/// Not a study, or one that is being served; damaged files; an address that is in use or not of this machine.
pub fn serve(options: &ServeOptions, ready: impl FnOnce(&Served)) -> Result<()> {
    let study = database::open(&options.dir)?;
    let _lock = lock(&options.dir)?;
    let pictures = PictureFile::open(&options.dir, &study.design, &study.pictures)?;
    let (token, new_token) = token(&study, options.token.as_deref())?;
    let [session_cookie, admin_cookie] = StudyApp::cookies(&study.pictures);
    let code = code(&study, options.code.as_deref())?;
    let design = study.design;
    let (recorder, thread) = Recorder::start(study.connection).context("cannot start a thread")?;
    let app = StudyApp { recorder, pictures, design, token, session_cookie, admin_cookie, code };
    let runtime =
        runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(run(router(Arc::new(app)), options.address, |address| {
        ready(&Served { address, new_token })
    }))?;
    runtime.shutdown_timeout(GRACE);
    // The last handle of the recorder is gone: it closes the database.
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the thread of the database failed; what was acknowledged is stored"))
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("cannot open {}: is the folder writable?", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("{} is being served by another process: stop it first", dir.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// The hash of the token, and the token if it is new.
fn token(study: &StudyDatabase, given: Option<&str>) -> Result<([u8; 32], Option<String>)> {
    let stored = || database::token(&study.connection).context("cannot read the token");
    let store = |token: &str| -> Result<[u8; 32]> {
        let hash = hash(token);
        database::set_token(&study.connection, &hash)
            .context("cannot store the token: is the folder writable?")?;
        Ok(hash)
    };
    if let Some(given) = given {
        return Ok((store(given)?, None));
    }
    if let Some(hash) = stored()? {
        return Ok((hash, None));
    }
    let token = random_secret().context("no randomness from the operating system")?;
    Ok((store(&token)?, Some(token)))
}

/// The completion code.
fn code(study: &StudyDatabase, given: Option<&str>) -> Result<Option<String>> {
    let db = &study.connection;
    let stored = given.map_or(Ok(()), |code| database::set_code(db, code)).and_then(|()| database::code(db));
    stored.context("cannot store the completion code: is the folder writable?")
}

async fn run(router: Router, address: SocketAddr, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let listener = TcpListener::bind(address).await;
    let refused = || {
        format!(
            "cannot listen at {address}: is it in use, or not an address of this machine? --address names another"
        )
    };
    let listener = listener.with_context(refused)?;
    let end = end_signal()?;
    ready(listener.local_addr().with_context(refused)?);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    end.await;
    drop(stop);
    match timeout(GRACE, server).await {
        Ok(ended) => ended.context("the server failed")?.context("the server failed"),
        // A connection that does not end; what it was sent is of no use any more.
        Err(_) => Ok(()),
    }
}

/// Resolves at Ctrl-C or SIGTERM, which are caught from now on.
#[cfg(unix)]
fn end_signal() -> Result<impl Future<Output = ()>> {
    use signal::unix::{SignalKind, signal};
    let caught = |kind| signal(kind).context("cannot catch signals");
    let (mut interrupt, mut terminate) = (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
    Ok(std::future::poll_fn(move |task| {
        let ended = interrupt.poll_recv(task).is_ready() | terminate.poll_recv(task).is_ready();
        if ended { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }))
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
fn end_signal() -> Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = signal::ctrl_c().await;
    })
}

fn router(app: AppState) -> Router {
    Router::new()
        .route("/", get(participant::page))
        .route("/study.css", get(|| text("text/css; charset=utf-8", pages::STYLE)))
        .route("/study.js", get(|| text("text/javascript; charset=utf-8", pages::SCRIPT)))
        .route("/session", post(participant::sign_up))
        .route("/next", post(participant::next))
        .route("/picture/{name}", get(participant::picture))
        .route("/begin", post(participant::begin))
        .route("/answer", post(participant::answer))
        .route("/void", post(participant::void))
        .route("/admin", get(admin::progress).post(admin::log_in))
        .route("/admin/trials.csv", get(admin::trials))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "there is no such page") })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(map_response(secured))
        .with_state(app)
}

async fn text(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], text)
}

/// Adds the headers of every response.
async fn secured(mut response: Response) -> Response {
    let headers = HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(headers);
    response
}
