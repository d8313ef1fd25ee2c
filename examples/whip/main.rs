//! Live video for any number of viewers: WHIP in, WHEP out.
//!
//! ```text
//! cargo run --release --example whip
//! ```
//!
//! prints a URL, whose page publishes and watches. So does any other WHIP client (OBS, GStreamer, ffmpeg) at
//! `/whip/NAME`, and any WHEP player at `/whep/NAME`.
//!
//! ```text
//!  publisher --POST /whip/NAME--> ../common/whip.rs --> streams.rs <--POST /whep/NAME-- viewers
//!            --RTP--------------> ../common/track.rs -------RTP---------------------->
//! ```

// An example is the caller that the library asks for: it owns the clock, the threads and the sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../common/mod.rs"]
mod common;
mod streams;

use std::error::Error;

use clap::Parser;

use crate::common::args::NetArgs;
use crate::common::net::Net;
use crate::common::page;
use crate::common::server::{Response, Web};
use crate::common::whip::{Door, Role};

/// WHIP in, WHEP out. Open the printed URL in a browser.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    net: NetArgs,
    /// What every request has to bring as its bearer token. The page does not know it.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// A STUN or TURN server that clients are told of, such as stun:stun.example.net. Repeatable.
    #[arg(long, value_name = "URL")]
    ice_server: Vec<String>,
}

fn main() {
    let args = Args::parse();
    if let Err(error) = run(args) {
        eprintln!("whip: {error}");
        std::process::exit(1);
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    args.net.start_log();
    let (mut net, handle, commands) = Net::bind(&args.net)?;
    let web = Web::bind(&args.net)?;
    let stop = handle.clone();
    ctrlc::set_handler(move || stop.stop())?;

    for local in net.locals() {
        println!("udp  {local}");
    }
    println!("open {}", web.url()?);
    let door = Door { roles: &[Role::Publish, Role::View], token: args.token, ice_servers: args.ice_server };
    web.serve(move |request| {
        if request.path == "/" {
            return Response::file("text/html; charset=utf-8", include_str!("index.html"));
        }
        let response = page::file(request).or_else(|| door.handle(request, &handle));
        response.unwrap_or_else(|| Response::text(404, "there is nothing here"))
    });
    let mut streams = streams::Streams::new(&mut net);
    let end = net.run(&mut streams, &commands);
    println!("stopped");
    Ok(end?)
}
