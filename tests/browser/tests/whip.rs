//! WHIP in and WHEP out: with the example's page, with clients that others wrote, and by plain HTTP.

use browser::{Browser, Server, npm};
use serde_json::json;

/// In every page: waiting, and what a connection receives.
const HELPERS: &str = r#"
    const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
    const until = async (what, condition, ms = 40000) => {
        for (const end = performance.now() + ms; !(await condition()); await sleep(100)) {
            if (performance.now() > end) throw new Error(`never: ${what}`);
        }
    };
    const inbound = async (pc, kind = "video") => {
        const stats = [...(await pc.getStats()).values()];
        const found = stats.find((s) => s.type === "inbound-rtp" && s.kind === kind) ?? {};
        return { ...found, codec: stats.find((s) => s.id === found.codecId)?.mimeType };
    };
    /** Waits until so many frames more were decoded. */
    const watch = async (pc, frames = 20) => {
        const start = (await inbound(pc)).framesDecoded ?? 0;
        await until("frames", async () => (await inbound(pc)).framesDecoded >= start + frames);
        return inbound(pc);
    };
    const module = (source) => import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    Object.assign(window, { sleep, until, inbound, watch, module });
"#;

async fn page(server: &Server) -> Browser {
    let browser = Browser::with_camera(&server.url).await;
    browser.run(HELPERS).await;
    browser
}

#[tokio::test]
async fn clients_from_npm_publish_and_watch() {
    let server = Server::example("whip", &["--bind", "127.0.0.1"]);
    let (publisher, viewer) = (page(&server).await, page(&server).await);
    let publish = format!(
        "const {{ WHIPClient }} = await module({});
         const stream = await navigator.mediaDevices.getUserMedia({{ audio: true, video: true }});
         window.pc = new RTCPeerConnection({{ bundlePolicy: 'max-bundle' }});
         for (const track of stream.getTracks()) pc.addTransceiver(track, {{ direction: 'sendonly', streams: [stream] }});
         window.whip = new WHIPClient();
         await whip.publish(pc, new URL('/whip/npm', location));
         await until('a connection', () => pc.connectionState === 'connected');",
        json!(npm("whip-whep/whip.js"))
    );
    publisher.run(&publish).await;
    let view = format!(
        "const {{ WHEPClient }} = await module({});
         window.pc = new RTCPeerConnection({{ bundlePolicy: 'max-bundle' }});
         for (const kind of ['audio', 'video']) pc.addTransceiver(kind, {{ direction: 'recvonly' }});
         window.whep = new WHEPClient();
         // How its candidates were taken.
         window.patched = [];
         const plain = window.fetch;
         window.fetch = async (url, options) => {{
             const response = await plain(url, options);
             if (options?.method === 'PATCH') patched.push(response.status);
             return response;
         }};
         await whep.view(pc, new URL('/whep/npm', location));
         await until('a connection', () => pc.connectionState === 'connected');
         await watch(pc, 40);
         return inbound(pc, 'audio');",
        json!(npm("whip-whep/whep.js"))
    );
    let audio = viewer.run(&view).await;
    assert!(audio["packetsReceived"].as_u64() > Some(20), "{audio}");
    // It knows of no entity tags, but it says which ICE session it means.
    viewer.run("await until('candidates', () => patched.length > 0)").await;
    let statuses = viewer.run("return [...new Set(patched)]").await;
    assert_eq!(statuses, json!([204]));
    for _ in 0..2 {
        publisher.run("await whip.restart()").await;
        viewer.run("await watch(pc, 40)").await;
    }
    // When the publisher has gone, so has the stream.
    publisher.run("await whip.stop()").await;
    viewer.run("await until('the end', () => pc.connectionState !== 'connected')").await;
    publisher.close().await;
    viewer.close().await;
}

#[tokio::test]
async fn the_page_publishes_every_codec_and_watches_it() {
    let server = Server::example("whip", &[]);
    let browser = page(&server).await;
    for codec in ["VP8", "VP9", "H264", "AV1"] {
        browser.run(&format!("document.querySelector('.codec').value = '{codec}'")).await;
        // The encoders of a small machine are busy enough with one layer.
        browser.run("document.querySelector('.simulcast').checked = false").await;
        browser.click("#publish .go").await;
        browser.until("document.querySelector('#publish').session?.state === 'connected'").await;
        browser.click("#watch .go").await;
        browser.until("document.querySelector('#watch').session?.state === 'connected'").await;
        let seen = browser.run("return watch(document.querySelector('#watch').session.pc, 30)").await;
        assert_eq!(seen["codec"], format!("video/{codec}"), "{seen}");
        println!(
            "{codec}: {}x{}, {} frames, {} freezes, {} key frame requests",
            seen["frameWidth"],
            seen["frameHeight"],
            seen["framesDecoded"],
            seen["freezeCount"],
            seen["pliCount"]
        );
        assert!(seen["pliCount"].as_u64() <= Some(5), "{seen}");
        if codec == "VP8" {
            browser.screenshot("whip", 1280, 800).await;
            browser.screenshot("whip-phone", 390, 844).await;
        }
        browser.click("#watch .go").await;
        browser.click("#publish .go").await;
        browser.until("document.querySelector('#publish .go').textContent === 'Publish'").await;
        browser.until("document.querySelector('#watch .go').textContent === 'Watch'").await;
    }
    browser.close().await;
}

