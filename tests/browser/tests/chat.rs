//! Browsers in one room of the chat example: pictures, sound, text, screens, coming and going.

use browser::{Browser, Firefox, Server};
use serde_json::{Value, json};

/// In every page: what is received, by participant and source.
const HELPERS: &str = r#"
    const tile = (name, source = "camera") => [...document.querySelectorAll(`.tile[data-source="${source}"]`)]
        .find((tile) => tile.querySelector("figcaption span").textContent.split(":")[0] === name);
    const track = (name, source = "camera") => {
        const person = chat.room?.participants.find((person) => person.name === name);
        return chat.room?.tracks.find((track) => track.participant === person?.id && track.source === source);
    };
    const inbound = async (name, source) => {
        const report = await track(name, source)?.receiver.getStats();
        return [...report?.values() ?? []].find((stats) => stats.type === "inbound-rtp") ?? {};
    };
    const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
    const until = async (what, condition, ms = 40000) => {
        for (const end = performance.now() + ms; !(await condition()); await sleep(100)) {
            if (performance.now() > end) throw new Error(`never: ${what}`);
        }
    };
    /** Waits until so many frames more were decoded. */
    const watch = async (name, source = "camera", frames = 20) => {
        let start;
        await until(`frames of ${name}'s ${source}`, async () => {
            const { framesDecoded = 0 } = await inbound(name, source);
            start ??= framesDecoded;
            return framesDecoded >= start + frames;
        });
        return (await inbound(name, source));
    };
    /** How bright the picture is on average, and how much it differs from that, of 255. */
    const look = (name, source) => {
        const video = tile(name, source).querySelector("video");
        const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 36 });
        const context = canvas.getContext("2d");
        context.drawImage(video, 0, 0, 64, 36);
        const { data } = context.getImageData(0, 0, 64, 36);
        const light = [];
        for (let i = 0; i < data.length; i += 4) light.push((data[i] + data[i + 1] + data[i + 2]) / 3);
        const mean = light.reduce((sum, x) => sum + x) / light.length;
        const contrast = Math.sqrt(light.reduce((sum, x) => sum + (x - mean) ** 2, 0) / light.length);
        return { mean, contrast };
    };
    const said = () => [...document.getElementById("messages").children].map((line) => line.lastChild.textContent);
    Object.assign(window, { tile, track, inbound, sleep, until, watch, look, said });
"#;

/// A browser on the page, in the room, connected.
async fn join(server: &Server, room: &str, name: &str) -> Browser {
    join_with(server, "?height=360", room, name).await
}

async fn join_with(server: &Server, query: &str, room: &str, name: &str) -> Browser {
    let browser = Browser::with_camera(&format!("{}{query}#{room}", server.url)).await;
    enter(&browser, name).await;
    browser
}

/// From the lobby into the room.
async fn enter(browser: &Browser, name: &str) {
    browser.run(HELPERS).await;
    // The preview is there: camera and microphone are open.
    browser.until("chat.own.camera && chat.own.microphone").await;
    browser.run("document.getElementById('name').value = ''").await;
    browser.type_into("#name", name).await;
    browser.click("#join").await;
    browser.until("document.getElementById('state').dataset.state === 'connected'").await;
}

async fn people(browser: &Browser, count: usize) {
    browser.until(&format!("chat.room.participants.length === {count}")).await;
}

async fn says(browser: &Browser, text: &str) {
    if browser.run("return document.getElementById('chat').hidden").await == json!(true) {
        browser.click("#chat-open").await;
    }
    browser.type_into("#message", text).await;
    browser.click("#send").await;
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("{name} is missing in {value}"))
}

