//! Chromium reaches the echo server by paths that are not the plain one: through relays, at either end, and over TCP.

use std::time::Duration;

use browser::{Browser, PATIENCE, Server};
use serde_json::{Value, json};

/// Connects with a configuration, and with those candidates alone that `keep` lets through, in both descriptions;
/// what came back over a channel, and the candidates of the pair that was used.
const CONNECT: &str = r#"
    const connectBy = async (configuration, keep) => {
        window.kept?.close();
        const pc = new RTCPeerConnection(configuration);
        const channel = pc.createDataChannel("main");
        await pc.setLocalDescription();
        while (pc.iceGatheringState !== "complete") await happens(pc, "icegatheringstatechange");
        const strip = (sdp) => sdp.split("\r\n")
            .filter((line) => !line.startsWith("a=candidate:") || keep(line.toLowerCase())).join("\r\n");
        const offer = strip(pc.localDescription.sdp);
        const response = await fetch("/offer", { method: "POST", headers: { "content-type": "application/json" },
            body: JSON.stringify({ type: "offer", sdp: offer }) });
        if (!response.ok) throw new Error(await response.text());
        const answer = await response.json();
        await pc.setRemoteDescription({ type: "answer", sdp: strip(answer.sdp) });
        await opened(channel);
        const back = await echoed(channel, "there and back");
        const bulk = noise(200000);
        const isWhole = same(bulk, await echoed(channel, bulk));
        const stats = [...(await pc.getStats()).values()];
        const transport = stats.find((s) => s.type === "transport");
        const pair = stats.find((s) => s.id === transport.selectedCandidatePairId);
        const [local, remote] = [pair.localCandidateId, pair.remoteCandidateId].map((id) => stats.find((s) => s.id === id));
        window.kept = pc;
        return { back, session: answer.session, names: offer.match(/^a=candidate:.* [0-9a-f-]{36}\.local .*$/gm)?.length ?? 0, isWhole, protocol: local.protocol, local: local.candidateType, remote: remote.candidateType,
            relayProtocol: local.relayProtocol ?? null };
    };
"#;

async fn connect(browser: &Browser, configuration: &Value, keep: &str) -> Value {
    let result =
        browser.run(&format!("{CONNECT} return await connectBy({configuration}, (line) => {keep});")).await;
    assert_eq!((&result["back"], &result["isWhole"]), (&json!("there and back"), &json!(true)), "{result}");
    result
}

/// Our own TURN server, and Debian's coturn.
fn relays() -> [(&'static str, Server); 2] {
    [("own", Server::turn(&["--user", "alice:secret"])), ("coturn", Server::coturn())]
}

#[tokio::test]
async fn a_server_that_shows_nothing_but_a_relay_is_reached_through_it() {
    for (name, relay) in relays() {
        for transport in ["udp", "tcp"] {
            let url = format!("turn:{}?transport={transport}", relay.url);
            let user = ["--turn-user", "alice", "--turn-pass", "secret", "--relay-only"];
            let server =
                Server::example("echo", &[&["--bind", "127.0.0.1", "--turn", &url][..], &user].concat());
            let browser = Browser::open(&server).await;
            let result = connect(&browser, &json!({}), "true").await;
            assert_eq!(result["remote"], "relay", "{name} over {transport}: {result}");
            browser.close().await;
        }
    }
}

#[tokio::test]
async fn a_browser_that_uses_nothing_but_a_relay_is_reached_through_it() {
    for (name, relay) in relays() {
        let server = Server::example("echo", &["--bind", "127.0.0.1"]);
        let browser = Browser::open(&server).await;
        for transport in ["udp", "tcp"] {
            let urls = format!("turn:{}?transport={transport}", relay.url);
            let servers = json!([{ "urls": urls, "username": "alice", "credential": "secret" }]);
            let configuration = json!({ "iceServers": servers, "iceTransportPolicy": "relay" });
            let result = connect(&browser, &configuration, "true").await;
            assert_eq!(result["local"], "relay", "{name} over {transport}: {result}");
            assert_eq!(result["relayProtocol"], transport, "{name}: {result}");
        }
        browser.close().await;
    }
}

#[tokio::test]
async fn where_udp_is_of_no_use_tcp_is_used() {
    let server = Server::example("echo", &["--tcp", "127.0.0.1:0"]);
    let browser = Browser::open(&server).await;
    for _ in 0..3 {
        let result = connect(&browser, &json!({}), "line.includes(' tcp ')").await;
        assert_eq!(result["protocol"], "tcp", "{result}");
    }
    browser.close().await;
}

#[tokio::test]
async fn names_in_place_of_addresses_are_resolved() {
    let server = Server::start();
    let browser = Browser::secretive(&server).await;
    let result = connect(&browser, &json!({}), "true").await;
    assert!(result["names"].as_u64() > Some(0), "{result}");
    // Checks come from an address that nobody told of; it takes its place among the candidates when the name is known.
    let session = result["session"].as_str().expect("a session has a name").to_owned();
    let start = std::time::Instant::now();
    while server.details(&session)["path"][1] != "Host" {
        assert!(start.elapsed() < PATIENCE, "{}", server.details(&session));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    browser.close().await;
}

#[tokio::test]
async fn a_server_that_hides_its_addresses_is_found_by_their_names() {
    let server = Server::example("echo", &["--hide-addresses"]);
    let browser = Browser::open(&server).await;
    // The server is told of no address: it is the browser that has to find the way, by names alone.
    let result = connect(&browser, &json!({}), "line.includes('.local ')").await;
    assert_eq!((&result["names"], &result["remote"]), (&json!(0), &json!("host")), "{result}");
    browser.close().await;
}
