//! WHIP and WHEP: a connection for media by one HTTP request (RFC 9725, and draft-ietf-wish-whep for viewers).
//!
//! ```text
//!  POST   /whip/NAME or /whep/NAME   an offer                  201, the answer, Location, ETag
//!  PATCH  /session/ID                candidates                204
//!  PATCH  /session/ID                new ufrag and password    200, ours, and a new ETag: an ICE restart
//!  DELETE /session/ID                                          200
//!  OPTIONS, GET, HEAD                                          200, and what is taken
//! ```
//!
//! The HTTP threads run [`Door::handle`]; what it asks for is answered on the media thread by the example and its
//! [`Sessions`].

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::mpsc::SyncSender;

use sansrtc::{Answer, Key, Offer, RemoteCandidate, Rtc};

use super::net::{Handle, Net};
use super::page;
use super::server::{Request, Response};

/// Sessions at once.
const MAX_SESSIONS: usize = 256;
/// Letters in the name of a stream.
const MAX_NAME: usize = 64;
/// The largest fragment of a description, and candidates in one.
const MAX_FRAGMENT: usize = 16 * 1024;
const MAX_CANDIDATES: usize = 64;
const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What a peer comes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It sends: WHIP.
    Publish,
    /// It receives: WHEP.
    View,
}

/// Why a request is not served.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: u16,
    why: String,
}

impl Refusal {
    /// With an HTTP status and one line for a person.
    pub(crate) fn new(status: u16, why: impl Display) -> Self {
        Refusal { status, why: why.to_string() }
    }
}

/// A new session.
#[derive(Debug)]
pub(crate) struct Created {
    id: String,
    etag: String,
    answer: String,
}

/// What became of a fragment.
#[derive(Debug)]
pub(crate) enum Patched {
    /// Its candidates were taken.
    Candidates,
    /// ICE was restarted.
    Restarted {
        /// Our side of it.
        fragment: String,
        /// The new name of the ICE session.
        etag: String,
    },
}

/// What an HTTP thread asks of the media thread.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A new session.
    Offer {
        /// To publish or to view.
        role: Role,
        /// The stream.
        name: String,
        /// The offer.
        sdp: String,
        /// The way back.
        reply: SyncSender<Result<Created, Refusal>>,
    },
    /// Candidates, or an ICE restart.
    Patch {
        /// The session.
        id: String,
        /// `If-Match`
        etag: Option<String>,
        /// A fragment of a description (RFC 8840 §9).
        fragment: String,
        /// The way back.
        reply: SyncSender<Result<Patched, Refusal>>,
    },
    /// The end.
    Delete {
        /// The session.
        id: String,
        /// The way back.
        reply: SyncSender<Result<(), Refusal>>,
    },
}

// --- HTTP threads ----------------------------------------------------------------------------------

/// The HTTP side.
pub(crate) struct Door {
    /// What may be asked for.
    pub(crate) roles: &'static [Role],
    /// What a request has to bring as its bearer token.
    pub(crate) token: Option<String>,
    /// URLs of STUN and TURN servers that clients are told of.
    pub(crate) ice_servers: Vec<String>,
}

impl Door {
    /// Answers any request: with the page `index`, a file that pages share, or as [`handle`](Self::handle) does.
    pub(crate) fn serve(&self, index: &'static str, request: &Request, media: &Handle<Ask>) -> Response {
        if request.path == "/" {
            return Response::file("text/html; charset=utf-8", index);
        }
        let response = page::file(request).or_else(|| self.handle(request, media));
        response.unwrap_or_else(|| Response::text(404, "there is nothing here"))
    }