#[tokio::test]
async fn two_in_a_room_see_and_hear_each_other() {
    let server = Server::example("chat", &[]);
    let ada = join(&server, "two", "Ada").await;
    let bob = join(&server, "two", "Bob").await;
    for (browser, other) in [(&ada, "Bob"), (&bob, "Ada")] {
        people(browser, 2).await;
        let seen = browser.run(&format!("return watch('{other}', 'camera', 60)")).await;
        let picture = browser.run(&format!("return look('{other}')")).await;
        // The test picture is a bright pie on green.
        assert!(number(&picture, "mean") > 20.0 && number(&picture, "contrast") > 2.0, "{picture}");
        let heard = browser
            .run(&format!(
                "await until('sound', async () => (await inbound('{other}', 'microphone')).totalAudioEnergy > 0);
                 await sleep(2000);
                 return inbound('{other}', 'microphone')"
            ))
            .await;
        assert!(number(&heard, "totalSamplesReceived") > 48_000.0, "{heard}");
        println!(
            "{other}: {} of {}x{}, {} frames, {} freezes, {} key frame requests, {} of {} audio samples concealed",
            seen["codecId"],
            seen["frameWidth"],
            seen["frameHeight"],
            seen["framesDecoded"],
            seen["freezeCount"],
            seen["pliCount"],
            heard["concealedSamples"],
            heard["totalSamplesReceived"]
        );
        assert!(number(&seen, "pliCount") <= 5.0, "{seen}");
        browser.screenshot(&format!("chat-two-{other}"), 1280, 800).await;
    }
    ada.close().await;
    bob.close().await;
}

#[tokio::test]
async fn text_reaches_everybody_and_who_comes_later() {
    let server = Server::example("chat", &[]);
    let ada = join(&server, "text", "Ada").await;
    let bob = join(&server, "text", "Bob").await;
    says(&ada, "hello Bob").await;
    bob.until("said().length === 1").await;
    says(&bob, "hello <b>Ada</b> 🚀").await;
    let expected = json!(["hello Bob", "hello <b>Ada</b> 🚀"]);
    let cleo = join(&server, "text", "Cleo").await;
    let elsewhere = join(&server, "elsewhere", "Dan").await;
    for browser in [&ada, &bob, &cleo] {
        browser.until("said().length === 2").await;
        assert_eq!(browser.run("return said()").await, expected);
    }
    assert_eq!(elsewhere.run("return said()").await, json!([]));
    people(&elsewhere, 1).await;
    bob.screenshot("chat-text", 1280, 800).await;
    for browser in [ada, bob, cleo, elsewhere] {
        browser.close().await;
    }
}

#[tokio::test]
async fn who_mutes_is_seen_to_be_mute_and_comes_back() {
    let server = Server::example("chat", &[]);
    let ada = join(&server, "mute", "Ada").await;
    let bob = join(&server, "mute", "Bob").await;
    people(&bob, 2).await;
    bob.run("await watch('Ada')").await;
    ada.click("#mic").await;
    ada.click("#cam").await;
    bob.until("tile('Ada').classList.contains('silent') && tile('Ada').classList.contains('dark')").await;
    // Silence arrives, and no picture.
    bob.run(
        "await sleep(1500);
         const [sound, picture] = [await inbound('Ada', 'microphone'), await inbound('Ada')];
         await sleep(2000);
         const energy = (await inbound('Ada', 'microphone')).totalAudioEnergy - sound.totalAudioEnergy;
         if (energy > 1e-6) throw new Error(`not silent: ${energy}`);
         const frames = (await inbound('Ada')).framesDecoded - picture.framesDecoded;
         if (frames > 0) throw new Error(`${frames} frames of a camera that is off`);",
    )
    .await;
    bob.screenshot("chat-mute", 1280, 800).await;
    ada.click("#mic").await;
    ada.click("#cam").await;
    bob.until("!tile('Ada').classList.contains('silent') && !tile('Ada').classList.contains('dark')").await;
    bob.run("await watch('Ada')").await;
    ada.close().await;
    bob.close().await;
}

#[tokio::test]
async fn who_leaves_is_gone_and_may_come_back() {
    let server = Server::example("chat", &[]);
    let ada = join(&server, "leave", "Ada").await;
    let bob = join(&server, "leave", "Bob").await;
    for _ in 0..3 {
        people(&ada, 2).await;
        ada.run("await watch('Bob')").await;
        bob.click("#leave").await;
        people(&ada, 1).await;
        enter(&bob, "Bob").await;
    }
    bob.run("await watch('Ada')").await;
    // A reload says goodbye as well.
    bob.reload().await;
    people(&ada, 1).await;
    enter(&bob, "Bob").await;
    ada.run("await watch('Bob')").await;
    // A browser that is killed says nothing; its socket ends.
    drop(bob);
    people(&ada, 1).await;
    ada.close().await;
}

