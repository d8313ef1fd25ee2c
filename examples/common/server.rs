//! As much HTTP/1.1 as an example needs: one request per connection, a thread for each, and bounds on all of it.
//! A request for a WebSocket turns its connection into one.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use super::args::{NetArgs, reachable};
use super::socket::{self, Talk};
use super::tls::{self, Stream};
use super::udp;

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
    /// Names in lower case, and values.
    pub(crate) headers: Vec<(String, String)>,
    /// What was posted.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header, whose name is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether only reading is asked for.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// What it gets.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The content type; empty for none.
    pub(crate) kind: &'static str,
    /// More headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The content.
    pub(crate) body: Cow<'static, [u8]>,
}

impl Response {
    /// Content of a type.
    pub(crate) fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Response { status, kind, headers: Vec::new(), body: Cow::Owned(body.into()) }
    }

    /// A file that is part of the program.
    pub(crate) fn file(kind: &'static str, text: &'static str) -> Self {
        Response { status: 200, kind, headers: Vec::new(), body: Cow::Borrowed(text.as_bytes()) }
    }

    /// One line for a person.
    pub(crate) fn text(status: u16, line: impl std::fmt::Display) -> Self {
        Response::new(status, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    /// The same with one header more.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// An answer, or another protocol.
pub(crate) enum Reply {
    /// The answer; the connection ends behind it.
    Response(Response),
    /// A WebSocket, with whom to talk on our side. Refused when the client did not ask for one.
    WebSocket(Box<dyn Talk>),
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Reply::Response(response)
    }
}

/// The web side of an example: where it listens, and with which certificate.
pub(crate) struct Web {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

impl Web {
    /// Listens.
    pub(crate) fn bind(args: &NetArgs) -> Result<Self, Box<dyn Error>> {
        let mut ips = udp::addresses(&args.bind)?;
        ips.extend(args.public_ip);
        Web::listen(args.http, args.https, &ips)
    }

    /// Listens on `http`, where the machine may also be called by `ips`.
    pub(crate) fn listen(http: SocketAddr, https: bool, ips: &[IpAddr]) -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind(http)
            .map_err(|error| format!("cannot serve HTTP on {http}: {error} (choose another with --http)"))?;
        let names: Vec<IpAddr> = ips.iter().copied().chain([http.ip()]).collect();
        let tls = https.then(|| tls::self_signed(&names)).transpose()?;
        Ok(Web { listener, tls })
    }

    /// Where to go with a browser on this machine.
    pub(crate) fn url(&self) -> io::Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let address: SocketAddr = reachable(self.listener.local_addr()?);
        Ok(format!("{scheme}://{address}/"))
    }

    /// Accepts for ever, in a thread of its own.
    pub(crate) fn serve<R: Into<Reply>>(self, handler: impl Fn(&Request) -> R + Send + Sync + 'static) {
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in self.listener.incoming() {
                let Ok(stream) = stream else {
                    // Out of descriptors, most likely: connections that end make room.
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                };
                // Each thread holds the handler.
                if Arc::strong_count(&handler) <= MAX_CONNECTIONS {
                    let handler = Arc::clone(&handler);
                    let tls = self.tls.clone();
                    // A client that went away is no matter of ours.
                    std::thread::spawn(move || drop(converse(stream, tls.as_ref(), &*handler)));
                }
            }
        });
    }
}

fn converse<R: Into<Reply>>(
    tcp: TcpStream,
    tls: Option<&Arc<ServerConfig>>,
    handler: &impl Fn(&Request) -> R,
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    let mut stream = Stream::new(tcp, tls).map_err(io::Error::other)?;
    let (request, rest) = match receive(&mut stream)? {
        Ok(request) => request,
        Err(refusal) => return respond(&mut stream, false, &refusal),
    };
    match handler(&request).into() {
        Reply::Response(response) => respond(&mut stream, request.method == "HEAD", &response),
        Reply::WebSocket(mut side) => match accept_key(&request) {
            Ok(key) => {
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-accept: {key}\r\n\r\n"
                );
                stream.write_all(head.as_bytes())?;
                stream.flush()?;
                socket::talk(stream, rest, &mut *side);
                Ok(())
            }
            Err(refusal) => respond(&mut stream, false, &refusal),
        },
    }
}

/// The proof that a WebSocket was understood (RFC 6455 §4.2.2), or why it is refused.
fn accept_key(request: &Request) -> Result<String, Response> {
    let is_upgrade = request.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    if !is_upgrade || request.header("sec-websocket-version") != Some("13") {
        return Err(Response::text(426, "this is a WebSocket").with("upgrade", "websocket"));
    }
    // A page of another site must not speak in the name of a person whose browser reaches us (§10.2).
    let origin = request.header("origin").and_then(|origin| origin.split_once("://"));
    if origin.is_some_and(|(_, origin)| Some(origin) != request.header("host")) {
        return Err(Response::text(403, "this WebSocket is for the server's own page"));
    }
    let key = request.header("sec-websocket-key");
    let key = key.ok_or_else(|| Response::text(400, "sec-websocket-key is missing"))?;
    Ok(tungstenite::handshake::derive_accept_key(key.as_bytes()))
}

/// Reads a request and what came behind it; the inner error is the answer to one that is none.
fn receive(stream: &mut Stream) -> io::Result<Result<(Request, Vec<u8>), Response>> {
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
    let rest = bytes.split_off(length);
    request.body = bytes;
    Ok(Ok((request, rest)))
}

fn read_some(stream: &mut Stream, bytes: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    stream.tcp().set_read_timeout(Some(left))?;
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
    let text = |header: &httparse::Header<'_>| {
        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
    };
    let headers = parsed.headers.iter().map(text).collect();
    let request =
        Request { method: method.into(), path: path.into(), query: query.into(), headers, body: Vec::new() };
    Ok(Some(Head { request, length, starts_at, waits }))
}

fn respond(stream: &mut Stream, head_only: bool, response: &Response) -> io::Result<()> {
    let Response { status, kind, headers, body } = response;
    let mut message = format!("HTTP/1.1 {status} {}\r\n", reason(*status));
    if !kind.is_empty() {
        message.push_str(&format!("content-type: {kind}\r\n"));
    }
    if *status != 204 {
        message.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        message.push_str(&format!("{name}: {value}\r\n"));
    }
    message.push_str("cache-control: no-store\r\nconnection: close\r\n\r\n");
    let mut message = message.into_bytes();
    if !head_only {
        message.extend_from_slice(body);
    }
    stream.write_all(&message)?;
    stream.finish()?;
    // What the client still sends is read, or the system would cut it off before it has read the answer.
    let mut rest = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while rest.len() < 4 * MAX_BODY && read_some(stream, &mut rest, deadline).is_ok() {}
    Ok(())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        _ => "See Body",
    }
}