    /// Answers a request; `None` when its path is none of ours.
    pub(crate) fn handle(&self, request: &Request, media: &Handle<Ask>) -> Option<Response> {
        let (place, name) = request.path.strip_prefix('/')?.split_once('/')?;
        let role = match place {
            "whip" => Some(Role::Publish),
            "whep" => Some(Role::View),
            "session" => None,
            _ => return None,
        };
        if role.is_some_and(|role| !self.roles.contains(&role)) {
            return None;
        }
        let result = match request.method.as_str() {
            // RFC 9725 §4.2: asked without credentials before anything else.
            "OPTIONS" => Ok(self.options(role)),
            _ if !self.lets_in(request) => Err(Refusal::new(401, "a bearer token is needed")),
            "GET" | "HEAD" => Ok(Response::new(200, SDP, "")),
            "POST" if role.is_some() => self.post(request, role.unwrap_or(Role::View), name, media),
            "PATCH" if role.is_none() => patch(request, name, media),
            "DELETE" if role.is_none() => delete(name, media),
            _ => Err(Refusal::new(405, "a session is made by POST, changed by PATCH, ended by DELETE")),
        };
        let response = result.unwrap_or_else(|Refusal { status, why }| {
            tracing::info!(status, why, path = request.path, "refused");
            let response = Response::text(status, why);
            if status == 401 { response.with("www-authenticate", "Bearer") } else { response }
        });
        // Players live on pages of other sites.
        Some(
            response
                .with("access-control-allow-origin", "*")
                .with("access-control-expose-headers", "location, etag, link, accept-patch"),
        )
    }

    fn lets_in(&self, request: &Request) -> bool {
        let given = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        self.token.as_deref().is_none_or(|token| given == Some(token))
    }

    fn options(&self, role: Option<Role>) -> Response {
        let (methods, kind, value) = match role {
            Some(_) => ("OPTIONS, GET, HEAD, POST", "accept-post", SDP),
            None => ("OPTIONS, GET, HEAD, PATCH, DELETE", "accept-patch", FRAGMENT),
        };
        Response::new(200, "", "")
            .with(kind, value)
            .with("access-control-allow-methods", methods)
            .with("access-control-allow-headers", "authorization, content-type, if-match")
    }

    fn post(
        &self,
        request: &Request,
        role: Role,
        name: &str,
        media: &Handle<Ask>,
    ) -> Result<Response, Refusal> {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_fine) || name.starts_with('.') {
            return Err(Refusal::new(404, "a stream's name has letters, digits and dashes"));
        }
        let sdp = text(request, SDP, usize::MAX)?;
        let name = name.to_owned();
        let Created { id, etag, answer } = ask(media, |reply| Ask::Offer { role, name, sdp, reply })?;
        let mut response = Response::new(201, SDP, answer)
            .with("location", format!("/session/{id}"))
            .with("etag", etag)
            .with("accept-patch", FRAGMENT);
        for url in &self.ice_servers {
            // RFC 9725 §4.6
            response = response.with("link", format!("<{url}>; rel=\"ice-server\""));
        }
        Ok(response)
    }
}

fn patch(request: &Request, id: &str, media: &Handle<Ask>) -> Result<Response, Refusal> {
    let fragment = text(request, FRAGMENT, MAX_FRAGMENT)?;
    let (id, etag) = (id.to_owned(), request.header("if-match").map(str::to_owned));
    Ok(match ask(media, |reply| Ask::Patch { id, etag, fragment, reply })? {
        Patched::Candidates => Response::new(204, "", ""),
        Patched::Restarted { fragment, etag } => Response::new(200, FRAGMENT, fragment).with("etag", etag),
    })
}

fn delete(id: &str, media: &Handle<Ask>) -> Result<Response, Refusal> {
    let id = id.to_owned();
    ask(media, |reply| Ask::Delete { id, reply })?;
    Ok(Response::new(200, "", ""))
}

fn text(request: &Request, kind: &str, max: usize) -> Result<String, Refusal> {
    let found = request.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default();
    if !found.trim().eq_ignore_ascii_case(kind) {
        return Err(Refusal::new(415, format_args!("{kind} is expected")));
    }
    if request.body.len() > max {
        return Err(Refusal::new(413, format_args!("more than {max} bytes")));
    }
    String::from_utf8(request.body.clone()).map_err(|_| Refusal::new(400, "not text"))
}

fn ask<T>(
    media: &Handle<Ask>,
    question: impl FnOnce(SyncSender<Result<T, Refusal>>) -> Ask,
) -> Result<T, Refusal> {
    media.ask(question).unwrap_or_else(|| Err(Refusal::new(503, "the server is stopping")))
}

