//! The HTTP side: the page, and signalling as JSON.
//!
//! | request                     | body                                            | answer                          |
//! |-----------------------------|-------------------------------------------------|---------------------------------|
//! | `GET /`                     |                                                 | the page                        |
//! | `GET /stats`                |                                                 | `{"sessions":n,"channels":n}`   |
//! | `POST /offer`               | `{"type":"offer","sdp":…,"negotiated":[…]?}`    | an answer, with its session     |
//! | `POST /offer?session=ID`    | the same: renegotiation, ICE restart            | the same                        |
//! | `POST /connect`             | `{"negotiated":[…]?}`                           | an offer, with its session      |
//! | `POST /answer?session=ID`   | `{"type":"answer","sdp":…}`                     | `{"session":…}`                 |
//! | `POST /close?session=ID`    |                                                 | `{}`                            |
//!
//! A request that cannot be served gets a status and one line of text that says why.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use serde::{Deserialize, Serialize};
use tiny_http::{Header, Method, Request, Response, Server};

use crate::media::{Command, Handle};

/// The largest body that is read. Browser offers are a few kilobytes.
const MAX_BODY: usize = 256 * 1024;
/// Threads that serve requests: each of them may wait for a slow client.
const WORKERS: usize = 8;

/// A session description in JSON, as `RTCSessionDescription` prints it, with what this server adds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Description {
    /// `offer` or `answer`.
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    /// The SDP.
    #[serde(default)]
    pub(crate) sdp: String,
    /// Names the connection in later requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    /// Channels agreed by id: no message in the band opens them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) negotiated: Vec<u16>,
}

/// Why a request is not served.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: u16,
    /// One line for a person.
    pub(crate) why: String,
}

impl Refusal {
    /// A refusal with the text of an error.
    pub(crate) fn new(status: u16, why: impl std::fmt::Display) -> Self {
        Refusal { status, why: why.to_string() }
    }
}

/// Serves until [`Server::unblock`] was called for every worker.
pub(crate) fn serve(server: &Arc<Server>, media: &Handle) -> Vec<std::thread::JoinHandle<()>> {
    let worker = || {
        let (server, media) = (Arc::clone(server), media.clone());
        std::thread::spawn(move || {
            while let Ok(request) = server.recv() {
                // A client that went away before its response is no matter of ours.
                let _ = handle(request, &media);
            }
        })
    };
    (0..WORKERS).map(|_| worker()).collect()
}

/// Lets every worker return.
pub(crate) fn stop(server: &Server) {
    (0..WORKERS).for_each(|_| server.unblock());
}

fn handle(mut request: Request, media: &Handle) -> io::Result<()> {
    let url = request.url().to_owned();
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    let page = match path {
        "/" => Some(("text/html; charset=utf-8", include_str!("page/index.html"))),
        "/style.css" => Some(("text/css; charset=utf-8", include_str!("page/style.css"))),
        "/app.js" => Some(("text/javascript; charset=utf-8", include_str!("page/app.js"))),
        "/peer.js" => Some(("text/javascript; charset=utf-8", include_str!("page/peer.js"))),
        _ => None,
    };
    let result = match (request.method(), page) {
        (Method::Get | Method::Head, Some((kind, text))) => {
            return respond(request, 200, kind, text.to_owned());
        }
        (Method::Get, None) if path == "/stats" => {
            ask(media, |reply| Command::Stats { reply }).map(|stats| json(&stats))
        }
        (Method::Post, None) => signal(&mut request, path, query, media),
        (_, None) => Err(Refusal::new(404, format_args!("there is nothing at {path}"))),
        (method, Some(_)) => Err(Refusal::new(405, format_args!("{path} is not for {method}"))),
    };
    match result {
        Ok(body) => respond(request, 200, "application/json", body),
        Err(Refusal { status, why }) => {
            tracing::info!(status, %why, path, "refused");
            respond(request, status, "text/plain; charset=utf-8", why + "\n")
        }
    }
}

fn signal(request: &mut Request, path: &str, query: &str, media: &Handle) -> Result<String, Refusal> {
    let session = query.split('&').find_map(|pair| pair.strip_prefix("session=")).map(str::to_owned);
    let named = || session.clone().ok_or_else(|| Refusal::new(400, "the session is missing: ?session=ID"));
    match path {
        "/offer" => {
            let offer = description(request, "offer")?;
            ask(media, |reply| Command::Offer { session, offer, reply })?.map(|answer| json(&answer))
        }
        "/connect" => {
            let wishes = body(request)?;
            ask(media, |reply| Command::Connect { negotiated: wishes.negotiated, reply })?
                .map(|offer| json(&offer))
        }
        "/answer" => {
            let (session, answer) = (named()?, description(request, "answer")?);
            let done = serde_json::json!({ "session": session }).to_string();
            ask(media, |reply| Command::Answer { session, answer, reply })?.map(|()| done)
        }
        "/close" => {
            let session = named()?;
            ask(media, |reply| Command::Close { session, reply })?.map(|()| "{}".to_owned())
        }
        _ => Err(Refusal::new(404, format_args!("there is nothing at {path}"))),
    }
}

/// Puts a question to the media thread and waits for its answer.
fn ask<T>(
    media: &Handle,
    question: impl FnOnce(std::sync::mpsc::SyncSender<T>) -> Command,
) -> Result<T, Refusal> {
    let (reply, answer) = sync_channel(1);
    media.tell(question(reply));
    answer.recv().map_err(|_| Refusal::new(503, "the server is stopping"))
}

fn description(request: &mut Request, kind: &str) -> Result<Description, Refusal> {
    let description = body(request)?;
    if description.kind != kind {
        return Err(Refusal::new(
            400,
            format_args!("\"type\" must be \"{kind}\", not {:?}", description.kind),
        ));
    }
    Ok(description)
}

/// Reads the body as JSON; an empty one is an empty description.
fn body(request: &mut Request) -> Result<Description, Refusal> {
    let too_large = || Refusal::new(413, format_args!("the body is larger than {MAX_BODY} bytes"));
    if request.body_length().is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let limit = MAX_BODY as u64 + 1;
    request.as_reader().take(limit).read_to_end(&mut bytes).map_err(|error| Refusal::new(400, error))?;
    if bytes.len() > MAX_BODY {
        return Err(too_large());
    }
    if bytes.is_empty() {
        return Ok(Description::default());
    }
    // serde names the line and the column.
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::new(400, format_args!("not the expected JSON: {error}")))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structs of strings and numbers always serialise")
}

fn respond(request: Request, status: u16, kind: &str, body: String) -> io::Result<()> {
    let header = |name: &str, value: &str| {
        Header::from_bytes(name, value).expect("names and values are ASCII constants of this file")
    };
    let response = Response::from_string(body)
        .with_status_code(status)
        .with_header(header("content-type", kind))
        .with_header(header("cache-control", "no-store"));
    request.respond(response)
}
