//! The files that the pages of several examples share.

use super::server::{Request, Response};

/// A shared file, if the request is for one.
pub(crate) fn file(request: &Request) -> Option<Response> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    match request.path.as_str() {
        _ if !request.is_read() => None,
        "/style.css" => Some(Response::file("text/css; charset=utf-8", include_str!("page/style.css"))),
        "/figures.js" => Some(Response::file(SCRIPT, include_str!("page/figures.js"))),
        "/panel.js" => Some(Response::file(SCRIPT, include_str!("page/panel.js"))),
        "/whip.js" => Some(Response::file(SCRIPT, include_str!("page/whip.js"))),
        _ => None,
    }
}
