//! A server that echoes data channels, audio and video, and the page that talks to it.
//!
//! ```text
//! cargo run --release --example echo
//! ```
//!
//! prints a URL. Open it in a browser. Other WebRTC stacks can connect as well: see the table in `http.rs`.
//!
//! One thread owns the sockets and every connection (`../common/net.rs`), and runs `media.rs`; the HTTP threads
//! (`http.rs`, over `../common/server.rs`) talk to it over a queue. What is done with a message is in `session.rs`, with
//! a packet of audio or video in `reflect.rs`.

// An example is the caller that the library asks for: it owns the clock, the threads and the sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../common/mod.rs"]
mod common;
mod http;
mod media;
mod reflect;
mod session;

use std::error::Error;

use clap::Parser;
use sansrtc::{Incoming, MediaConfig};

use crate::common::args::NetArgs;
use crate::common::net::Net;
use crate::common::server::Web;

/// Echoes WebRTC data channels, audio and video. Open the printed URL in a browser.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    net: NetArgs,
}

fn main() {
    let args = Args::parse();
    if let Err(error) = run(&args.net) {
        eprintln!("echo: {error}");
        std::process::exit(1);
    }
}

fn run(args: &NetArgs) -> Result<(), Box<dyn Error>> {
    args.start_log();
    let (mut net, handle, commands) = Net::bind(args)?;
    // What a peer sends is sent back in the same m-line.
    net.config.media = MediaConfig { incoming: Incoming::SendAndReceive, ..MediaConfig::browser() };
    let web = Web::bind(args)?;
    let stop = handle.clone();
    ctrlc::set_handler(move || stop.stop())?;

    for local in net.locals() {
        println!("udp  {local}");
    }
    for listener in net.listeners() {
        println!("tcp  {listener}");
    }
    println!("open {}", web.url()?);
    web.serve(move |request| http::handle(request, &handle));
    // Until Ctrl-C, or a socket breaks.
    let end = net.run(&mut media::Media::default(), &commands);
    println!("stopped");
    Ok(end?)
}
