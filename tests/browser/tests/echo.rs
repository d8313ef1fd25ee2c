//! Chromium against the echo server: every kind of message, channel and ending.

use std::time::Duration;

use browser::{Browser, Server};
use serde_json::{Value, json};

#[tokio::test]
async fn text_binary_and_empty_messages_come_back_as_they_were() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            const { channel } = await connect();
            const kind = (data) => typeof data === "string" ? `text:${data}` : `binary:${Array.from(new Uint8Array(data))}`;
            const found = [];
            for (const data of ["hello", "Grüße, 你好, 🚀", new Uint8Array([0, 1, 255]), "", new Uint8Array(0), "end"]) {
                found.push(kind(await echoed(channel, data)));
            }
            return found;
            "#,
        )
        .await;
    assert_eq!(
        result,
        json!(["text:hello", "text:Grüße, 你好, 🚀", "binary:0,1,255", "text:", "binary:", "text:end"])
    );
    browser.close().await;
}

#[tokio::test]
async fn messages_of_1_byte_to_256_kib_come_back_whole() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            const { peer, channel } = await connect();
            const sizes = [1, 2, 3, 15, 16, 17, 255, 1000, 1100, 1150, 1175, 1200, 1201, 2047, 4096, 16383, 16384, 16385,
                65535, 65536, 65537, 131072, 200000, 262143, 262144];
            const wrong = [];
            for (const size of sizes) {
                const data = noise(size, size);
                if (!same(data, await echoed(channel, data))) wrong.push(size);
                const text = "x".repeat(size);
                if (text !== await echoed(channel, text)) wrong.push(`text ${size}`);
            }
            return { wrong, limit: peer.pc.sctp.maxMessageSize };
            "#,
        )
        .await;
    assert_eq!(result, json!({ "wrong": [], "limit": 262_144 }));
    browser.close().await;
}

#[tokio::test]
async fn fifty_channels_of_all_reliability_kinds_work_side_by_side() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            const { peer } = await connect();
            const kinds = [{}, { ordered: false }, { maxRetransmits: 0 }, { maxRetransmits: 3, ordered: false },
                { maxPacketLifeTime: 1000 }, { maxPacketLifeTime: 500, ordered: false },
                { protocol: "chat", priority: "high" }];
            const channels = await Promise.all(Array.from({ length: 49 }, (_, i) =>
                opened(peer.open(`channel ${i}`, kinds[i % kinds.length]))));
            let wrong = 0, again = 0;
            await Promise.all(channels.map(async (channel, i) => {
                const mayLose = channel.maxRetransmits !== null || channel.maxPacketLifeTime !== null;
                for (let round = 0; round < 10; round++) {
                    const data = noise(1 + i * 97 + round * 1009, i + 1);
                    if (!mayLose) {
                        if (!same(data, await echoed(channel, data))) wrong++;
                        continue;
                    }
                    // A machine that pauses makes lifetimes end and timers run out. Then it is said again, and an
                    // answer may come twice.
                    const back = new Promise((done) => channel.onmessage = ({ data: came }) => {
                        if (came.byteLength === data.length) done(came);
                        else if (came.byteLength > data.length) wrong++;
                    });
                    channel.send(data);
                    const repeat = setInterval(() => { again++; channel.send(data); }, 3000);
                    if (!same(data, await within(back, `round ${round} of ${channel.label}`))) wrong++;
                    clearInterval(repeat);
                }
            }));
            return { wrong, again, ids: new Set(channels.map((c) => c.id)).size };
            "#,
        )
        .await;
    assert_eq!((&result["wrong"], &result["ids"]), (&json!(0), &json!(49)));
    // Of 490 messages on loopback, channels that may lose some lose few.
    assert!(result["again"].as_u64().expect("a number") < 25, "{result}");
    assert_eq!(server.stats(), (1, 50));
    browser.close().await;
}

#[tokio::test]
async fn bulk_of_64_mib_comes_back_with_the_same_hash() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            const { channel } = await connect();
            const size = 64 * 2 ** 20, piece = 64 * 1024;
            const source = noise(size), back = new Uint8Array(size);
            let at = 0;
            const finished = new Promise((done) => {
                channel.onmessage = ({ data }) => {
                    back.set(new Uint8Array(data), at);
                    at += data.byteLength;
                    if (at === size) done();
                };
            });
            const start = performance.now();
            channel.bufferedAmountLowThreshold = 1 << 20;
            for (let sent = 0; sent < size; sent += piece) {
                if (channel.bufferedAmount > 4 << 20) await happens(channel, "bufferedamountlow");
                channel.send(source.subarray(sent, sent + piece));
            }
            await within(finished, "the last byte", 110000);
            const seconds = (performance.now() - start) / 1000;
            return { sent: await sha256(source), found: await sha256(back), seconds };
            "#,
        )
        .await;
    assert_eq!(result["sent"], result["found"]);
    println!("64 MiB there and back in {:.1} s", result["seconds"].as_f64().unwrap_or_default());
    browser.close().await;
}