#[tokio::test]
async fn a_screen_comes_and_goes() {
    let server = Server::example("chat", &[]);
    let ada = join(&server, "screen", "Ada").await;
    let bob = join(&server, "screen", "Bob").await;
    people(&bob, 2).await;
    for round in 0..2 {
        ada.click("#screen").await;
        ada.until("chat.own.screen").await;
        bob.until("tile('Ada', 'screen')").await;
        bob.run("await watch('Ada', 'screen', 5)").await;
        let picture = bob.run("return look('Ada', 'screen')").await;
        assert!(number(&picture, "mean") > 20.0, "{picture}");
        // The camera goes on beside it.
        bob.run("await watch('Ada')").await;
        if round == 0 {
            bob.screenshot("chat-screen", 1280, 800).await;
        }
        ada.click("#screen").await;
        bob.until("!tile('Ada', 'screen')").await;
        bob.run("await watch('Ada')").await;
    }
    ada.close().await;
    bob.close().await;
}

/// A picture that is sent with so many lines is watched in windows of two sizes: within which lines it comes then.
async fn layers(height: u32, large: (u32, u32), small: (u32, u32)) {
    let server = Server::example("chat", &[]);
    let ada = join_with(&server, &format!("?height={height}"), "layers", "Ada").await;
    // Who watches has a small picture: the machine is busy enough with the other.
    let bob = join_with(&server, "?height=90", "layers", "Bob").await;
    people(&bob, 2).await;
    for (width, height, (lowest, highest)) in [(1400, 1000, large), (420, 330, small), (1400, 1000, large)] {
        bob.resize(width, height).await;
        bob.run(&format!(
            "await until('a picture of {lowest} to {highest} lines', async () => {{
                 const {{ frameHeight = 0 }} = await inbound('Ada');
                 return frameHeight >= {lowest} && frameHeight <= {highest};
             }}, 100000);
             await watch('Ada');"
        ))
        .await;
    }
    let seen = bob.run("return inbound('Ada')").await;
    println!("after two switches: {} freezes, {} key frame requests", seen["freezeCount"], seen["pliCount"]);
    ada.close().await;
    bob.close().await;
}

#[tokio::test]
async fn the_layer_follows_the_size_of_the_picture() {
    // Layers of 90, 180 and 360 lines; the last one may be too much for a busy machine.
    layers(360, (170, 360), (40, 100)).await;
}

#[tokio::test]
async fn the_layer_of_a_large_picture_follows_as_well() {
    // Layers of 180, 360 and 720 lines. A busy machine may shrink a picture before it encodes it.
    layers(720, (260, 720), (60, 200)).await;
}

#[tokio::test]
async fn every_codec_is_seen_in_a_room() {
    for (flag, codec) in [("vp9", "VP9"), ("h264", "H264"), ("av1", "AV1")] {
        let server = Server::example("chat", &["--codec", flag]);
        let ada = join_with(&server, "?height=180", flag, "Ada").await;
        let bob = join_with(&server, "?height=180", flag, "Bob").await;
        for (browser, other) in [(&ada, "Bob"), (&bob, "Ada")] {
            people(browser, 2).await;
            let seen = browser
                .run(&format!(
                    "await watch('{other}', 'camera', 30);
                     const report = await track('{other}').receiver.getStats();
                     const seen = await inbound('{other}');
                     return {{ ...seen, codec: report.get(seen.codecId)?.mimeType }};"
                ))
                .await;
            assert_eq!(seen["codec"], format!("video/{codec}"), "{seen}");
            assert!(number(&seen, "pliCount") <= 5.0, "{seen}");
            let picture = browser.run(&format!("return look('{other}')")).await;
            assert!(
                number(&picture, "mean") > 20.0 && number(&picture, "contrast") > 2.0,
                "{codec}: {picture}"
            );
        }
        ada.close().await;
        bob.close().await;
    }
}

