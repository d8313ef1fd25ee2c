//! Records what browsers publish: Opus in Ogg, VP8, VP9 and AV1 in IVF, H.264 and H.265 as they are.
//!
//! ```text
//! cargo run --release --example record -- --dir recordings
//! ```
//!
//! prints a URL, whose page publishes camera and microphone. So does any other WHIP client, at `/whip/NAME`.
//!
//! ```text
//!  browser --POST /whip/NAME--> ../common/whip.rs --> recorder.rs --frames--> files.rs --> NAME-1.ogg, NAME-1.ivf
//! ```

// An example is the caller that the library asks for: it owns the clock, the threads and the sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../common/mod.rs"]
mod common;
mod files;
mod recorder;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;

use crate::common::args::NetArgs;
use crate::common::host::Host;
use crate::common::whip::{Door, Role};

/// Records what browsers publish. Open the printed URL in a browser.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    net: NetArgs,
    /// Where the files go; it is made when it is not there.
    #[arg(long, value_name = "DIR", default_value = "recordings")]
    dir: PathBuf,
}

fn main() {
    let args = Args::parse();
    if let Err(error) = run(args) {
        eprintln!("record: {error}");
        std::process::exit(1);
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let mut host = Host::bind(&args.net)?;
    let mut recorder = recorder::Recorder::new(&mut host.net, args.dir)?;
    let door = Door { roles: &[Role::Publish], token: None, ice_servers: Vec::new() };
    host.run(&mut recorder, move |request, media| door.serve(include_str!("index.html"), request, media))
}
