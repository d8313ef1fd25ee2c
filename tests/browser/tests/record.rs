//! From a browser to disk, and from disk to a browser.

use std::path::{Path, PathBuf};

use browser::{Browser, Server};

/// Whether the browser has frames of what the play example sends.
const WATCH: &str = r#"
    const { pc } = document.getElementById("watch").session;
    const inbound = async (kind) => [...(await pc.getStats()).values()]
        .find((s) => s.type === "inbound-rtp" && s.kind === kind) ?? {};
    for (const end = performance.now() + 40000; ; await new Promise((done) => setTimeout(done, 100))) {
        const [video, audio] = [await inbound("video"), await inbound("audio")];
        if (video.framesDecoded >= 40 && audio.totalAudioEnergy > 0) return { video, audio };
        if (performance.now() > end) throw new Error(`frames: ${video.framesDecoded}, energy: ${audio.totalAudioEnergy}`);
    }
"#;

/// Plays files to a browser, and gives back what it says of the video.
async fn play(video: &Path, audio: &Path) -> serde_json::Value {
    let text = |path: &Path| path.to_str().expect("a path of ours").to_owned();
    let server = Server::example("play", &["--video", &text(video), "--audio", &text(audio)]);
    let browser = Browser::with_camera(&server.url).await;
    browser.click(".go").await;
    browser.until("document.getElementById('watch').session?.state === 'connected'").await;
    let seen = browser.run(WATCH).await;
    browser.close().await;
    seen["video"].clone()
}

fn clips() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/media")
}

#[tokio::test]
async fn clips_of_every_codec_are_played() {
    let tone = clips().join("tone.ogg");
    for clip in ["vp8.ivf", "vp9.ivf", "av1.ivf", "clip.h264"] {
        let seen = play(&clips().join(clip), &tone).await;
        println!("{clip}: {} frames, {} freezes", seen["framesDecoded"], seen["freezeCount"]);
        assert_eq!((&seen["frameWidth"], &seen["frameHeight"]), (&320.into(), &180.into()), "{clip}");
    }
}

#[tokio::test]
async fn the_clip_that_comes_with_the_example_is_played_over_and_over() {
    let server = Server::example("play", &[]);
    let browser = Browser::with_camera(&server.url).await;
    browser.click(".go").await;
    browser.until("document.getElementById('watch').session?.state === 'connected'").await;
    browser.run(&WATCH.replace(">= 40", ">= 120")).await;
    browser.screenshot("play", 1280, 800).await;
    browser.close().await;
}

#[tokio::test]
async fn what_is_recorded_can_be_played() {
    let dir = tempfile::tempdir().expect("there is room for files");
    let path = dir.path().to_str().expect("a path of ours");
    let server = Server::example("record", &["--dir", path]);
    let browser = Browser::with_camera(&server.url).await;
    for (codec, ending) in [("VP8", "ivf"), ("VP9", "ivf"), ("AV1", "ivf"), ("H264", "h264")] {
        browser.run(&format!("document.querySelector('.codec').value = '{codec}'")).await;
        browser.run(&format!("document.getElementById('name').value = '{codec}'")).await;
        browser.click(".go").await;
        browser.until("document.getElementById('publish').session?.state === 'connected'").await;
        // Until a few seconds of it have left the browser.
        browser
            .run(
                "const { pc } = document.getElementById('publish').session;
                 for (let sent = 0; sent < 100; await new Promise((done) => setTimeout(done, 100))) {
                     const stats = [...(await pc.getStats()).values()];
                     sent = stats.find((s) => s.type === 'outbound-rtp' && s.kind === 'video')?.framesSent ?? 0;
                 }",
            )
            .await;
        if codec == "VP8" {
            browser.screenshot("record", 1280, 800).await;
        }
        browser.click(".go").await;
        browser.until("document.querySelector('.go').textContent === 'Record'").await;
        let (video, audio) =
            (dir.path().join(format!("{codec}-1.{ending}")), dir.path().join(format!("{codec}-1.ogg")));
        assert!(video.is_file() && audio.is_file(), "{codec}");
        let seen = play(&video, &audio).await;
        println!(
            "{codec}: {} frames of {}x{}",
            seen["framesDecoded"], seen["frameWidth"], seen["frameHeight"]
        );
    }
    browser.close().await;
    assert!(server.interrupt().success());
}
