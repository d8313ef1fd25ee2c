//! How a connection is secured: versions of DTLS, groups, roles, and the newer ways to begin, with Chromium and
//! Firefox. What was negotiated is asked of our end, and of the browser where it tells.

use browser::{Browser, Firefox, Server};
use serde_json::{Value, json};

/// Connects, the browser or the server offering, with a microphone where the browser offers; what came of it.
const CONNECT: &str = r#"
    window.connectAs = async (serverOffers) => {
        const peer = new echo.Peer({ serverOffers });
        let pcm;
        if (!serverOffers) {
            const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
            pcm = stream.getAudioTracks()[0];
            peer.pc.addTrack(pcm, stream);
        }
        const channel = peer.open("main");
        await peer.connect();
        await opened(channel);
        const data = noise(50_000, 1);
        const isWhole = same(data, await echoed(channel, data));
        const stats = async (type) => [...(await peer.pc.getStats()).values()].filter((s) => s.type === type);
        // Sound is sent back: what arrives has been decrypted.
        for (let tries = 0, heard = 0; !serverOffers && heard < 25; tries++) {
            if (tries > 300) throw new Error("no sound came back");
            await new Promise((done) => setTimeout(done, 100));
            heard = (await stats("inbound-rtp"))[0]?.packetsReceived ?? 0;
        }
        const [transport = {}] = await stats("transport");
        const says = (what) => [peer.pc.localDescription, peer.pc.remoteDescription].map(({ sdp }) => what.test(sdp));
        window.kept = { peer, channel };
        pcm?.stop();
        return {
            session: peer.session, isWhole, role: transport.dtlsRole ?? null, tls: transport.tlsVersion ?? null,
            cipher: transport.dtlsCipher ?? null, state: peer.pc.connectionState,
            snap: says(/^a=sctp-init:/m), sped: says(/^a=ice-options:.*\bsped\b/m),
        };
    };
"#;

/// What has to have come of it.
#[derive(Clone, Copy)]
struct Expected {
    version: &'static str,
    group: &'static str,
}

const OLD: Expected = Expected { version: "Dtls12", group: "X25519" };
const NEW: Expected = Expected { version: "Dtls13", group: "X25519" };
const QUANTUM: Expected = Expected { version: "Dtls13", group: "X25519MlKem768" };

impl Expected {
    fn group(self, group: &'static str) -> Self {
        Expected { group, ..self }
    }

    fn tls(self) -> &'static str {
        if self.version == "Dtls13" { "FEFC" } else { "FEFD" }
    }
}

/// Compares what the page and the server say; gives back what the server says.
fn check(server: &Server, result: &Value, server_offers: bool, expected: Expected) -> Value {
    let details = server.details(result["session"].as_str().expect("a session has a name"));
    println!("server offers: {server_offers}; {result}; {details}");
    assert_eq!(result["isWhole"], true, "{result}");
    assert_eq!(details["dtls"]["version"], expected.version, "{details}");
    assert_eq!(details["dtls"]["group"], expected.group, "{details}");
    // Who answers is the client, at either end (RFC 8842 §5.3).
    if let Some(role) = result["role"].as_str() {
        assert_eq!(role, if server_offers { "client" } else { "server" }, "{result}");
    }
    if let Some(tls) = result["tls"].as_str() {
        assert_eq!(tls, expected.tls(), "{result}");
    }
    details
}

/// Chromium with these field trials, in both roles.
async fn chromium(server_flags: &[&str], trials: &str, expected: Expected) -> [(Value, Value); 2] {
    let server = Server::example("echo", server_flags);
    let trials = format!("--force-fieldtrials={trials}");
    let browser = Browser::open_with(&server, &[&trials]).await;
    browser.run(CONNECT).await;
    let mut found = Vec::new();
    for server_offers in [false, true] {
        let result = browser.run(&format!("return connectAs({server_offers});")).await;
        assert!(result["role"].is_string() && result["tls"].is_string() && result["cipher"].is_string());
        let details = check(&server, &result, server_offers, expected);
        found.push((result, details));
    }
    browser.close().await;
    found.try_into().expect("there are two roles")
}

/// Firefox with these preferences, in both roles.
fn firefox(server_flags: &[&str], preferences: &[(&str, &str)], expected: Expected) {
    let server = Server::example("echo", server_flags);
    let browser = Firefox::with(&format!("{}?manual", server.url), preferences);
    browser.run(include_str!("../src/helpers.js"));
    browser.run(CONNECT);
    for server_offers in [false, true] {
        let result = browser.run(&format!("return connectAs({server_offers});"));
        check(&server, &result, server_offers, expected);
    }
}

// With `NO_QUANTUM` Chromium offers no post-quantum key, but takes one that it is offered: where the group shall be a
// classical one, the server is told so. Not with 1.2, where the groups limit the certificate's curve as well.
const CLASSIC: [&str; 2] = ["--dtls-group", "x25519"];
const NO_QUANTUM: &str = "WebRTC-EnableDtlsPqc/Disabled/";
const WITH_QUANTUM: &str = "WebRTC-EnableDtlsPqc/Enabled/";

