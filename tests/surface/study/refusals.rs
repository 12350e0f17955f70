//! What must be refused: pictures that make no study, and requests that are not the participant's own next step.

use super::{
    SHORT,
    client::{Client, answer},
    home::Home,
};
use serde_json::json;
use std::fs;

const NEW: [&str; 8] = ["study", "new", "study", "--real", "real", "--fake", "ours=ours", "--fake=l2=l2"];

fn refused(home: &Home, options: &[&str]) -> String {
    let (code, message) = home.fails(&[&NEW, options].concat());
    assert_eq!(code, 1, "{message}");
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        left.iter().all(|name| ["real", "ours", "l2"].iter().any(|known| name == known)),
        "{left:?} is left"
    );
    message
}

#[test]
fn pictures_that_make_no_study_are_named() {
    let home = Home::with_pictures(8);
    let message = refused(&home, &[]);
    assert!(
        message.contains("8 photographs, but a session of 10 + 40 trials shows 50 different ones"),
        "{message}"
    );
    let message = refused(&home, &["--pairs", "9", "--practice", "0", "--trials", "5"]);
    assert!(message.contains("it has 8 photographs, --pairs asks for 9"), "{message}");
    home.picture("ours", "003.png", (41, 30), "ours");
    fs::copy(home.path().join("real/004.png"), home.path().join("l2/004.png")).unwrap();
    fs::write(home.path().join("real/005.png"), "no picture").unwrap();
    let message = refused(&home, &SHORT);
    assert!(message.contains("3 of the pictures cannot be used; nothing was written"), "{message}");
    assert!(message.contains("41×30, but the truth is 40×30"), "{message}");
    assert!(
        message.contains("004.png: the colored picture is the photograph itself: is the folder"),
        "{message}"
    );
    assert!(message.contains("005.png: not an image"), "{message}");
    fs::remove_file(home.path().join("ours/006.png")).unwrap();
    let message = refused(&home, &SHORT);
    assert!(
        message.contains("1 of the pictures lack a counterpart")
            && message.contains("ours has no picture of"),
        "{message}"
    );
}

#[test]
fn bad_usage_is_told_at_once() {
    let home = Home::with_pictures(7);
    for (arguments, word) in [
        (vec!["study", "new", "s", "--real", "nowhere", "--fake", "a=ours"], "nowhere is not a folder"),
        (vec!["study", "new", "s", "--real", "real", "--fake", "ours"], "is not NAME=DIR"),
        (vec!["study", "new", "s", "--real", "real"], "--fake"),
        (
            vec!["study", "new", "s", "--real", "real", "--fake", "a=ours", "--fake", "a=l2"],
            "two algorithms are called `a`",
        ),
        (
            vec!["study", "new", "s", "--real", "real", "--fake", "a=ours", "--trials", "0"],
            "0 is not in 1..=1000",
        ),
        (vec!["study", "serve", "s", "--token", "short"], "at least 16 characters"),
        (vec!["study", "score", "s", "--vigilance", "101"], "101 is not in 0..=100"),
    ] {
        let (code, message) = home.fails(&arguments);
        assert!(code == 2 && message.contains(word), "{arguments:?}: {code}: {message}");
    }
    for verb in ["serve", "score"] {
        let (code, message) = home.fails(&["study", verb, "real"]);
        assert!(code == 1 && message.contains("real is not the folder of a study"), "{message}");
    }
    home.new_study(&SHORT);
    let (code, message) = home.fails(&[&NEW[..], &SHORT].concat());
    assert!(code == 1 && message.contains("study exists: choose another folder"), "{message}");
    fs::write(home.study().join("pictures.rgb"), "cut").unwrap();
    let (code, message) = home.fails(&["study", "serve", "study"]);
    assert!(code == 1 && message.contains("is not the file that `study new` wrote"), "{message}");
}

