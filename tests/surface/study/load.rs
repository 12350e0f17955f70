//! Many participants at once, whole sessions with all pictures: no answer is lost, and answers are acknowledged quickly.

use super::{
    client::{Client, answer},
    home::Home,
};
use serde_json::json;
use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

/// A whole session that waits before each answer; the time that each answer took.
fn session(address: SocketAddr, thinks: Duration) -> Vec<Duration> {
    let (mut client, mut times) = (Client::new(address), vec![]);
    client.sign_up();
    loop {
        let trial = client.next();
        if trial["state"] == "done" {
            return times;
        }
        assert!(client.pictures(&trial).iter().all(|picture| picture.status == 200));
        assert_eq!(client.post("/begin", &json!({ "trial": trial["trial"] })).status, 204);
        thread::sleep(thinks);
        let body = answer(&trial, "first");
        let begun = Instant::now();
        assert_eq!(client.post("/answer", &body).status, 200);
        times.push(begun.elapsed());
    }
}

/// The sorted times of all answers.
fn crowd(participants: usize, practice: usize, trials: usize, thinks: Duration) -> Vec<Duration> {
    let home = Home::with_pictures(practice + trials);
    let quota = participants.div_ceil(2).to_string();
    home.new_study(&[
        "--practice",
        &practice.to_string(),
        "--trials",
        &trials.to_string(),
        "--participants",
        &quota,
    ]);
    let server = home.serve();
    let begun = Instant::now();
    let threads: Vec<_> = (0..participants)
        .map(|_| {
            let address = server.address;
            thread::spawn(move || session(address, thinks))
        })
        .collect();
    let mut times: Vec<Duration> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    times.sort();
    let all = participants * (practice + trials);
    assert_eq!(times.len(), all);
    let percentile = |share: f64| times[(share * (times.len() - 1) as f64) as usize].as_secs_f64() * 1e3;
    println!(
        "{participants} participants at once, {all} answers in {:.1} s: median {:.1} ms, p99 {:.1} ms, largest {:.1} ms",
        begun.elapsed().as_secs_f64(),
        percentile(0.5),
        percentile(0.99),
        percentile(1.0)
    );
    let counts = home.says(&["study", "score", "study", "--all-trials", "--bootstrap", "2", "--json"]);
    let scores: serde_json::Value = serde_json::from_str(&counts).unwrap();
    let complete = |algorithm: &serde_json::Value| algorithm["participants"]["scored"].as_u64().unwrap();
    let complete: Vec<u64> = scores["algorithms"].as_array().unwrap().iter().map(complete).collect();
    assert_eq!(complete, [participants as u64 / 2; 2], "all are stored, and balanced");
    times
}

#[test]
fn a_crowd_loses_no_answer() {
    let times = crowd(40, 1, 4, Duration::from_millis(20));
    // far above what a slow and busy machine needs: a server that waits for each answer's commit alone is above it
    assert!(times[times.len() * 99 / 100] < Duration::from_secs(2));
}

#[test]
#[ignore = "measures whole sessions of a hundred participants: run it alone"]
fn a_hundred_whole_sessions_are_answered_within_a_tenth_of_a_second() {
    let times = crowd(100, 10, 40, Duration::from_millis(400));
    assert!(times[times.len() * 99 / 100] < Duration::from_millis(100));
}
