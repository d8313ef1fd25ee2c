//! A server that echoes data channels, and the page that talks to it.
//!
//! ```text
//! cargo run --release --example echo
//! ```
//!
//! prints a URL. Open it in a browser. Other WebRTC stacks can connect as well: see the table in `http.rs`.
//!
//! One thread owns the sockets and every connection (`media.rs`, over `udp.rs`); the HTTP threads (`http.rs`, over
//! `server.rs`) talk to it over a queue. What is done with a message is in `session.rs`.

// An example is the caller that the library asks for: it owns the clock, the threads and the sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod http;
mod media;
mod server;
mod session;
mod udp;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use clap::Parser;

/// Echoes WebRTC data channels. Open the printed URL in a browser.
#[derive(Debug, Parser)]
struct Args {
    /// Where the page and the signalling are served; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// The UDP port on every address; any free one when it is not given.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    udp: u16,
    /// A local address to use and to announce. Repeatable. Without it: all of this machine, loopback only when
    /// there is nothing else.
    #[arg(long, value_name = "IP")]
    bind: Vec<IpAddr>,
    /// The address under which this machine is seen from outside, when a 1:1 NAT stands before it.
    #[arg(long, value_name = "IP")]
    public_ip: Option<IpAddr>,
    /// Log what happens. RUST_LOG chooses in detail.
    #[arg(long)]
    verbose: bool,
}

fn main() {
    let args = Args::parse();
    if let Err(error) = run(&args) {
        eprintln!("echo: {error}");
        std::process::exit(1);
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    log(args.verbose);
    let addresses = udp::addresses(&args.bind)?;
    let (media, handle) = media::Media::bind(&addresses, args.udp, args.public_ip)?;
    let listener = std::net::TcpListener::bind(args.http).map_err(|error| {
        format!("cannot serve HTTP on {}: {error} (choose another with --http)", args.http)
    })?;
    let http = listener.local_addr()?;
    let stop = handle.clone();
    ctrlc::set_handler(move || stop.tell(media::Command::Stop))?;

    for local in media.locals() {
        println!("udp  {local}");
    }
    println!("open http://{}/", reachable(http));
    server::serve(listener, move |request| http::handle(request, &handle));
    // Until Ctrl-C, or a socket breaks.
    let end = media.run();
    println!("stopped");
    Ok(end?)
}

/// What a person types into a browser on this machine: a wildcard is no place to go to.
fn reachable(http: SocketAddr) -> SocketAddr {
    let ip = match http.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, http.port())
}

fn log(verbose: bool) {
    use tracing_subscriber::EnvFilter;
    let default = if verbose { "debug" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