#[test]
fn gray_and_unpaired_pictures_are_warned_of() {
    let home = Home::with_pictures(7);
    image::GrayImage::from_fn(40, 30, |x, y| image::Luma([(3 * x + y) as u8]))
        .save(home.path().join("l2/001.png"))
        .unwrap();
    home.picture("l2", "other.png", (40, 30), "l2");
    let output = home.call(&[&NEW[..], &SHORT, &["--consent", "consent.txt"]].concat());
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read the consent text consent.txt"));
    fs::write(home.path().join("consent.txt"), "Do you <agree>?\n\nReally.").unwrap();
    let output = home.call(&[&NEW[..], &SHORT, &["--consent", "consent.txt"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("1 of the pictures of l2 are gray, first 001.png"), "{said}");
    assert!(said.contains("without a photograph, and not used: 1 picture"), "{said}");
    let page = home.serve().client().get("/").text();
    assert!(page.contains("<p>Do you &lt;agree&gt;?</p><p>Really.</p>"), "{page}");
}

/// A participant at the first trial.
fn participant(server: &super::home::Server) -> (Client, serde_json::Value) {
    let mut client = server.client();
    client.sign_up();
    let trial = client.next();
    (client, trial)
}

#[test]
fn only_the_own_next_step_is_accepted() {
    let home = Home::with_pictures(7);
    home.new_study(&SHORT);
    let server = home.serve();
    let (mut client, trial) = participant(&server);
    let (mut stranger, _) = participant(&server);
    let begin = json!({ "trial": 0 });
    // another's pictures, and nobody's
    let path = format!("/picture/{}", trial["pictures"][0].as_str().unwrap());
    assert_eq!((client.get(&path).status, stranger.get(&path).status), (200, 404));
    let mut nobody = server.client();
    assert_eq!(nobody.get(&path).status, 401);
    for path in ["/next", "/begin", "/answer", "/void"] {
        let body = if path == "/answer" { answer(&trial, "first") } else { begin.clone() };
        let body = if path == "/next" { json!({}) } else { body };
        assert_eq!(nobody.post(path, &body).status, 401, "{path}");
        nobody.cookie = client.cookie.as_ref().map(|cookie| format!("{}0", &cookie[..cookie.len() - 1]));
        if nobody.cookie != client.cookie {
            assert_eq!(nobody.post(path, &body).status, 401, "{path}");
        }
        nobody.cookie = None;
    }
    // not begun; out of order; twice
    assert_eq!(client.post("/answer", &answer(&trial, "first")).status, 409);
    assert_eq!(client.post("/begin", &json!({ "trial": 1 })).status, 409);
    assert_eq!(client.post("/begin", &begin).status, 204);
    assert_eq!(client.post("/begin", &begin).status, 409);
    assert_eq!(client.get(&path).status, 404, "pictures are not sent again");
    assert_eq!(client.post("/answer", &answer(&json!({ "trial": 3 }), "first")).status, 409);
    assert_eq!(client.post("/answer", &answer(&trial, "first")).status, 200);
    assert_eq!(client.post("/answer", &answer(&trial, "second")).status, 409);
    assert_eq!(client.post("/void", &begin).status, 409);
    // the stranger is where it was
    assert_eq!(stranger.next()["trial"], 0);
}

#[test]
fn malformed_and_oversized_requests_change_nothing() {
    let home = Home::with_pictures(7);
    home.new_study(&SHORT);
    let server = home.serve();
    let (mut client, trial) = participant(&server);
    client.post("/begin", &json!({ "trial": 0 }));
    let good = answer(&trial, "first").to_string();
    let json = "Content-Type: application/json\r\n";
    let mut status =
        |headers: &str, body: &str| client.request("POST", "/answer", headers, body).unwrap().status;
    for bad in [
        "",
        "{}",
        "[]",
        "null",
        &good.replace("first", "third"),
        &good.replace("16.7", "-1"),
        &good.replace("16.7", "1e9"),
        &good.replace("16.7", "\"x\""),
        &good.replace("\"trial\":0", "\"trial\":-1"),
        &good.replace('}', ",\"session\":2}"),
        &good[..good.len() - 1],
    ] {
        let status = status(json, bad);
        assert!([400, 422].contains(&status), "{bad}: {status}");
    }
    assert_eq!(status("", &good), 415, "other sites can send forms and text, but no JSON");
    assert_eq!(status("Content-Type: text/plain\r\n", &good), 415);
    assert_eq!(status(json, &format!("{good}{}", " ".repeat(5000))), 413);
    drop(client.raw(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n"));
    let mut again = server.client();
    again.cookie = client.cookie.clone();
    assert_eq!(again.post("/answer", &answer(&trial, "first")).status, 200, "the trial waits for its answer");
}

#[test]
fn no_file_is_reached_by_a_path() {
    let home = Home::with_pictures(7);
    home.new_study(&SHORT);
    let server = home.serve();
    let (mut client, _) = participant(&server);
    let database = fs::read(home.study().join("study.sqlite")).unwrap();
    for path in [
        "/../study.sqlite",
        "/picture/../../study.sqlite",
        "/picture/..%2f..%2fstudy.sqlite",
        "/picture/%2e%2e/%2e%2e/study.sqlite",
        "/picture/..",
        "/picture/%00",
        "/picture/....//....//etc/passwd",
        "/picture/00000000000000000000000000000000",
        "/admin/../study.sqlite",
        "/admin/..%2fstudy.sqlite",
        "//etc/passwd",
        "/study.sqlite",
        "/pictures.rgb",
        "/lock",
        "/study.js/..",
    ] {
        let response = client.get(path);
        assert!([400, 404].contains(&response.status), "{path}: {}", response.status);
        assert!(response.body.len() < 100 && !database.starts_with(&response.body), "{path}");
    }
    assert_eq!(client.request("DELETE", "/session", "", "").unwrap().status, 405);
}

#[test]
fn every_response_is_guarded() {
    let home = Home::with_pictures(7);
    home.new_study(&SHORT);
    let server = home.serve();
    let (mut client, trial) = participant(&server);
    let picture = format!("/picture/{}", trial["pictures"][1].as_str().unwrap());
    for path in ["/", "/study.js", "/study.css", "/admin", "/nowhere", &picture] {
        let response = client.get(path);
        let header = |name| response.header(name).unwrap_or_else(|| panic!("{path} has no {name}"));
        assert!(header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"));
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!((header("x-content-type-options"), header("referrer-policy")), ("nosniff", "no-referrer"));
        for hint in ["etag", "last-modified", "expires", "server", "access-control-allow-origin"] {
            assert_eq!(response.header(hint), None, "{path}");
        }
    }
    let mut new = server.client();
    let signed = new.post("/session", &json!({}));
    let cookie = signed.header("set-cookie").unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
    assert_eq!(cookie.split(['=', ';']).nth(1).unwrap().len(), 32);
    let proxied = "Content-Type: application/json\r\nX-Forwarded-Proto: https\r\n";
    let signed = server.client().request("POST", "/session", proxied, "{}").unwrap();
    assert!(signed.header("set-cookie").unwrap().ends_with("; Secure"));
}
