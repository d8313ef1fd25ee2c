//! Records a handshake of DTLS 1.3 between two ends of BoringSSL, its key log and what both ends exported, as JSON.
//!
//! `cargo run --bin record > ../data/dtls/boring13.json`

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sansrtc::dtls::CipherSuite;
use strangers::addresses;
use strangers::dtls::{Event, Kind, Role, Stack, Terms, Versions};
use strangers::sim::{Link, Sim, base};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn main() {
    let (a, b) = addresses();
    let terms = |certificate| Terms {
        certificate,
        suites: CipherSuite::ALL.to_vec(),
        key_log: true,
        ..Terms::of(Versions::Only13)
    };
    let client = Stack::Boring.make(1, base(), Role::Client, (a, b), &terms(Kind::P256));
    let server = Stack::Boring.make(1, base(), Role::Server, (b, a), &terms(Kind::Rsa));
    let link = Link::with_delay(Duration::from_millis(25));
    let (mut sim, client, server) = Sim::pair(1, &link, client, server);
    let datagrams = Arc::new(Mutex::new(Vec::new()));
    let seen = datagrams.clone();
    sim.network.tap(move |datagram| {
        let from = if datagram.host == client { "client" } else { "server" };
        let line = format!("    {{\"from\": \"{from}\", \"bytes\": \"{}\"}}", hex(datagram.contents));
        seen.lock().expect("no panic").push(line);
    });
    sim.run_for(Duration::from_secs(1));
    for (host, data) in [(client, &b"of the client"[..]), (server, b"of the server")] {
        assert!(sim.with(host, |peer, _| peer.send(data)), "it is connected");
        sim.run_for(Duration::from_secs(1));
    }
    let exported: Vec<u8> = sim
        .events(client)
        .find_map(|(_, event)| match event {
            Event::KeyingMaterial(keys) => Some(keys),
            _ => None,
        })
        .expect("SRTP was agreed on");
    let log: Vec<String> = sim
        .with(client, |peer, _| peer.take_key_log())
        .iter()
        .map(|line| format!("    \"{line}\""))
        .collect();
    println!("{{\n  \"datagrams\": [\n{}\n  ],", datagrams.lock().expect("no panic").join(",\n"));
    println!("  \"key_log\": [\n{}\n  ],", log.join(",\n"));
    println!("  \"srtp\": \"{}\"\n}}", hex(&exported));
}
