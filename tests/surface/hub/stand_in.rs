//! A server with scripted responses that records its requests.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET /path`
    pub line: String,
    /// The server address used by the client.
    pub host: String,
    pub token: Option<String>,
    /// First byte of the requested part.
    pub from: Option<usize>,
    pub body: Vec<u8>,
}

/// One response; for a file with the hub's file headers.
pub struct Answer {
    status: &'static str,
    head: String,
    body: Vec<u8>,
    /// Bytes of the body after which the connection is cut.
    cut: Option<usize>,
}

impl Answer {
    pub fn file(body: &[u8]) -> Self {
        let head = format!("ETag: \"etag-{}\"\r\nX-Repo-Commit: {COMMIT}\r\n", body.len());
        Self { status: "200 OK", head, body: body.into(), cut: None }
    }

    pub fn json(status: &'static str, body: impl ToString) -> Self {
        let head = "Content-Type: application/json\r\n".into();
        Self { status, head, body: body.to_string().into_bytes(), cut: None }
    }

    /// The file from the byte `from` on.
    pub fn part(file: &[u8], from: usize) -> Self {
        let head = format!("Content-Range: bytes {from}-{}/{}\r\n", file.len() - 1, file.len());
        Self { status: "206 Partial Content", head, body: file[from..].into(), cut: None }
    }

    pub fn redirect(to: &str) -> Self {
        Self { status: "302 Found", head: format!("Location: {to}\r\n"), body: vec![], cut: None }
    }

    /// The same, but the connection is cut after that many bytes of the body.
    pub fn cut_after(self, bytes: usize) -> Self {
        Self { cut: Some(bytes), ..self }
    }
}

pub struct StandIn {
    pub endpoint: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl StandIn {
    /// Serves `files`, by path below the root, until the test ends.
    pub fn start(files: HashMap<String, Vec<u8>>) -> Self {
        Self::answering(move |asked| {
            let path = asked.line.split_once(' ').map(|(_, path)| path);
            path.and_then(|path| files.get(path)).map(|body| Answer::file(body))
        })
    }

    /// Responds according to `rule`; 404 if it returns none.
    pub fn answering(rule: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, rule) = (asked.clone(), Arc::new(rule));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, rule) = (log.clone(), rule.clone());
                thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    let missing = || Answer::json("404 Not Found", "{\"error\":\"no such entry\"}");
                    write(stream, &request, rule(&request).unwrap_or_else(missing));
                });
            }
        });
        Self { endpoint, asked }
    }

    /// Requests since the last call, as `METHOD /path`.
    pub fn asked(&self) -> Vec<String> {
        self.requests().into_iter().map(|asked| asked.line).collect()
    }

    /// As `requests`, with tokens and bodies.
    pub fn requests(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0).map(|_| line.trim_end().to_string())
    };
    let line = next()?.rsplit_once(' ')?.0.to_string();
    let (mut host, mut token, mut from, mut length) = (String::new(), None, None, 0);
    while let Some((name, value)) = next()?.split_once(": ") {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "host" => host = value.into(),
            "range" => from = value.strip_prefix("bytes=").and_then(|v| v.strip_suffix('-')?.parse().ok()),
            "authorization" => token = Some(value.to_string()),
            "transfer-encoding" => panic!("{line}: the stand-in reads no chunks"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { line, host, token, from, body })
}

fn write(mut stream: TcpStream, request: &Asked, answer: Answer) {
    let Answer { status, head, body, cut } = answer;
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{head}Connection: close\r\n\r\n");
    // A client that has disconnected is not a server error.
    let _ = stream.write_all(head.as_bytes());
    if !request.line.starts_with("HEAD") {
        let _ = stream.write_all(&body[..cut.unwrap_or(length)]);
    }
}
