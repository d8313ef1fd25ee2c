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

use clap::{Parser, ValueEnum};
use sansrtc::crypto::NamedGroup;
use sansrtc::dtls::Version;
use sansrtc::{Incoming, MediaConfig, RtcConfig};

use crate::common::args::NetArgs;
use crate::common::host::Host;

/// Echoes WebRTC data channels, audio and video. Open the printed URL in a browser.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    dtls: DtlsArgs,
}

/// How connections are secured; what is not said is left to the library.
#[derive(Debug, clap::Args)]
struct DtlsArgs {
    /// The version of DTLS that is spoken; auto: whatever the peer has, the newest first.
    #[arg(long, value_name = "VERSION")]
    dtls: Option<DtlsVersion>,
    /// A group for the key exchange. Repeatable, the preferred one first.
    #[arg(long, value_name = "GROUP")]
    dtls_group: Vec<Group>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DtlsVersion {
    Auto,
    #[value(name = "1.2")]
    V12,
    #[value(name = "1.3")]
    V13,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Group {
    /// X25519 with ML-KEM-768: the post-quantum one, for DTLS 1.3 alone.
    X25519mlkem768,
    X25519,
    P256,
    P384,
}

impl DtlsArgs {
    fn apply(&self, config: &mut RtcConfig) {
        if let Some(version) = self.dtls {
            (config.min_dtls_version, config.max_dtls_version) = match version {
                DtlsVersion::Auto => (Version::Dtls12, Version::Dtls13),
                DtlsVersion::V12 => (Version::Dtls12, Version::Dtls12),
                DtlsVersion::V13 => (Version::Dtls13, Version::Dtls13),
            };
        }
        if !self.dtls_group.is_empty() {
            config.dtls_groups = self.dtls_group.iter().map(|group| group.named()).collect();
        }
    }
}

impl Group {
    fn named(self) -> NamedGroup {
        match self {
            Group::X25519mlkem768 => NamedGroup::X25519MlKem768,
            Group::X25519 => NamedGroup::X25519,
            Group::P256 => NamedGroup::Secp256r1,
            Group::P384 => NamedGroup::Secp384r1,
        }
    }
}

fn main() {
    let args = Args::parse();
    if let Err(error) = run(&args) {
        eprintln!("echo: {error}");
        std::process::exit(1);
    }
}

fn run(Args { net: args, dtls }: &Args) -> Result<(), Box<dyn Error>> {
    let mut host = Host::bind(args)?;
    let config = &mut host.net.config;
    // What a peer sends is sent back in the same m-line.
    config.media = MediaConfig { incoming: Incoming::SendAndReceive, ..MediaConfig::browser() };
    dtls.apply(config);
    config.validate()?;
    host.run(&mut media::Media::default(), http::handle)
}
