//! What the NAT is (RFC 5780), asked on a socket that nothing was sent from yet.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use sansrtc::buffer::Pool;
use sansrtc::rng::{Rng, Stream};
use sansrtc::stun::behavior::{Config, Discovery, Report};

/// Asks, and says it in one line or two.
pub(crate) fn describe(ip: IpAddr, server: SocketAddr) -> io::Result<String> {
    let report = discover(ip, server)?;
    let Some(mapped) = report.mapped else {
        return Ok(format!("{ip}: {server} does not answer: UDP is blocked, or it is no STUN server"));
    };
    let unknown = || "unknown (the server has no second address)".to_owned();
    let named = |behavior: Option<_>| behavior.map_or_else(unknown, |behavior| format!("{behavior}"));
    let hairpin = match report.hairpin {
        Some(true) => ", hairpins",
        Some(false) => ", no hairpins",
        None => "",
    };
    Ok(match report.is_translated {
        false => format!("{ip}: no NAT, seen as {mapped}; filtering {}", named(report.filtering)),
        true => format!(
            "{ip}: NAT: {}, seen as {mapped}; mapping {}, filtering {}{hairpin}",
            report.kind(),
            named(report.mapping),
            named(report.filtering)
        ),
    })
}

fn discover(ip: IpAddr, server: SocketAddr) -> io::Result<Report> {
    let socket = UdpSocket::bind((ip, 0))?;
    let config = Config::new(server, socket.local_addr()?);
    let mut discovery = Discovery::new(config, Rng::new(rand::random(), Stream::Ice));
    let (mut pool, mut buffer) = (Pool::new(), [0; 1500]);
    loop {
        while let Some(transmit) = discovery.poll_transmit(Instant::now(), &mut pool) {
            // What cannot be sent is lost: the silence is heard.
            let _ = socket.send_to(&transmit.contents, transmit.destination);
        }
        if let Some(report) = discovery.report() {
            return Ok(report);
        }
        let wake = discovery.next_timeout().unwrap_or_else(Instant::now);
        let wait = wake.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        // An error is a time-out, or an ICMP answer to what was sent.
        if let Ok((length, source)) = socket.recv_from(&mut buffer) {
            discovery.handle_packet(source, &buffer[..length]);
        }
        discovery.handle_timeout(Instant::now());
    }
}
