//! A signalling server: whoever joins a room learns of the others in it, and may send them offers, answers and
//! candidates. The page on it makes calls from browser to browser; no media passes this program.
//!
//! ```text
//! cargo run --release --example signaling
//! ```
//!
//! prints a URL. Open it in two tabs. The messages are in `message.rs`, the rooms and their bounds in `rooms.rs`.

// An example is the caller that the library asks for: it owns the clock, the threads and the sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../common/mod.rs"]
mod common;
mod message;
mod rooms;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::Parser;

use crate::common::page;
use crate::common::server::{Reply, Request, Response, Web};
use crate::rooms::{IceServers, Limits, Member, Rooms};

/// Introduces browsers to each other. Open the printed URL in two tabs.
#[derive(Debug, Parser)]
struct Args {
    /// Where the page and the signalling are served; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Serve over HTTPS, with a certificate made just now: browsers give camera and microphone only to secure
    /// pages, and of plain ones only to those of this machine. Use it with --http 0.0.0.0:8443.
    #[arg(long)]
    https: bool,
    /// A STUN or TURN server for the browsers, such as stun:198.51.100.1:3478. Repeatable.
    #[arg(long, value_name = "URL")]
    ice_server: Vec<String>,
    /// The user name for TURN servers.
    #[arg(long, value_name = "NAME", requires = "turn_pass")]
    turn_user: Option<String>,
    /// The password for TURN servers.
    #[arg(long, value_name = "TEXT", requires = "turn_user")]
    turn_pass: Option<String>,
    /// The secret that time-limited credentials for TURN servers are made with: each browser gets its own, good for
    /// a day.
    #[arg(long, value_name = "TEXT", conflicts_with = "turn_user")]
    turn_secret: Option<String>,
    /// Rooms at once.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_rooms: usize,
    /// Members of one room.
    #[arg(long, value_name = "N", default_value_t = 8)]
    max_members: usize,
    /// Log what happens. RUST_LOG chooses in detail.
    #[arg(long)]
    verbose: bool,
}

fn main() {
    let args = Args::parse();
    if let Err(error) = run(args) {
        eprintln!("signaling: {error}");
        std::process::exit(1);
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    common::args::start_log(args.verbose);
    let servers = IceServers {
        urls: args.ice_server,
        fixed: args.turn_user.zip(args.turn_pass),
        secret: args.turn_secret.map(String::into_bytes),
    };
    let limits = Limits { rooms: args.max_rooms, members: args.max_members };
    let rooms = Arc::new(Rooms::new(limits, servers));
    let web = Web::listen(args.http, args.https, &common::udp::addresses(&[])?)?;
    println!("open {}", web.url()?);
    web.serve({
        let rooms = Arc::clone(&rooms);
        move |request| handle(request, &rooms)
    });
    let (stop, stopped) = channel();
    ctrlc::set_handler(move || {
        let _ = stop.send(());
    })?;
    let _ = stopped.recv();
    // Everybody is told by the end of the WebSocket; the threads get a moment to say it.
    rooms.close();
    std::thread::sleep(Duration::from_millis(200));
    println!("stopped");
    Ok(())
}

/// | request       | answer                                |
/// |---------------|---------------------------------------|
/// | `GET /`       | the page                              |
/// | `GET /ws`     | a WebSocket that speaks `message.rs`  |
/// | `GET /stats`  | `{"rooms":n,"members":n}`             |
fn handle(request: &Request, rooms: &Arc<Rooms>) -> Reply {
    if !request.is_read() {
        return Response::text(405, "there is nothing to write here").into();
    }
    let page = |kind, text| Response::file(kind, text).into();
    match request.path.as_str() {
        "/" => page("text/html; charset=utf-8", include_str!("page/index.html")),
        "/style.css" => page("text/css; charset=utf-8", include_str!("page/style.css")),
        "/app.js" => page("text/javascript; charset=utf-8", include_str!("page/app.js")),
        "/peer.js" => page("text/javascript; charset=utf-8", include_str!("page/peer.js")),
        "/ws" => Reply::WebSocket(Box::new(Member::new(Arc::clone(rooms)))),
        "/stats" => {
            let (rooms, members) = rooms.count();
            let body = serde_json::json!({ "rooms": rooms, "members": members }).to_string();
            Response::new(200, "application/json", body).into()
        }
        path => page::file(request)
            .unwrap_or_else(|| Response::text(404, format_args!("there is nothing at {path}")))
            .into(),
    }
}
