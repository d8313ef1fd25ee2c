//! Chromium's camera and microphone against the echo server: what is sent comes back and decodes.

use browser::{Browser, Server};
use serde_json::Value;

/// Helpers in the page: one connection with fake devices, and what its statistics say.
const HELPERS: &str = r#"
    window.call = async ({ codec, encodings, audio = true, video = true } = {}) => {
        // Three layers are made of a large picture only.
        const size = encodings ? { width: 1280, height: 720 } : { width: 640, height: 360 };
        const stream = await navigator.mediaDevices.getUserMedia({ audio, video: video && size });
        const pc = new RTCPeerConnection();
        for (const track of stream.getAudioTracks()) pc.addTrack(track, stream);
        for (const track of stream.getVideoTracks()) {
            const sendEncodings = encodings?.map((rid, i) => ({ rid, scaleResolutionDownBy: 2 ** (encodings.length - 1 - i) }));
            const transceiver = pc.addTransceiver(track, { streams: [stream], sendEncodings });
            if (codec) {
                const all = RTCRtpReceiver.getCapabilities("video").codecs;
                const wanted = all.filter((c) => c.mimeType === `video/${codec}`);
                if (!wanted.length) throw new Error(`this browser has no ${codec}`);
                transceiver.setCodecPreferences([...wanted, ...all.filter((c) => c.mimeType === "video/rtx")]);
            }
        }
        pc.ontrack = ({ track }) => {
            const element = document.createElement(track.kind);
            element.autoplay = true;
            element.muted = true;
            element.srcObject = new MediaStream([track]);
            document.body.append(element);
        };
        window.pc = pc;
        window.session = undefined;
        await negotiate();
        return pc;
    };
    window.negotiate = async () => {
        await pc.setLocalDescription();
        while (pc.iceGatheringState !== "complete") await new Promise((done) => setTimeout(done, 20));
        const where = window.session ? `/offer?session=${window.session}` : "/offer";
        const response = await fetch(where, { method: "POST", headers: { "content-type": "application/json" },
            body: JSON.stringify(pc.localDescription) });
        if (!response.ok) throw new Error(await response.text());
        const answer = await response.json();
        window.session = answer.session;
        window.answerSdp = answer.sdp;
        await pc.setRemoteDescription({ type: "answer", sdp: answer.sdp });
    };
    window.figures = async (type, kind) => {
        const found = [];
        const report = await pc.getStats();
        for (const value of report.values()) if (value.type === type && value.kind === kind) {
            found.push({ ...value, codec: report.get(value.codecId)?.mimeType });
        }
        return found;
    };
    window.decoded = async () => {
        const all = await figures("inbound-rtp", "video");
        return all.reduce((sum, f) => sum + (f.framesDecoded ?? 0), 0);
    };
    window.until = async (what, test, ms = 30000) => {
        const end = performance.now() + ms;
        while (!await test()) {
            if (performance.now() > end) {
                const all = [...await figures("inbound-rtp", "video"), ...await figures("outbound-rtp", "video")];
                throw new Error(`never: ${what}; ${JSON.stringify(all)}`);
            }
            await new Promise((done) => setTimeout(done, 100));
        }
    };
"#;

async fn page(server: &Server) -> Browser {
    let browser = Browser::open(server).await;
    browser.run(HELPERS).await;
    browser
}

/// Sends video of a codec and sound for a while; what came back.
async fn video_comes_back(codec: &str) {
    let server = Server::start();
    let browser = page(&server).await;
    let result = browser
        .run(&format!(
            r#"
            await call({{ codec: "{codec}" }});
            await until("60 frames decoded", async () => await decoded() >= 60);
            await until("sound", async () => (await figures("inbound-rtp", "audio"))[0]?.totalSamplesReceived > 48000);
            const [video] = await figures("inbound-rtp", "video");
            const [audio] = await figures("inbound-rtp", "audio");
            const [sent] = await figures("outbound-rtp", "video");
            return {{ video, audio, sent }};
            "#
        ))
        .await;
    let video = &result["video"];
    println!(
        "{codec}: {} frames, {} PLI, {} freezes",
        video["framesDecoded"], video["pliCount"], video["freezeCount"]
    );
    assert_eq!(video["codec"], format!("video/{codec}"));
    assert_eq!(result["audio"]["codec"], "audio/opus");
    assert!(video["framesDecoded"].as_u64() >= Some(60));
    assert!(video["freezeCount"].as_u64().unwrap_or(0) <= 1, "{video}");
    assert!(video["pliCount"].as_u64().unwrap_or(0) <= 3, "{video}");
    browser.close().await;
}

#[tokio::test]
async fn vp8_and_opus_come_back_and_decode() {
    video_comes_back("VP8").await;
}

#[tokio::test]
async fn vp9_comes_back_and_decodes() {
    video_comes_back("VP9").await;
}

#[tokio::test]
async fn h264_comes_back_and_decodes() {
    video_comes_back("H264").await;
}

#[tokio::test]
async fn av1_comes_back_and_decodes() {
    video_comes_back("AV1").await;
}

#[tokio::test]
async fn one_layer_of_a_simulcast_comes_back() {
    let server = Server::start();
    let browser = page(&server).await;
    let result = browser
        .run(
            r#"
            await call({ codec: "VP8", encodings: ["q", "h", "f"] });
            await until("60 frames decoded", async () => await decoded() >= 60);
            await until("three layers sent", async () =>
                (await figures("outbound-rtp", "video")).filter((f) => f.framesSent > 0).length === 3);
            return { sent: (await figures("outbound-rtp", "video")).map((f) => f.rid), sdp: answerSdp };
            "#,
        )
        .await;
    let mut sent: Vec<&str> = result["sent"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    sent.sort();
    assert_eq!(sent, ["f", "h", "q"]);
    assert!(result["sdp"].as_str().unwrap().contains("a=simulcast:recv q;h;f"), "{}", result["sdp"]);
    browser.close().await;
}

#[tokio::test]
async fn tracks_are_added_and_removed_while_others_go_on() {
    let server = Server::start();
    let browser = page(&server).await;
    browser
        .run(
            r#"
            await call({ video: false });
            await until("sound", async () => (await figures("inbound-rtp", "audio"))[0]?.totalSamplesReceived > 4800);
            const stream = await navigator.mediaDevices.getUserMedia({ video: true });
            const sender = pc.addTrack(stream.getVideoTracks()[0], stream);
            await negotiate();
            await until("the picture", async () => await decoded() >= 20);
            pc.removeTrack(sender);
            await negotiate();
            const before = (await figures("inbound-rtp", "audio"))[0].totalSamplesReceived;
            await until("sound goes on", async () =>
                (await figures("inbound-rtp", "audio"))[0].totalSamplesReceived > before + 4800);
            pc.addTrack(stream.getVideoTracks()[0], stream);
            await negotiate();
            const frames = await decoded();
            await until("the picture is back", async () => await decoded() >= frames + 20);
            "#,
        )
        .await;
    browser.close().await;
}
