//! The flags that every example with a page has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where to be found, and how much to say.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NetArgs {
    /// Where the page and the signalling are served; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
    /// Serve the page over HTTPS, with a certificate made just now: browsers give camera and microphone only to
    /// secure pages, and of plain ones only to those of this machine. Use it with --http 0.0.0.0:8443.
    #[arg(long)]
    pub(crate) https: bool,
    /// The UDP port on every address; any free one when it is not given.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) udp: u16,
    /// A local address to use and to announce. Repeatable. Without it: all of this machine, loopback only when
    /// there is nothing else.
    #[arg(long, value_name = "IP")]
    pub(crate) bind: Vec<IpAddr>,
    /// The address under which this machine is seen from outside, when a 1:1 NAT stands before it.
    #[arg(long, value_name = "IP")]
    pub(crate) public_ip: Option<IpAddr>,
    /// How to be reached from anywhere.
    #[command(flatten)]
    pub(crate) ice: super::ice::IceArgs,
    /// Log what happens. RUST_LOG chooses in detail.
    #[arg(long)]
    pub(crate) verbose: bool,
}

impl NetArgs {
    /// Writes the log to standard error.
    pub(crate) fn start_log(&self) {
        start_log(self.verbose);
    }
}

/// Writes the log to standard error.
pub(crate) fn start_log(verbose: bool) {
    use tracing_subscriber::EnvFilter;
    let default = if verbose { "debug" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// What a person types into a browser on this machine: a wildcard is no place to go to.
pub(crate) fn reachable(http: SocketAddr) -> SocketAddr {
    let ip = match http.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, http.port())
}
