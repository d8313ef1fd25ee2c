//! As much HTTP/1.1 as an example needs: one request per connection, a thread for each, and bounds on all of it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections served at once; more are closed unanswered.
const MAX_CONNECTIONS: usize = 256;
/// The largest head, and the largest body: browser offers are a few kilobytes.
const MAX_HEAD: usize = 16 * 1024;
const MAX_BODY: usize = 256 * 1024;
const MAX_HEADERS: usize = 64;
/// How long a client may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Request {
    /// `GET`, `POST` and so on.
    pub(crate) method: String,
    /// The target before the question mark.
    pub(crate) path: String,
    /// The target behind it.
    pub(crate) query: String,
    /// What was posted.
    pub(crate) body: Vec<u8>,
}

/// What it gets.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The content type.
    pub(crate) kind: &'static str,
    /// The content.
    pub(crate) body: String,
}

impl Response {
    /// One line for a person.
    pub(crate) fn text(status: u16, line: impl std::fmt::Display) -> Self {
        Response { status, kind: "text/plain; charset=utf-8", body: format!("{line}\n") }
    }
}

/// Accepts for ever, in a thread of its own.
pub(crate) fn serve(listener: TcpListener, handler: impl Fn(&Request) -> Response + Send + Sync + 'static) {
    let handler = Arc::new(handler);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors, most likely: connections that end make room.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            // Each thread holds the handler.
            if Arc::strong_count(&handler) <= MAX_CONNECTIONS {
                let handler = Arc::clone(&handler);
                // A client that went away is no matter of ours.
                std::thread::spawn(move || drop(converse(stream, &*handler)));
            }
        }
    });
}

fn converse(mut stream: TcpStream, handler: &impl Fn(&Request) -> Response) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match receive(&mut stream)? {
        Ok(request) => respond(&mut stream, request.method == "HEAD", &handler(&request)),
        Err(refusal) => respond(&mut stream, false, &refusal),
    }
}

/// Reads a request; the inner error is the answer to one that is none.
fn receive(stream: &mut TcpStream) -> io::Result<Result<Request, Response>> {
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let (mut request, length) = loop {
        read_some(stream, &mut bytes, deadline)?;
        match parse_head(&bytes) {
            Ok(Some(Head { request, length, starts_at, waits })) => {
                if waits && length <= MAX_BODY {
                    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                bytes.drain(..starts_at);
                break (request, length);
            }
            Ok(None) if bytes.len() <= MAX_HEAD => {}
            Ok(None) => return Ok(Err(Response::text(431, "the head is too large"))),
            Err(refusal) => return Ok(Err(refusal)),
        }
    };
    if length > MAX_BODY {
        return Ok(Err(Response::text(413, format_args!("the body is larger than {MAX_BODY} bytes"))));
    }
    while bytes.len() < length {
        read_some(stream, &mut bytes, deadline)?;
    }
    bytes.truncate(length);
    request.body = bytes;
    Ok(Ok(request))
}

fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut piece = [0; 4096];
    match stream.read(&mut piece)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => {
            bytes.extend_from_slice(&piece[..count]);
            Ok(())
        }
    }
}

struct Head {
    request: Request,
    /// Length of the body.
    length: usize,
    /// Where it starts.
    starts_at: usize,
    /// Whether the client waits for a word before it sends the body (RFC 9110 §10.1.1).
    waits: bool,
}

/// Reads the head, if it is there whole.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Response> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let starts_at = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Response::text(400, format_args!("not HTTP: {error}"))),
    };
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name: &str| {
        let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value))
    };
    if header("transfer-encoding").is_some() {
        return Err(Response::text(411, "say the length of the body, and send it whole"));
    }
    let length = match header("content-length") {
        None => 0,
        Some(text) => text.parse().map_err(|_| Response::text(400, "content-length is no number"))?,
    };
    let waits = header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
    let request = Request { method: method.into(), path: path.into(), query: query.into(), body: Vec::new() };
    Ok(Some(Head { request, length, starts_at, waits }))
}

fn respond(stream: &mut TcpStream, head_only: bool, response: &Response) -> io::Result<()> {
    let Response { status, kind, body } = response;
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        _ => "See Body",
    };
    let mut message = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    if !head_only {
        message.push_str(body);
    }
    stream.write_all(message.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // What the client still sends is read, or the system would cut it off before it has read the answer.
    let mut rest = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while rest.len() < 4 * MAX_BODY && read_some(stream, &mut rest, deadline).is_ok() {}
    Ok(())
}
