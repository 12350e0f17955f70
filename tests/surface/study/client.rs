//! A plain HTTP client with a cookie, and a participant who uses it.

use serde_json::{Value, json};
use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
};

pub struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    pub cookie: Option<String>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}: {}", self.status, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, cookie: None }
    }

    /// Sends raw bytes and reads a response.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all(bytes)?;
        let response = read_response(&mut stream)?;
        self.stream = Some(stream);
        Ok(response)
    }

    pub fn request(&mut self, method: &str, path: &str, headers: &str, body: &str) -> io::Result<Response> {
        let cookie = self.cookie.as_ref().map_or(String::new(), |cookie| format!("Cookie: {cookie}\r\n"));
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: study\r\nContent-Length: {length}\r\n{cookie}{headers}\r\n{body}"
        );
        let response = self.raw(text.as_bytes())?;
        if let Some(cookie) = response.header("set-cookie") {
            self.cookie = cookie.split(';').next().map(String::from);
        }
        Ok(response)
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, "", "").unwrap()
    }

    pub fn try_post(&mut self, path: &str, body: &Value) -> io::Result<Response> {
        self.request("POST", path, "Content-Type: application/json\r\n", &body.to_string())
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Response {
        self.try_post(path, body).unwrap()
    }

    pub fn sign_up(&mut self) {
        assert_eq!(self.post("/session", &json!({})).status, 201);
    }

    /// The next trial, or the end.
    pub fn next(&mut self) -> Value {
        let next = self.post("/next", &json!({}));
        assert_eq!(next.status, 200, "{}", next.text());
        next.json()
    }

    pub fn pictures(&mut self, trial: &Value) -> [Response; 2] {
        [0, 1].map(|i| self.get(&format!("/picture/{}", trial["pictures"][i].as_str().unwrap())))
    }
}

/// The answer to a trial, as the page sends it.
pub fn answer(trial: &Value, chosen: &str) -> Value {
    json!({ "trial": trial["trial"], "chosen": chosen, "exposures": [1000.1, 999.9], "frame": 16.7, "response": 612.3 })
}

fn read_response(stream: &mut impl BufRead) -> io::Result<Response> {
    let mut line = |line: &mut String| -> io::Result<String> {
        line.clear();
        match stream.read_line(line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_string()),
        }
    };
    let buffer = &mut String::new();
    let first = line(buffer)?;
    let status =
        first.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let mut headers = vec![];
    loop {
        let header = line(buffer)?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_string()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, length)| length);
    let mut body = vec![0; length.parse().map_err(io::Error::other)?];
    stream.read_exact(&mut body)?;
    Ok(Response { status, headers, body })
}