#[tokio::test]
async fn many_small_messages_keep_their_order() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            const { channel } = await connect();
            const count = 20000;
            let next = 0, wrong = 0;
            const finished = new Promise((done) => {
                channel.onmessage = ({ data }) => {
                    if (Number(data) !== next++) wrong++;
                    if (next === count) done();
                };
            });
            for (let i = 0; i < count; i++) channel.send(String(i));
            await within(finished, "the last message");
            return wrong;
            "#,
        )
        .await;
    assert_eq!(result, json!(0));
    browser.close().await;
}

#[tokio::test]
async fn channels_close_and_open_again_without_end() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            const { peer } = await connect();
            let highest = 0;
            for (let round = 0; round < 100; round++) {
                const channels = await Promise.all([0, 1, 2].map((i) => opened(peer.open(`${round}/${i}`))));
                for (const channel of channels) {
                    if (await echoed(channel, channel.label) !== channel.label) throw new Error("a wrong echo");
                    highest = Math.max(highest, channel.id);
                }
                await Promise.all(channels.map(finish));
            }
            return highest;
            "#,
        )
        .await;
    // Four channels live at a time: the ids of the closed ones are used again.
    assert!(result.as_u64().is_some_and(|id| id < 50), "the highest stream id is {result}");
    server.until_stats(1, 1).await;
    browser.close().await;
}

#[tokio::test]
async fn an_ice_restart_keeps_the_channels() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            const { peer, channel } = await connect();
            const ufrag = () => /a=ice-ufrag:(\S+)/.exec(peer.pc.remoteDescription.sdp)[1];
            const ufrags = new Set([ufrag()]), sessions = new Set([peer.session]);
            let lost = 0;
            for (let round = 0; round < 3; round++) {
                await peer.restartIce();
                ufrags.add(ufrag());
                sessions.add(peer.session);
                for (let i = 0; i < 20; i++) {
                    if (await echoed(channel, `${round} ${i}`) !== `${round} ${i}`) lost++;
                    await new Promise((done) => setTimeout(done, 25));
                }
                if (await echoed(await opened(peer.open("after")), "new") !== "new") lost++;
            }
            return { ufrags: ufrags.size, sessions: sessions.size, lost, state: peer.pc.connectionState };
            "#,
        )
        .await;
    assert_eq!(result, json!({ "ufrags": 4, "sessions": 1, "lost": 0, "state": "connected" }));
    assert_eq!(server.stats(), (1, 4));
    browser.close().await;
}

#[tokio::test]
async fn a_plain_renegotiation_changes_nothing() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            const { peer, channel } = await connect();
            const before = peer.pc.remoteDescription.sdp.match(/a=(ice-ufrag|fingerprint|setup):\S+/g).join();
            await peer.offer();
            const after = peer.pc.remoteDescription.sdp.match(/a=(ice-ufrag|fingerprint|setup):\S+/g).join();
            return [before === after, await echoed(channel, "still here")];
            "#,
        )
        .await;
    assert_eq!(result, json!([true, "still here"]));
    browser.close().await;
}

#[tokio::test]
async fn the_browser_answers_an_offer_of_the_server() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            const peer = new echo.Peer({ serverOffers: true });
            const theirs = new Promise((done) => { peer.onchannel = done; });
            const mine = peer.open("mine");
            await peer.connect();
            await opened(mine);
            const channel = await opened(await within(theirs, "the server's channel"));
            const parity = (c) => c.id % 2;
            return {
                label: channel.label,
                echoes: [await echoed(mine, "one"), await echoed(channel, "two")],
                parities: parity(mine) !== parity(channel),
                role: peer.pc.localDescription.type,
            };
            "#,
        )
        .await;
    assert_eq!(
        result,
        json!({ "label": "server", "echoes": ["one", "two"], "parities": true, "role": "answer" })
    );
    // The roles of who offers may change later on.
    let result = browser
        .run(
            r#"
            const peer = new echo.Peer({ serverOffers: true });
            const mine = peer.open("mine");
            await peer.connect();
            await opened(mine);
            await peer.restartIce();
            return echoed(mine, "after the restart");
            "#,
        )
        .await;
    assert_eq!(result, json!("after the restart"));
    browser.close().await;
}