#[tokio::test]
async fn the_page_restarts_ice_and_a_simulcast_is_watched() {
    let server = Server::example("whip", &[]);
    let browser = page(&server).await;
    browser.click("#publish .go").await;
    browser.until("document.querySelector('#publish').session?.state === 'connected'").await;
    browser.click("#watch .go").await;
    browser.until("document.querySelector('#watch').session?.state === 'connected'").await;
    browser.run("await watch(document.querySelector('#watch').session.pc)").await;
    for side in ["#publish", "#watch"] {
        browser.run(&format!("await document.querySelector('{side}').session.restart()")).await;
        browser.run("await watch(document.querySelector('#watch').session.pc, 30)").await;
    }
    browser.close().await;
}

#[tokio::test]
async fn http_is_answered_as_the_rfc_says() {
    let server = Server::example("whip", &["--ice-server", "stun:stun.example.net"]);
    let browser = page(&server).await;
    let offer = browser
        .run(
            "const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
             const pc = new RTCPeerConnection();
             for (const track of stream.getTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
             await pc.setLocalDescription();
             return pc.localDescription.sdp;",
        )
        .await;
    let offer = offer.as_str().expect("a description is text");
    let sdp = [("content-type", "application/sdp")];
    // RFC 9725 §4.2: CORS, and what is taken.
    let options = server.request("OPTIONS", "whip/http", &[], "");
    assert_eq!((options.status, options.header("accept-post")), (200, Some("application/sdp")));
    assert_eq!(options.header("access-control-allow-origin"), Some("*"));
    assert_eq!(server.request("GET", "whip/http", &[], "").status, 200);
    // §4.2: another type, no description, and more than there can be.
    assert_eq!(server.request("POST", "whip/http", &[("content-type", "text/plain")], offer).status, 415);
    assert_eq!(server.request("POST", "whip/http", &sdp, "v=0").status, 400);
    let twice = offer.replacen("m=video", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nm=video", 1);
    assert_eq!(server.request("POST", "whip/http", &sdp, &twice).status, 422);
    assert_eq!(server.request("POST", "whep/http", &sdp, offer).status, 404);
    let created = server.request("POST", "whip/http", &sdp, offer);
    assert_eq!((created.status, created.header("content-type")), (201, Some("application/sdp")));
    assert!(created.body.contains("a=recvonly") && !created.body.contains("a=sendonly"));
    assert_eq!(created.header("link"), Some("<stun:stun.example.net>; rel=\"ice-server\""));
    let session =
        created.header("location").expect("a session has a place").trim_start_matches('/').to_owned();
    let etag = created.header("etag").expect("an ICE session has a tag").to_owned();
    assert_eq!(server.request("POST", "whip/http", &sdp, offer).status, 409);
    // §4.3.1 and §4.3.2: candidates.
    let line = |name: &str| offer.lines().find(|line| line.starts_with(name)).expect("it is in every offer");
    let fragment =
        format!("{}\r\n{}\r\n{}\r\na=mid:0\r\n", line("a=ice-ufrag:"), line("a=ice-pwd:"), line("m="));
    let kind = ("content-type", "application/trickle-ice-sdpfrag");
    let patch = |etag: Option<&str>, text: &str| {
        let headers: Vec<_> =
            [Some(kind), etag.map(|etag| ("if-match", etag))].into_iter().flatten().collect();
        server.request("PATCH", &session, &headers, text)
    };
    assert_eq!(patch(None, &fragment).status, 428);
    assert_eq!(patch(Some("\"other\""), &fragment).status, 412);
    let candidate = "a=candidate:1 1 udp 2130706431 192.0.2.77 5000 typ host\r\na=end-of-candidates\r\n";
    let taken = patch(Some(&etag), &format!("{fragment}{candidate}"));
    assert_eq!((taken.status, taken.header("etag"), taken.body.as_str()), (204, None, ""));
    // §4.3.3: a restart.
    let fresh = fragment
        .replace(line("a=ice-ufrag:"), "a=ice-ufrag:fresh")
        .replace(line("a=ice-pwd:"), "a=ice-pwd:freshfreshfreshfreshfresh");
    let restarted = patch(Some("*"), &fresh);
    assert_eq!(restarted.status, 200);
    assert!(restarted.body.contains("a=ice-ufrag:") && restarted.body.contains("a=candidate:"));
    assert_ne!(restarted.header("etag"), Some(etag.as_str()));
    assert_eq!(patch(Some(&etag), &fragment).status, 412);
    // §4.2: the end.
    assert_eq!(server.request("DELETE", &session, &[], "").status, 200);
    assert_eq!(server.request("DELETE", &session, &[], "").status, 404);
    assert_eq!(patch(Some("*"), &fresh).status, 404);
    browser.close().await;
}

#[tokio::test]
async fn without_the_token_nobody_comes_in() {
    let server = Server::example("whip", &["--token", "secret"]);
    let sdp = ("content-type", "application/sdp");
    for authorization in [None, Some("Bearer wrong"), Some("Basic secret")] {
        let headers: Vec<_> =
            [Some(sdp), authorization.map(|a| ("authorization", a))].into_iter().flatten().collect();
        let response = server.request("POST", "whip/live", &headers, "v=0");
        assert_eq!((response.status, response.header("www-authenticate")), (401, Some("Bearer")));
    }
    let response = server.request("POST", "whip/live", &[sdp, ("authorization", "Bearer secret")], "v=0");
    assert_eq!(response.status, 400, "it comes in, with a description that is none");
    assert_eq!(server.request("OPTIONS", "whip/live", &[], "").status, 200, "asked without credentials");
}