#[tokio::test]
async fn a_window_of_the_size_of_a_phone_has_room_for_all() {
    let server = Server::example("chat", &[]);
    let ada = join(&server, "phone", "Ada").await;
    let bob = join(&server, "phone", "Bob").await;
    people(&ada, 2).await;
    bob.run("await watch('Ada')").await;
    bob.screenshot("chat-phone", 390, 844).await;
    let outside = bob
        .run(
            "const box = [innerWidth, innerHeight];
             return [...document.querySelectorAll('nav button, .tile, #count, #state')].filter((element) => {
                 const { left, top, right, bottom, width } = element.getBoundingClientRect();
                 return width === 0 || left < 0 || top < 0 || right > box[0] + 1 || bottom > box[1] + 1;
             }).map((element) => element.id || element.className)",
        )
        .await;
    assert_eq!(outside, json!([]));
    assert_eq!(bob.run("return document.documentElement.scrollWidth <= innerWidth").await, json!(true));
    says(&bob, "from my phone").await;
    bob.screenshot("chat-phone-text", 390, 844).await;
    ada.until("said().includes('from my phone')").await;
    ada.close().await;
    bob.close().await;
}

#[tokio::test]
async fn pages_come_back_when_the_server_does() {
    let server = Server::example("chat", &[]);
    let ada = join(&server, "back", "Ada").await;
    let bob = join(&server, "back", "Bob").await;
    people(&ada, 2).await;
    // Bob is in the middle of a description when the server goes, and a closed connection never finishes it.
    bob.run("chat.room.pc.setRemoteDescription = () => new Promise(() => window.isStuck = true)").await;
    ada.click("#screen").await;
    bob.until("window.isStuck").await;
    let address = server.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    assert!(server.interrupt().success());
    ada.until("document.getElementById('state').dataset.state !== 'connected'").await;
    let server = Server::example("chat", &["--http", &address]);
    for (browser, other) in [(&ada, "Bob"), (&bob, "Ada")] {
        browser.until("document.getElementById('state').dataset.state === 'connected'").await;
        people(browser, 2).await;
        browser.run(&format!("await watch('{other}')")).await;
    }
    ada.close().await;
    bob.close().await;
    drop(server);
}

#[tokio::test]
async fn a_self_signed_certificate_serves_the_same_page() {
    let server = Server::example("chat", &["--https"]);
    assert!(server.url.starts_with("https://"));
    let ada = join(&server, "secure", "Ada").await;
    let bob = join(&server, "secure", "Bob").await;
    people(&ada, 2).await;
    ada.run("await watch('Bob')").await;
    ada.close().await;
    bob.close().await;
}

#[tokio::test]
async fn firefox_and_chromium_see_and_hear_each_other() {
    let server = Server::example("chat", &[]);
    let ada = join(&server, "foxes", "Ada").await;
    let bob = Firefox::at(&format!("{}?height=360#foxes", server.url));
    bob.until("window.chat?.own.camera && chat.own.microphone");
    // The helpers are the same in both.
    bob.run(HELPERS);
    bob.run("document.getElementById('name').value = 'Bob'; document.getElementById('join').click();");
    bob.until("document.getElementById('state').dataset.state === 'connected'");
    people(&ada, 2).await;
    let seen = ada.run("return watch('Bob', 'camera', 40)").await;
    println!("Chromium of Firefox: {} frames, {} freezes", seen["framesDecoded"], seen["freezeCount"]);
    let seen = bob.run("return watch('Ada', 'camera', 40)");
    println!("Firefox of Chromium: {} frames", seen["framesDecoded"]);
    for other in ["Ada", "Bob"] {
        let script = format!(
            "await until('sound', async () => (await inbound('{other}', 'microphone')).packetsReceived > 50)"
        );
        if other == "Ada" {
            bob.run(&script)
        } else {
            ada.run(&script).await
        };
    }
    bob.run("chat.room.say('hello from a fox')");
    ada.until("said().includes('hello from a fox')").await;
    ada.screenshot("chat-firefox", 1280, 800).await;
    ada.close().await;
}
