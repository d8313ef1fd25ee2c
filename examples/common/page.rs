//! The files that the pages of several examples share.

use super::server::{Request, Response};

/// A shared file, if the request is for one.
pub(crate) fn file(request: &Request) -> Option<Response> {
    const STYLE: &str = "text/css; charset=utf-8";
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    match request.path.as_str() {
        _ if !request.is_read() => None,
        "/base.css" => Some(Response::file(STYLE, include_str!("page/base.css"))),
        "/panel.css" => Some(Response::file(STYLE, include_str!("page/panel.css"))),
        "/figures.js" => Some(Response::file(SCRIPT, include_str!("page/figures.js"))),
        "/panel.js" => Some(Response::file(SCRIPT, include_str!("page/panel.js"))),
        "/whip.js" => Some(Response::file(SCRIPT, include_str!("page/whip.js"))),
        _ => None,
    }
}
