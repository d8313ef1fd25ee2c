//! The HTTP side: the page, and signalling as JSON.
//!
//! | request                     | body                                            | answer                          |
//! |-----------------------------|-------------------------------------------------|---------------------------------|
//! | `GET /`                     |                                                 | the page                        |
//! | `GET /stats`                |                                                 | `{"sessions":n,"channels":n}`   |
//! | `GET /stats?session=ID`     |                                                 | how one connection was made     |
//! | `POST /offer`               | `{"type":"offer","sdp":…,"negotiated":[…]?}`    | an answer, with its session     |
//! | `POST /offer?session=ID`    | the same: renegotiation, ICE restart            | the same                        |
//! | `POST /connect`             | `{"negotiated":[…]?}`                           | an offer, with its session      |
//! | `POST /answer?session=ID`   | `{"type":"answer","sdp":…}`                     | `{"session":…}`                 |
//! | `POST /close?session=ID`    |                                                 | `{}`                            |
//!
//! A request that cannot be served gets a status and one line of text that says why.

use std::sync::mpsc::SyncSender;

use serde::{Deserialize, Serialize};

use crate::common::net::Handle;
use crate::common::page;
use crate::common::server::{Request, Response};
use crate::media::Command;

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

/// Answers a request.
pub(crate) fn handle(request: &Request, media: &Handle<Command>) -> Response {
    if let Some(file) = page::file(request) {
        return file;
    }
    let page = match request.path.as_str() {
        "/" => Some(("text/html; charset=utf-8", include_str!("page/index.html"))),
        "/style.css" => Some(("text/css; charset=utf-8", include_str!("page/style.css"))),
        "/app.js" => Some(("text/javascript; charset=utf-8", include_str!("page/app.js"))),
        "/peer.js" => Some(("text/javascript; charset=utf-8", include_str!("page/peer.js"))),
        _ => None,
    };
    let result = match page {
        Some((kind, text)) if request.is_read() => return Response::file(kind, text),
        None if request.is_read() && request.path == "/stats" => match session(request) {
            Some(session) => ask(media, |reply| Command::Details { session, reply })
                .and_then(|details| details.map(|details| json(&details))),
            None => ask(media, |reply| Command::Stats { reply }).map(|stats| json(&stats)),
        },
        None if request.method == "POST" => signal(request, media),
        None => Err(Refusal::new(404, format_args!("there is nothing at {}", request.path))),
        Some(_) => Err(Refusal::new(405, format_args!("{} can only be read", request.path))),
    };
    match result {
        Ok(body) => Response::new(200, "application/json", body),
        Err(Refusal { status, why }) => {
            tracing::info!(status, %why, path = request.path, "refused");
            Response::text(status, why)
        }
    }
}

/// The session that a request names.
fn session(request: &Request) -> Option<String> {
    request.query.split('&').find_map(|pair| pair.strip_prefix("session=")).map(str::to_owned)
}

fn signal(request: &Request, media: &Handle<Command>) -> Result<String, Refusal> {
    let session = session(request);
    let named = || session.clone().ok_or_else(|| Refusal::new(400, "the session is missing: ?session=ID"));
    match request.path.as_str() {
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
        path => Err(Refusal::new(404, format_args!("there is nothing at {path}"))),
    }
}

/// Puts a question to the media thread and waits for its answer.
fn ask<T>(media: &Handle<Command>, question: impl FnOnce(SyncSender<T>) -> Command) -> Result<T, Refusal> {
    media.ask(question).ok_or_else(|| Refusal::new(503, "the server is stopping"))
}

fn description(request: &Request, kind: &str) -> Result<Description, Refusal> {
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
fn body(request: &Request) -> Result<Description, Refusal> {
    if request.body.is_empty() {
        return Ok(Description::default());
    }
    // serde names the line and the column.
    let not_json = |error| Refusal::new(400, format_args!("not the expected JSON: {error}"));
    serde_json::from_slice(&request.body).map_err(not_json)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structs of strings and numbers always serialise")
}