#[tokio::test]
async fn chromium_speaks_1_2_with_a_server_of_1_2() {
    chromium(&["--dtls", "1.2"], NO_QUANTUM, OLD).await;
}

#[tokio::test]
async fn chromium_speaks_1_3_with_a_server_of_both() {
    for version in ["auto", "1.3"] {
        chromium(&[&["--dtls", version], &CLASSIC[..]].concat(), NO_QUANTUM, NEW).await;
    }
}

#[tokio::test]
async fn chromium_agrees_on_a_post_quantum_key() {
    chromium(&["--dtls", "auto"], WITH_QUANTUM, QUANTUM).await;
}

#[tokio::test]
async fn chromium_with_a_post_quantum_hello_reaches_a_server_of_1_2() {
    chromium(&["--dtls", "1.2"], WITH_QUANTUM, OLD).await;
}

#[tokio::test]
async fn chromium_tries_again_with_the_group_that_is_asked_for() {
    for (group, name) in [("p256", "Secp256r1"), ("p384", "Secp384r1")] {
        let flags = ["--dtls", "1.3", "--dtls-group", group];
        chromium(&flags, WITH_QUANTUM, NEW.group(name)).await;
    }
}

#[tokio::test]
async fn chromium_takes_an_association_from_descriptions() {
    let classic = [&["--dtls", "auto"], &CLASSIC[..]].concat();
    for (flags, expected) in [(vec!["--dtls", "1.2"], OLD), (classic, NEW)] {
        let trials = format!("{NO_QUANTUM}WebRTC-Sctp-Snap/Enabled/");
        for (result, details) in chromium(&flags, &trials, expected).await {
            assert_eq!(result["snap"], json!([true, true]), "{result}");
            assert_eq!(details["snap"], true, "{details}");
        }
    }
}

#[tokio::test]
async fn chromium_carries_dtls_in_connectivity_checks() {
    let classic = [&["--dtls", "auto"], &CLASSIC[..]].concat();
    for (flags, trials, expected) in [
        (vec!["--dtls", "1.2"], NO_QUANTUM, OLD),
        (classic, NO_QUANTUM, NEW),
        (vec!["--dtls", "auto"], WITH_QUANTUM, QUANTUM),
    ] {
        let trials = format!("{trials}WebRTC-IceHandshakeDtls/Enabled/");
        for (_, details) in chromium(&flags, &trials, expected).await {
            assert_eq!(details["sped"], true, "{details}");
        }
    }
}

#[tokio::test]
async fn chromium_does_all_of_it_at_once() {
    let trials = format!("{WITH_QUANTUM}WebRTC-Sctp-Snap/Enabled/WebRTC-IceHandshakeDtls/Enabled/");
    for (_, details) in chromium(&["--dtls", "auto"], &trials, QUANTUM).await {
        assert_eq!((&details["sped"], &details["snap"]), (&json!(true), &json!(true)), "{details}");
    }
}

#[tokio::test]
async fn a_chromium_that_knows_neither_is_reached_as_ever() {
    let trials = format!("{NO_QUANTUM}WebRTC-Sctp-Snap/Disabled/WebRTC-IceHandshakeDtls/Disabled/");
    let flags = [&["--dtls", "auto"], &CLASSIC[..]].concat();
    for (_, details) in chromium(&flags, &trials, NEW).await {
        assert_eq!((&details["sped"], &details["snap"]), (&json!(false), &json!(false)), "{details}");
    }
}

/// Firefox writes versions as TLS does: 771 is 1.2, 772 is 1.3.
const ONLY_1_2: &[(&str, &str)] = &[("media.peerconnection.dtls.version.max", "771")];
const ONLY_1_3: &[(&str, &str)] =
    &[("media.peerconnection.dtls.version.min", "772"), ("media.peerconnection.dtls.version.max", "772")];
const FOX_QUANTUM: (&str, &str) = ("media.webrtc.send_mlkem_keyshare", "true");
const FOX_CLASSIC: (&str, &str) = ("media.webrtc.send_mlkem_keyshare", "false");

#[test]
fn firefox_of_1_2_is_reached_by_a_server_of_both() {
    firefox(&["--dtls", "auto"], ONLY_1_2, OLD);
}

#[test]
fn firefox_speaks_1_2_with_a_server_of_1_2() {
    firefox(&["--dtls", "1.2"], &[], OLD);
}

#[test]
fn firefox_speaks_1_3() {
    firefox(&["--dtls", "1.3", "--dtls-group", "x25519"], &[ONLY_1_3, &[FOX_CLASSIC]].concat(), NEW);
}

#[test]
fn firefox_agrees_on_a_post_quantum_key() {
    firefox(&["--dtls", "auto"], &[ONLY_1_3, &[FOX_QUANTUM]].concat(), QUANTUM);
}

#[test]
fn firefox_tries_again_with_the_group_that_is_asked_for() {
    firefox(&["--dtls", "1.3", "--dtls-group", "p384"], ONLY_1_3, NEW.group("Secp384r1"));
}
