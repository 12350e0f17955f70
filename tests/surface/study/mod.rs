//! `study new`, `serve`, and `score` from the user's side: over HTTP with a plain client, with `kill -9`, in a browser.

mod browser;
mod client;
mod durability;
mod home;
mod load;
mod refusals;

use client::{Response, answer};
use home::{Home, TOKEN};
use serde_json::{Value, json};
use std::{collections::HashSet, fs};

const SHORT: [&str; 4] = ["--practice", "2", "--trials", "5"];
const PICTURE: usize = 3 * 256 * 256;

/// What an observer sees of a response but its body and the second in which it was sent.
fn visible(response: &Response) -> (u16, Vec<(String, String)>, usize) {
    let headers = response.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
    (response.status, headers, response.body.len())
}

#[test]
fn a_session_from_consent_to_score() {
    let home = Home::with_pictures(9);
    home.new_study(&SHORT);
    let server = home.serve();
    let mut client = server.client();
    let page = client.get("/");
    assert!(page.text().contains("data-visit=\"new\"") && page.text().contains("I have read this"));
    client.sign_up();
    assert!(client.cookie.as_ref().unwrap().starts_with("hueristic_"));
    assert!(client.get("/").text().contains("data-visit=\"unfinished\""));
    assert_eq!(client.post("/session", &json!({})).status, 204, "a browser has one session");
    let file = fs::read(home.study().join("pictures.rgb")).unwrap();
    let pictures: Vec<&[u8]> = file.chunks(PICTURE).collect();
    assert_eq!(pictures.len(), 9 * 4);
    let (mut photographs, mut places, mut fakes) = (HashSet::new(), vec![], vec![]);
    for at in 0..7 {
        let trial = client.next();
        assert_eq!((&trial["state"], &trial["practice"]), (&json!("trial"), &json!(at < 2)));
        let both = client.pictures(&trial);
        assert_eq!(visible(&both[0]), visible(&both[1]), "both look the same from outside");
        assert_eq!(both[0].body.len(), PICTURE);
        let found = both.map(|picture| pictures.iter().position(|known| *known == picture.body).unwrap());
        assert_eq!(found[0] / 4, found[1] / 4);
        assert!(photographs.insert(found[0] / 4), "no photograph twice");
        let fake = usize::from(found[0] % 4 == 0);
        fakes.push(found[fake] % 4);
        let place = ["first", "second"][fake];
        places.push(place);
        assert_eq!(client.post("/begin", &json!({ "trial": trial["trial"] })).status, 204);
        // every second answer is wrong
        let chosen = ["first", "second"][(fake + at) % 2];
        let reply = client.post("/answer", &answer(&trial, chosen)).json();
        assert_eq!(reply["fake"], if at < 2 { json!(place) } else { Value::Null });
    }
    assert!(fakes[2..].iter().filter(|version| **version == 1).count() == 1 && fakes[..2] == [fakes[0]; 2]);
    assert_eq!(client.next(), json!({ "state": "done", "code": "CODE-1" }));
    assert!(client.get("/").text().contains("data-visit=\"completed\""));
    scored(&home, &places);
}

/// The score of that session, while it is served.
fn scored(home: &Home, places: &[&str]) {
    let json = |options: &[&str]| -> Value {
        let text =
            home.says(&[&["study", "score", "study", "--json", "--bootstrap", "100"], options].concat());
        serde_json::from_str(&text).unwrap()
    };
    let counts = |scores: &Value, key: &str| -> u64 {
        scores["algorithms"].as_array().unwrap().iter().map(|a| a[key]["scored"].as_u64().unwrap()).sum()
    };
    // The client answers faster than pictures can be shown.
    let scores = json(&[]);
    assert_eq!((counts(&scores, "participants"), counts(&scores, "trials")), (0, 0));
    let scores = json(&["--all-trials"]);
    assert_eq!((counts(&scores, "participants"), counts(&scores, "trials")), (1, 4));
    let text = home.says(&["study", "score", "study", "--all-trials", "--out", "out", "--published"]);
    assert!(
        text.contains("fooled %") && text.contains("Colorization (full)") && text.contains("32.3"),
        "{text}"
    );
    let without = home.says(&["study", "score", "study"]);
    assert!(
        !without.contains("32.3") && without.contains("4 trials answered before both pictures"),
        "{without}"
    );
    let csv = fs::read_to_string(home.path().join("out/trials.csv")).unwrap();
    let lines: Vec<&str> = csv.lines().skip(1).collect();
    assert_eq!(lines.len(), 7);
    for (at, (line, place)) in lines.iter().zip(places).enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells[6..8], [*place, "too early"], "{line}");
        assert_eq!(cells[9..], [["0", "1"][at % 2], "1000.1", "999.9", "16.70", "612"]);
    }
    let written = fs::read_dir(home.path().join("out")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut written: Vec<String> = written.map(|name| name.into_string().unwrap()).collect();
    written.sort();
    let sheet = written.iter().find(|name| name.ends_with("_most_fooled.png")).unwrap();
    let sheet = image::open(home.path().join("out").join(sheet)).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (4 * 264 + 8, 2 * 264 + 32));
    assert_eq!(written.len(), 6);
}