#[tokio::test]
async fn channels_agreed_by_id_need_no_open_message() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            const peer = new echo.Peer({ negotiated: [200, 7] });
            const early = [200, 7].map((id) => peer.open("agreed", { negotiated: true, id }));
            await peer.connect();
            const found = [];
            for (const channel of early) found.push(await echoed(await opened(channel), `on ${channel.id}`));
            const later = await opened(await peer.openNegotiated(1000));
            found.push(await echoed(later, `on ${later.id}`));
            return found;
            "#,
        )
        .await;
    assert_eq!(result, json!(["on 200", "on 7", "on 1000"]));
    assert_eq!(server.stats(), (1, 3));
    browser.close().await;
}

#[tokio::test]
async fn many_peers_share_the_sockets() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            window.peers = await Promise.all(Array.from({ length: 12 }, (_, i) => connect({ serverOffers: i % 2 === 1 })));
            const echoes = await Promise.all(peers.map(({ channel }, i) => echoed(channel, `peer ${i}`)));
            return echoes.every((text, i) => text === `peer ${i}`);
            "#,
        )
        .await;
    assert_eq!(result, Value::Bool(true));
    // Every second one has a channel of the server's beside its own.
    server.until_stats(12, 18).await;
    // Without a word to the HTTP side: the goodbye is on the wire.
    browser.run("for (const { peer } of peers) peer.pc.close();").await;
    server.until_stats(0, 0).await;
    browser.close().await;
}

#[tokio::test]
async fn a_malformed_offer_gets_400_with_its_line_and_the_server_goes_on() {
    let server = Server::start();
    let sdp = |text: &str| json!({ "type": "offer", "sdp": text }).to_string();
    let good = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
    let (status, why) = server.post("offer", &sdp(&format!("{good}this is not SDP\r\n")));
    assert_eq!(status, 400);
    assert!(why.contains("line 5"), "{why}");
    for body in
        ["", "{", "[]", "{\"type\":\"offer\"}", "{\"type\":\"answer\",\"sdp\":\"\"}", &sdp(""), &sdp(good)]
    {
        let (status, why) = server.post("offer", body);
        assert_eq!(status, 400, "{body}: {why}");
        assert!(!why.trim().is_empty());
    }
    assert_eq!(server.post("offer?session=nobody", &sdp(good)).0, 404);
    assert_eq!(server.post("answer?session=nobody", "{\"type\":\"answer\",\"sdp\":\"\"}").0, 404);
    assert_eq!(server.post("close?session=nobody", "").0, 404);
    assert_eq!(server.post("offer", &sdp(&"a".repeat(1 << 20))).0, 413);
    assert_eq!(server.post("nowhere", "").0, 404);
    assert_eq!(server.stats(), (0, 0));

    let browser = Browser::open(&server).await;
    let echo = browser.run("const { channel } = await connect(); return echoed(channel, 'well');").await;
    assert_eq!(echo, json!("well"));
    browser.close().await;
}

#[tokio::test]
async fn a_bad_second_offer_leaves_the_connection_as_it_was() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    let result = browser
        .run(
            r#"
            const { peer, channel } = await connect();
            const sdp = peer.pc.localDescription.sdp.replace(/a=ice-pwd:.*/, "a=ice-pwd:short");
            const response = await fetch(`/offer?session=${peer.session}`, { method: "POST", body: JSON.stringify({ type: "offer", sdp }) });
            return [response.status, await echoed(channel, "unharmed")];
            "#,
        )
        .await;
    assert_eq!(result, json!([400, "unharmed"]));
    browser.close().await;
}

#[tokio::test]
async fn a_browser_that_vanishes_leaves_nothing_behind() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    browser.run("const { peer } = await connect(); window.kept = peer;").await;
    server.until_stats(1, 1).await;
    browser.close().await;
    server.until_stats(0, 0).await;
}

#[tokio::test]
async fn ctrl_c_ends_the_server_cleanly() {
    let server = Server::start();
    let browser = Browser::open(&server).await;
    browser.run("const { peer, channel } = await connect(); window.kept = { peer, channel };").await;
    let status = server.interrupt();
    assert!(status.success(), "{status}");
    // The peers are told.
    browser.until("kept.channel.readyState === 'closed'").await;
}

