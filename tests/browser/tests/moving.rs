//! Chromium on a machine whose network changes during a call.

use browser::{Browser, Link, Namespace, Server};
use serde_json::{Value, json};

/// Where the selected pair leads, and whether all is as it was.
const PATH: &str = r#"
    const stats = [...(await kept.peer.pc.getStats()).values()];
    const transport = stats.find((s) => s.type === "transport");
    const pair = stats.find((s) => s.id === transport.selectedCandidatePairId);
    return stats.find((s) => s.id === pair.remoteCandidateId).address;
"#;

#[tokio::test]
async fn a_call_outlives_the_interface_that_it_went_over() {
    let namespace = Namespace::new();
    let [a, b] = [0, 1].map(|index: usize| namespace.links[index].outside.to_string());
    let http = format!("{}:0", namespace.control.outside);
    let server = Server::example("echo", &["--bind", &a, "--bind", &b, "--http", &http]);
    let browser = Browser::inside(&namespace, &format!("{}?manual", server.url)).await;
    browser.run("window.kept = await connect();").await;
    let before = browser.run(PATH).await;
    let is_used = |link: &&Link| before == json!(link.outside.to_string());
    let used = namespace.links.iter().find(is_used).expect("one of the two is used");
    namespace.take_away(used);
    // Everything that is sent from now on arrives, in order, though nothing of ours or of the page restarts.
    let echoes = browser
        .run(
            r#"
            const found = [], sent = [];
            const all = new Promise((done) => {
                kept.channel.onmessage = ({ data }) => { found.push(data); if (found.length === 40) done(); };
            });
            for (let i = 0; i < 40; i++) {
                sent.push(`message ${i}`);
                kept.channel.send(`message ${i}`);
                await new Promise((done) => setTimeout(done, 50));
            }
            await within(all, "the echoes of 40 messages");
            return found.every((data, i) => data === sent[i]);
            "#,
        )
        .await;
    assert_eq!(echoes, Value::Bool(true));
    let after = browser.run(PATH).await;
    assert!(after.is_string() && after != before, "before {before}, after {after}");
    assert_eq!(browser.run("return kept.peer.pc.connectionState").await, "connected");
    assert_eq!(server.stats(), (1, 1));
    browser.close().await;
}
