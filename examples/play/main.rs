//! Plays files to browsers, over and over: VP8, VP9 and AV1 from IVF, H.264 and H.265 as they are, Opus from Ogg.
//!
//! ```text
//! cargo run --release --example play -- --video clip.ivf --audio sound.ogg
//! ```
//!
//! prints a URL, whose page watches. So does any other WHEP player, at `/whep/NAME` for any name. Without files a short
//! clip is played that comes with the example. What `record` writes can be played.
//!
//! ```text
//!  files --> clip.rs --> player.rs --send_frame--> viewers, who came by POST /whep/NAME (../common/whip.rs)
//! ```

// An example is the caller that the library asks for: it owns the clock, the threads and the sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod clip;
#[path = "../common/mod.rs"]
mod common;
mod player;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;

use crate::clip::Clip;
use crate::common::args::NetArgs;
use crate::common::host::Host;
use crate::common::whip::{Door, Role};

/// Plays files to browsers. Open the printed URL in a browser.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    net: NetArgs,
    /// Video: an .ivf, .h264 or .h265 file without B-frames.
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Audio: an .ogg file with Opus.
    #[arg(long, value_name = "FILE")]
    audio: Option<PathBuf>,
    /// Pictures a second, for .h264 and .h265, which do not say.
    #[arg(long, value_name = "N", default_value_t = 25.0)]
    fps: f64,
}

fn main() {
    let args = Args::parse();
    if let Err(error) = run(args) {
        eprintln!("play: {error}");
        std::process::exit(1);
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let mut host = Host::bind(&args.net)?;
    let clip = Clip::open(args.video.as_deref(), args.audio.as_deref(), args.fps)?;
    println!("clip {clip}");
    let mut player = player::Player::new(&mut host.net, clip);
    let door = Door { roles: &[Role::View], token: None, ice_servers: Vec::new() };
    host.run(&mut player, move |request, media| door.serve(include_str!("index.html"), request, media))
}