// --- The media thread ------------------------------------------------------------------------------

/// The sessions that were made.
#[derive(Default)]
pub(crate) struct Sessions {
    by_id: HashMap<String, Session>,
}

struct Session {
    key: Key,
    role: Role,
    /// The peer's offer, with the credentials of the ICE session that runs.
    offer: String,
    etag: String,
}

impl Sessions {
    /// Answers an offer with a connection that is ready for it.
    pub(crate) fn create(
        &mut self,
        net: &mut Net,
        role: Role,
        mut rtc: Rtc,
        sdp: String,
    ) -> Result<(Key, Created), Refusal> {
        if self.by_id.len() >= MAX_SESSIONS {
            return Err(Refusal::new(503, "all sessions are taken"));
        }
        let offer: Offer = sdp.parse().map_err(|error| Refusal::new(400, error))?;
        // RFC 9725 §4.4.3: all of it, or nothing.
        let answer = rtc.accept_offer(&offer).map_err(|error| Refusal::new(422, error))?;
        let (id, etag) = (fresh(), etag());
        let key = net.admit(rtc);
        self.by_id.insert(id.clone(), Session { key, role, offer: sdp, etag: etag.clone() });
        Ok((key, Created { id, etag, answer: answer.to_string() }))
    }

    /// Takes candidates, or restarts ICE.
    pub(crate) fn patch(
        &mut self,
        net: &mut Net,
        id: &str,
        etag: Option<&str>,
        fragment: &str,
    ) -> Result<Patched, Refusal> {
        let session = self.by_id.get_mut(id).ok_or_else(unknown)?;
        let mut rtc = net.connection(session.key).ok_or_else(unknown)?;
        let ufrag = value(fragment, "a=ice-ufrag:");
        let is_of_this = ufrag == value(&session.offer, "a=ice-ufrag:");
        match etag {
            Some(etag) if etag == "*" || etag == session.etag => {}
            Some(_) => return Err(Refusal::new(412, "this is about another ICE session")),
            // There are players that know of no entity tags. What they send tells by the user name which ICE session
            // it is for, so candidates are taken, and nothing else. Of publishers the RFC asks more.
            None if session.role == Role::View && is_of_this => {}
            // RFC 9725 §4.3.1: without it nobody knows which ICE session is meant.
            None => return Err(Refusal::new(428, "if-match is missing")),
        }
        if is_of_this || ufrag.is_none() {
            for (mid, candidate) in candidates(fragment).take(MAX_CANDIDATES) {
                let signalled =
                    RemoteCandidate { candidate, mid, m_line_index: None, username_fragment: ufrag };
                // RFC 9725 §4.3.2: what is of no use is passed over in silence.
                if let Err(error) = rtc.add_signalled_candidate(signalled) {
                    tracing::debug!(%error, candidate, "a candidate is of no use");
                }
            }
            return Ok(Patched::Candidates);
        }
        // §4.3.3: all else is as it was agreed, so the offer is made again with these credentials.
        let password =
            value(fragment, "a=ice-pwd:").ok_or_else(|| Refusal::new(400, "a=ice-pwd is missing"))?;
        let again = renewed(&session.offer, ufrag.unwrap_or_default(), password, fragment);
        let offer: Offer = again.parse().map_err(|error| Refusal::new(400, error))?;
        let answer = rtc.accept_offer(&offer).map_err(|error| Refusal::new(422, error))?;
        session.offer = again;
        session.etag = self::etag();
        Ok(Patched::Restarted { fragment: ice_of(&answer), etag: session.etag.clone() })
    }

    /// Ends a session at its peer's wish; the connection goes when it reports that it is closed.
    pub(crate) fn delete(&mut self, net: &mut Net, id: &str) -> Result<(), Refusal> {
        let session = self.by_id.remove(id).ok_or_else(unknown)?;
        net.close(session.key);
        Ok(())
    }

    /// A connection has ended.
    pub(crate) fn forget(&mut self, key: Key) {
        self.by_id.retain(|_, session| session.key != key);
    }
}

fn unknown() -> Refusal {
    Refusal::new(404, "there is no such session; it may have ended")
}