#[tokio::test]
async fn a_person_uses_the_page() {
    let server = Server::start();
    let browser = Browser::at(&server.url).await;
    browser.until("document.getElementById('state').dataset.state === 'connected'").await;
    browser.until("!document.getElementById('send').disabled").await;

    for text in
        ["Hello there", "Grüße aus dem Browser", "And a longer one, to see how it wraps: ".repeat(3).trim()]
    {
        browser.type_into("#message", text).await;
        browser.click("#send").await;
        browser
            .until(&format!(
                "[...document.querySelectorAll('#messages .theirs')].at(-1)?.firstChild.data === {}",
                json!(text)
            ))
            .await;
    }
    browser.click("#form option[value=binary]").await;
    browser.type_into("#message", "bytes").await;
    browser.click("#send").await;
    browser.until("document.querySelectorAll('#messages .theirs').length === 4").await;

    for kind in ["unordered", "lifetime", "negotiated"] {
        browser.click(&format!("#kind option[value={kind}]")).await;
        browser.click("#open").await;
    }
    browser.until("document.querySelectorAll('#channels li').length === 5").await;
    server.until_stats(1, 5).await;

    browser.click("#bulk").await;
    browser.until("document.getElementById('bulk-result').textContent.startsWith('✓')").await;
    println!("bulk: {}", browser.text("#bulk-result").await);

    browser.click("#restart").await;
    browser.until("document.getElementById('log').textContent.includes('ICE restarted')").await;
    // Figures come once a second.
    browser.until("Number(document.getElementById('rtt').textContent) > 0").await;
    browser.until("document.getElementById('pair-remote').textContent.includes('udp')").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(browser.text("#state").await, "connected");
    browser.screenshot("desktop", 1280, 860).await;
    browser.screenshot("phone", 400, 1500).await;

    // The other way round: the server offers.
    browser.click(".switch").await;
    browser.until("document.getElementById('channels').textContent.includes('server')").await;
    server.until_stats(1, 3).await;

    browser.click("#connect").await;
    server.until_stats(0, 0).await;
    assert_eq!(browser.text("#state").await, "not connected");
    browser.close().await;
}

#[tokio::test]
async fn a_person_sees_the_echo_of_the_camera() {
    let server = Server::start();
    let browser = Browser::with_camera(&server.url).await;
    browser.until("document.getElementById('state').dataset.state === 'connected'").await;
    browser
        .run(
            "window.shows = (id) => {
                 const video = document.getElementById(id);
                 const moves = video.videoWidth > 0 && video.currentTime > 1;
                 const text = document.getElementById(`${id}-figures`).innerText;
                 return moves && /VP8 · \\d+×\\d+ [1-9]\\d* fps/.test(text) && /opus/.test(text);
             };
             window.bright = (id) => {
                 const canvas = Object.assign(document.createElement('canvas'), { width: 32, height: 18 });
                 const context = canvas.getContext('2d');
                 context.drawImage(document.getElementById(id), 0, 0, 32, 18);
                 return context.getImageData(0, 0, 32, 18).data.some((x, i) => i % 4 < 3 && x > 60);
             };",
        )
        .await;
    for round in 0..2 {
        if round == 0 {
            browser.click("#camera").await;
        }
        for id in ["sent", "echoed"] {
            browser.until(&format!("shows('{id}') && bright('{id}')")).await;
        }
        if round == 0 {
            browser.screenshot("echo-camera", 1280, 900).await;
            browser.screenshot("echo-camera-phone", 390, 1200).await;
            let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth").await;
            assert_eq!(fits, json!(true));
            // The next connection sends it as well.
            browser.click("#connect").await;
            server.until_stats(0, 0).await;
            browser.click("#connect").await;
            browser.until("document.getElementById('state').dataset.state === 'connected'").await;
        }
    }
    browser.click("#camera").await;
    browser.until("document.getElementById('pictures').hidden").await;
    browser.until("document.getElementById('camera').textContent === 'Start'").await;
    // The rest goes on.
    browser.type_into("#message", "without a picture").await;
    browser.click("#send").await;
    browser.until("document.querySelectorAll('#messages .theirs').length === 1").await;
    browser.close().await;
}

#[tokio::test]
async fn the_page_connects_again_after_the_server_was_started_anew() {
    let server = Server::start();
    let port = server.url.trim_end_matches('/').rsplit(':').next().expect("the URL has a port").to_owned();
    let browser = Browser::at(&server.url).await;
    browser.until("document.getElementById('state').dataset.state === 'connected'").await;
    assert!(server.interrupt().success());
    let server = Server::on(&format!("127.0.0.1:{port}"));
    browser.until("document.getElementById('log').textContent.includes('next attempt')").await;
    browser.until("document.getElementById('state').dataset.state === 'connected'").await;
    server.until_stats(1, 2).await;
    browser.close().await;
}
