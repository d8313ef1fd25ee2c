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
use crate::common::host::Host;
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
    let mut host = Host::bind(&args.net)?;
    let mut streams = streams::Streams::new(&mut host.net);
    let door = Door { roles: &[Role::Publish, Role::View], token: args.token, ice_servers: args.ice_server };
    host.run(&mut streams, move |request, media| door.serve(include_str!("index.html"), request, media))
}
