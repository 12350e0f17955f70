//! `kill -9` while many answer at once: every answer that was acknowledged is there afterwards.

use super::{
    client::{Client, answer},
    home::Home,
};
use serde_json::json;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

const PARTICIPANTS: usize = 12;
const KILLS: usize = 6;

/// Trials of each participant that were acknowledged, with the answer.
type Acknowledged = Arc<Mutex<HashMap<(usize, u64), &'static str>>>;

/// Answers until the server is gone or the session is over. None of the pictures are asked for.
fn storm(
    address: SocketAddr,
    participant: usize,
    cookie: &str,
    acknowledged: &Acknowledged,
) -> std::io::Result<()> {
    let mut client = Client::new(address);
    client.cookie = Some(cookie.into());
    loop {
        let next = client.try_post("/next", &json!({}))?.json();
        if next["state"] == "done" {
            return Ok(());
        }
        client.try_post("/begin", &json!({ "trial": next["trial"] }))?;
        let trial = next["trial"].as_u64().unwrap();
        let chosen = if (participant as u64 + trial).is_multiple_of(3) { "first" } else { "second" };
        if client.try_post("/answer", &answer(&next, chosen))?.status == 200 {
            acknowledged.lock().unwrap().insert((participant, trial), chosen);
        }
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let home = Home::with_pictures(130);
    home.new_study(&["--practice", "10", "--trials", "120"]);
    let mut server = home.serve();
    let sign_up = |_| {
        let mut client = server.client();
        client.sign_up();
        client.cookie.unwrap()
    };
    let cookies: Vec<String> = (0..PARTICIPANTS).map(sign_up).collect();
    let acknowledged = Acknowledged::default();
    for kill in 0..KILLS {
        let threads: Vec<_> = (cookies.iter().cloned().enumerate())
            .map(|(participant, cookie)| {
                let (address, acknowledged) = (server.address, acknowledged.clone());
                thread::spawn(move || storm(address, participant, &cookie, &acknowledged))
            })
            .collect();
        // moments that differ from one run to the next, as the machine's load does
        thread::sleep(Duration::from_millis(15 + 23 * kill as u64));
        server.kill();
        threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        server = home.serve();
        compare(&home, &acknowledged.lock().unwrap());
    }
    let count = acknowledged.lock().unwrap().len();
    println!("{count} answers acknowledged around {KILLS} kills, none lost");
    assert!(count >= KILLS, "the kills came before any answer");
}

/// Every acknowledged answer is in the CSV as it was given. Participants signed up in order.
fn compare(home: &Home, acknowledged: &HashMap<(usize, u64), &'static str>) {
    home.says(&["study", "score", "study", "--bootstrap", "2", "--out", "out"]);
    let csv = std::fs::read_to_string(home.path().join("out/trials.csv")).unwrap();
    let stored: HashMap<(usize, u64), String> = csv
        .lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            let participant: usize = cells[0].parse().unwrap();
            ((participant - 1, cells[3].parse::<u64>().unwrap() - 1), cells[8].to_string())
        })
        .collect();
    for (key, chosen) in acknowledged {
        assert_eq!(stored[key], *chosen, "{key:?}");
    }
}
