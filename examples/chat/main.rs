//! A room for several people in the browser: camera, microphone, screen and chat.
//!
//! ```text
//! cargo run --release --example chat
//! ```
//!
//! prints a URL. Open it in two tabs and join.
//!
//! ```text
//!  browser --WebSocket, JSON--> signal.rs --commands--> rooms.rs, on the media thread
//!          <------------- RTP and chat ---------------> Endpoint ( ../common/net.rs )
//!
//!  rooms.rs   who is where; joining, leaving, text
//!  member.rs  one browser: what it sends and sees, and its descriptions
//!  budget.rs  layers by the size of the pictures and the bit rate
//!  ../common/track.rs   one track of a browser, and its way to everyone who sees it
//! ```
//!
//! One thread owns the sockets and every connection. A packet is decrypted once; each viewer gets the layer that
//! suits the size of the picture on its page and what its network takes.

// An example is the caller that the library asks for: it owns the clock, the threads and the sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod budget;
#[path = "../common/mod.rs"]
mod common;
mod member;
mod rooms;
mod signal;

use std::error::Error;

use clap::Parser;

use crate::common::args::NetArgs;
use crate::common::host::Host;
use crate::common::net::Handle;
use crate::common::page;
use crate::common::server::{Reply, Request, Response};
use crate::rooms::{Command, Rooms};

/// A room for several people in the browser. Open the printed URL in two tabs.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    net: NetArgs,
    /// The video codec that everybody speaks.
    #[arg(long, value_name = "CODEC", default_value = "vp8", value_parser = ["vp8", "vp9", "h264", "av1"])]
    codec: String,
    /// The most that one participant is sent, in kilobits per second.
    #[arg(long, value_name = "KBIT", default_value_t = 8000)]
    ceiling: u64,
}

fn main() {
    let args = Args::parse();
    if let Err(error) = run(&args) {
        eprintln!("chat: {error}");
        std::process::exit(1);
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut host = Host::bind(&args.net)?;
    let mut rooms = Rooms::new(&mut host.net, &args.codec, args.ceiling * 1000);
    host.run(&mut rooms, serve)
}

/// Answers a request: a file of the page, figures, or a WebSocket.
fn serve(request: &Request, rooms: &Handle<Command>) -> Reply {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    if !request.is_read() {
        return Response::text(405, "there is nothing to post to").into();
    }
    let response = match request.path.as_str() {
        "/" => Response::file("text/html; charset=utf-8", include_str!("page/index.html")),
        "/style.css" => Response::file("text/css; charset=utf-8", include_str!("page/style.css")),
        "/app.js" => Response::file(SCRIPT, include_str!("page/app.js")),
        "/room.js" => Response::file(SCRIPT, include_str!("page/room.js")),
        "/tiles.js" => Response::file(SCRIPT, include_str!("page/tiles.js")),
        "/ws" => return Reply::WebSocket(Box::new(signal::Browser::new(rooms.clone()))),
        "/stats" => match rooms.ask(|reply| Command::Stats { reply }) {
            Some(stats) => Response::new(200, "application/json", stats.to_string()),
            None => Response::text(503, "the server is stopping"),
        },
        path => page::file(request)
            .unwrap_or_else(|| Response::text(404, format_args!("there is nothing at {path}"))),
    };
    response.into()
}