#[test]
fn the_researcher_needs_the_token() {
    let home = Home::with_pictures(7);
    home.new_study(&SHORT);
    let mut server = home.serve_with(&[]);
    let token = server.said.lines().find_map(|line| line.strip_prefix("token:")).unwrap().trim().to_string();
    assert_eq!(token.len(), 32);
    let mut client = server.client();
    let form = |client: &mut client::Client, token: &str| {
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        client.request("POST", "/admin", kind, &format!("token={token}")).unwrap()
    };
    for path in ["/admin", "/admin/trials.csv", &format!("/admin?token={token}")] {
        let refused = client.get(path);
        assert!(refused.status == 401 && refused.text().contains("Log in"), "{path}: {}", refused.text());
    }
    let last = if token.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &token[..31]);
    for wrong in ["", "x", &token[..31], &wrong] {
        let refused = form(&mut client, wrong);
        assert!(refused.status == 401 && refused.header("set-cookie").is_none());
    }
    assert!(client.cookie.is_none());
    let entered = form(&mut client, &token);
    assert_eq!((entered.status, entered.header("location")), (303, Some("admin")));
    let cookie = entered.header("set-cookie").unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && !cookie.contains(&token), "{cookie}");
    let progress = client.get("/admin").text();
    assert!(
        progress.contains("ours") && progress.contains("0 of 40") && !progress.contains("fooled"),
        "{progress}"
    );
    assert!(client.get("/admin/trials.csv").text().starts_with("participant,completed,algorithm,"));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let mut other = server.client();
    assert_eq!(other.request("GET", "/admin", &bearer(&token), "").unwrap().status, 200);
    assert_eq!(other.request("GET", "/admin", &bearer(&wrong), "").unwrap().status, 401);
    // A later start keeps it and does not tell it; --token replaces it.
    server.kill();
    let mut server = home.serve_with(&[]);
    assert!(
        server.said.contains("the one of the first start") && !server.said.contains(&token),
        "{}",
        server.said
    );
    assert_eq!(server.client().request("GET", "/admin", &bearer(&token), "").unwrap().status, 200);
    server.kill();
    let server = home.serve();
    assert_eq!(server.client().request("GET", "/admin", &bearer(&token), "").unwrap().status, 401);
    assert_eq!(server.client().request("GET", "/admin", &bearer(TOKEN), "").unwrap().status, 200);
}

#[cfg(unix)]
#[test]
fn signals_end_it_and_one_process_serves() {
    let home = Home::with_pictures(7);
    home.new_study(&SHORT);
    let mut server = home.serve();
    let (code, message) = home.fails(&["study", "serve", "study", "--address", "127.0.0.1:0"]);
    assert!(code == 1 && message.contains("is being served by another process"), "{message}");
    // a connection that stays open
    let mut client = server.client();
    client.sign_up();
    assert_eq!(server.stop("-TERM"), Some(0));
    let mut server = home.serve();
    let taken = server.address.to_string();
    assert_eq!(server.stop("-INT"), Some(0));
    let server = home.serve_with(&["--token", TOKEN]);
    drop(taken);
    let (code, message) = {
        let other = Home::with_pictures(7);
        other.new_study(&SHORT);
        other.fails(&["study", "serve", "study", "--address", &server.address.to_string()])
    };
    assert!(code == 1 && message.contains("cannot listen at"), "{message}");
    // the session survives
    let mut again = server.client();
    again.cookie = client.cookie.clone();
    assert_eq!(again.next()["trial"], 0);
    assert!(!home.study().join("study.sqlite-wal").exists() || again.next()["trial"] == 0);
}
