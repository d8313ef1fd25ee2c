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
use crate::common::net::Net;
use crate::common::page;
use crate::common::server::{Response, Web};
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
    args.net.start_log();
    let (mut net, handle, commands) = Net::bind(&args.net)?;
    let web = Web::bind(&args.net)?;
    let stop = handle.clone();
    ctrlc::set_handler(move || stop.stop())?;
    let mut recorder = recorder::Recorder::new(&mut net, args.dir)?;

    for local in net.locals() {
        println!("udp  {local}");
    }
    println!("open {}", web.url()?);
    let door = Door { roles: &[Role::Publish], token: None, ice_servers: Vec::new() };
    web.serve(move |request| {
        if request.path == "/" {
            return Response::file("text/html; charset=utf-8", include_str!("index.html"));
        }
        let response = page::file(request).or_else(|| door.handle(request, &handle));
        response.unwrap_or_else(|| Response::text(404, "there is nothing here"))
    });
    let end = net.run(&mut recorder, &commands);
    println!("stopped");
    Ok(end?)
}
