//! Browsers that call each other, introduced by the signalling example.

use browser::{Browser, Server};
use serde_json::{Value, json};

/// Opens the page, and enters `room`.
async fn enter(server: &Server, room: &str, more: &str) -> Browser {
    let browser = Browser::with_camera(&format!("{}?room={room}{more}", server.url)).await;
    browser.click("#join button").await;
    browser.until("document.getElementById('state').dataset.state === 'in'").await;
    browser
}

/// Waits until there is a connection to everybody, and a picture that moves.
async fn until_seen(browser: &Browser, count: usize) {
    browser
        .until(&format!(
            "window.call.peers.size === {count} &&
             [...window.call.peers.values()].every((peer) => peer.state === 'connected')"
        ))
        .await;
    browser
        .until(&format!(
            "[...document.querySelectorAll('.tile:not(.own) video')].filter((video) =>
                video.videoWidth > 0 && video.currentTime > 0.5).length === {count}"
        ))
        .await;
}

#[tokio::test]
async fn two_browsers_see_hear_and_write_to_each_other() {
    let server = Server::example("signaling", &[]);
    let a = enter(&server, "kitchen", "").await;
    let b = enter(&server, "kitchen", "").await;
    until_seen(&a, 1).await;
    until_seen(&b, 1).await;
    a.type_into("#message", "hello from a").await;
    a.click("#compose button").await;
    b.until("document.getElementById('messages').innerText.includes('hello from a')").await;
    // Audio arrives as well.
    let script = "
        const [peer] = window.call.peers.values();
        const stats = [...(await peer.pc.getStats()).values()];
        return stats.filter((s) => s.type === 'inbound-rtp' && s.packetsReceived > 10).map((s) => s.kind).sort();";
    a.until(&format!("(await (async () => {{ {script} }})()).length === 2")).await;
    assert_eq!(a.run(script).await, json!(["audio", "video"]));

    a.screenshot("signaling-wide", 1280, 800).await;
    b.screenshot("signaling-phone", 390, 844).await;
    // Nothing is wider than the phone.
    assert_eq!(b.run("return document.documentElement.scrollWidth <= innerWidth;").await, json!(true));

    // Both change something at the same time: offers cross, and both changes come through.
    let add = "const [peer] = window.call.peers.values();
        window.call.before = peer.pc.getTransceivers().length;
        peer.pc.addTransceiver('video'); return window.call.before;";
    let (before_a, before_b) = tokio::join!(a.run(add), b.run(add));
    assert_eq!((&before_a, &before_b), (&json!(2), &json!(2)));
    for browser in [&a, &b] {
        browser
            .until(
                "[...window.call.peers.values()].every(({ pc }) => pc.signalingState === 'stable' &&
                    pc.getTransceivers().filter((t) => t.mid !== null).length === 4)",
            )
            .await;
    }

    // Who leaves is gone at once; who comes again is seen again.
    b.click("#leave").await;
    a.until("window.call.peers.size === 0 && document.querySelectorAll('.tile:not(.own)').length === 0")
        .await;
    b.screenshot("signaling-lobby-phone", 390, 844).await;
    b.click("#join button").await;
    until_seen(&a, 1).await;
    until_seen(&b, 1).await;
    // A page that is closed says goodbye too.
    b.close().await;
    a.until("window.call.peers.size === 0").await;
    a.close().await;
}

#[tokio::test]
async fn three_browsers_are_all_connected_and_rooms_are_apart() {
    let server = Server::example("signaling", &["--max-members", "3"]);
    let mut room = Vec::new();
    for _ in 0..3 {
        room.push(enter(&server, "hall", "").await);
    }
    let stranger = enter(&server, "cellar", "").await;
    for browser in &room {
        until_seen(browser, 2).await;
    }
    assert_eq!(stranger.run("return window.call.peers.size;").await, json!(0));
    // The hall is full.
    stranger.click("#leave").await;
    stranger.run("document.getElementById('room').value = 'hall';").await;
    stranger.click("#join button").await;
    stranger.until("document.getElementById('notice').innerText.includes('full')").await;
    stranger.until("!document.getElementById('lobby').hidden").await;
    room[0].screenshot("signaling-three", 1280, 800).await;
    for browser in room {
        browser.close().await;
    }
    stranger.close().await;
}

#[tokio::test]
async fn two_browsers_talk_through_our_own_turn_server_alone() {
    let turn = Server::turn(&["--secret", "shared"]);
    for transport in ["udp", "tcp"] {
        let url = format!("turn:{}?transport={transport}", turn.url);
        let server = Server::example("signaling", &["--ice-server", &url, "--turn-secret", "shared"]);
        let a = enter(&server, "relayed", "&policy=relay").await;
        let b = enter(&server, "relayed", "&policy=relay").await;
        until_seen(&a, 1).await;
        until_seen(&b, 1).await;
        for browser in [&a, &b] {
            let path =
                browser.run("const [peer] = window.call.peers.values(); return await peer.path();").await;
            assert_eq!(path, json!({ "local": "relay", "remote": "relay" }), "{transport}");
        }
        let protocol = a
            .run(
                "const [peer] = window.call.peers.values();
                 const stats = [...(await peer.pc.getStats()).values()];
                 const pair = stats.find((s) => s.type === 'candidate-pair' && s.nominated);
                 return stats.find((s) => s.id === pair.localCandidateId).relayProtocol;",
            )
            .await;
        assert_eq!(protocol, Value::from(transport));
        b.close().await;
        a.close().await;
    }
}