fn fresh() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A strong entity tag (RFC 9110 §8.8.3).
fn etag() -> String {
    format!("\"{:016x}\"", rand::random::<u64>())
}

/// What stands behind the first line that starts with `name`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The candidates of a fragment, with the name of their section.
fn candidates(fragment: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let mut mid = None;
    fragment.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix("a=mid:") {
            mid = Some(name.trim());
        }
        let candidate = line.strip_prefix("a=").filter(|rest| rest.starts_with("candidate:"));
        match candidate {
            Some(candidate) => Some((mid, candidate.trim())),
            // RFC 8840 §8.2: in the form of a candidate, an empty one.
            None if line.trim() == "a=end-of-candidates" => Some((mid, "")),
            None => None,
        }
    })
}

/// The offer with other credentials, and the candidates of a fragment in place of its own.
fn renewed(offer: &str, ufrag: &str, password: &str, fragment: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in offer.lines() {
        if line.starts_with("a=ice-ufrag:") {
            lines.push(format!("a=ice-ufrag:{ufrag}"));
        } else if line.starts_with("a=ice-pwd:") {
            lines.push(format!("a=ice-pwd:{password}"));
        } else if !line.starts_with("a=candidate:") && line != "a=end-of-candidates" {
            lines.push(line.to_owned());
            // RFC 9725 §4.3.2: with one bundle, all of them belong to the section that stands for it.
            let mid = line.strip_prefix("a=mid:");
            let own = candidates(fragment).filter(|(of, candidate)| *of == mid && !candidate.is_empty());
            if mid.is_some() {
                lines.extend(own.map(|(_, candidate)| format!("a={candidate}")));
            }
        }
    }
    lines.push(String::new());
    lines.join("\r\n")
}

/// The part of an answer that is about ICE, as far as its first section goes.
fn ice_of(answer: &Answer) -> String {
    let text = answer.to_string();
    let is_first = |line: &&str| !line.starts_with("m=");
    let (session, section) = text.split_at(text.find("m=").unwrap_or(text.len()));
    let mut lines: Vec<&str> = session.lines().filter(|line| is_ice(line)).collect();
    lines.extend(section.lines().take(1));
    lines.extend(section.lines().skip(1).take_while(is_first).filter(|line| is_ice(line)));
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

fn is_ice(line: &str) -> bool {
    const NAMES: [&str; 7] =
        ["ice-ufrag:", "ice-pwd:", "ice-lite", "ice-options:", "candidate:", "end-of-candidates", "mid:"];
    let name = line.strip_prefix("a=");
    name.is_some_and(|name| NAMES.iter().any(|known| name.starts_with(known)) || name.starts_with("group:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAGMENT: &str = "a=ice-ufrag:new1\r\na=ice-pwd:newnewnewnewnewnewnewnew\r\nm=audio 9 RTP/AVP 0\r\n\
                            a=mid:0\r\na=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\n\
                            a=end-of-candidates\r\n";

    #[test]
    fn a_fragment_has_credentials_and_candidates() {
        // RFC 8840 §9
        assert_eq!(value(FRAGMENT, "a=ice-ufrag:"), Some("new1"));
        let found: Vec<_> = candidates(FRAGMENT).collect();
        let one = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host";
        assert_eq!(found, [(Some("0"), one), (Some("0"), "")]);
    }

    #[test]
    fn a_restart_changes_credentials_and_candidates_and_nothing_else() {
        // RFC 9725 §4.3.3
        let offer = "v=0\r\nm=audio 9 RTP/AVP 0\r\na=ice-ufrag:old1\r\na=ice-pwd:old\r\na=mid:0\r\n\
                     a=candidate:9 1 udp 1 192.0.2.9 9 typ host\r\na=sendonly\r\n";
        let expected = "v=0\r\nm=audio 9 RTP/AVP 0\r\na=ice-ufrag:new1\r\na=ice-pwd:newnewnewnewnewnewnewnew\r\n\
                        a=mid:0\r\na=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\na=sendonly\r\n";
        assert_eq!(renewed(offer, "new1", "newnewnewnewnewnewnewnew", FRAGMENT), expected);
    }
}
