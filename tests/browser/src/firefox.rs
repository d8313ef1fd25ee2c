//! A headless Firefox, driven by WebDriver BiDi, which it speaks by itself: no geckodriver is needed.

use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::{PATIENCE, Process};

/// Camera and microphone are a test picture and a tone, and nobody is asked; loopback is an interface like others;
/// nothing is fetched behind the back of a case.
const PREFERENCES: &str = r#"
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.autoplay.default", 0);
user_pref("media.peerconnection.ice.loopback", true);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("app.update.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "data:,#remote-settings-dummy/v1");
user_pref("remote.active-protocols", 1);
"#;

/// A Firefox with an empty profile, on a page.
pub struct Firefox {
    socket: Mutex<(WebSocket<TcpStream>, u64)>,
    context: String,
    _process: Process,
    _profile: tempfile::TempDir,
}

impl Firefox {
    /// Opens a page.
    pub fn at(url: &str) -> Self {
        Self::with(url, &[])
    }

    /// Opens a page, in a browser with more preferences: names, and values as they are written in JavaScript.
    pub fn with(url: &str, preferences: &[(&str, &str)]) -> Self {
        let profile = tempfile::tempdir().expect("there is room for a profile");
        let mut text = PREFERENCES.to_owned();
        for (name, value) in preferences {
            text.push_str(&format!("user_pref(\"{name}\", {value});\n"));
        }
        std::fs::write(profile.path().join("user.js"), text).expect("the profile is writable");
        let binary = std::env::var("FIREFOX").unwrap_or_else(|_| "/usr/bin/firefox-esr".to_owned());
        // It says where it listens on standard error.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "exec \"$0\" --headless --no-remote --profile \"$1\" --remote-debugging-port 0 2>&1",
        ]);
        command.arg(binary).arg(profile.path());
        let (process, address) = Process::start(&mut command, |line| {
            line.split_once("WebDriver BiDi listening on ws://").map(|(_, address)| address.to_owned())
        });
        let stream = TcpStream::connect(&address).expect("it listens there");
        stream.set_read_timeout(Some(PATIENCE)).expect("sockets have timeouts");
        let (socket, _) =
            tungstenite::client(format!("ws://{address}/session"), stream).expect("it speaks WebDriver BiDi");
        let mut firefox = Firefox {
            socket: Mutex::new((socket, 0)),
            context: String::new(),
            _process: process,
            _profile: profile,
        };
        firefox.command("session.new", json!({ "capabilities": {} }));
        let tree = firefox.command("browsingContext.getTree", json!({}));
        firefox.context = tree["contexts"][0]["context"].as_str().expect("there is a tab").to_owned();
        firefox.command(
            "browsingContext.navigate",
            json!({ "context": firefox.context, "url": url, "wait": "complete" }),
        );
        firefox
    }

    fn command(&self, method: &str, parameters: Value) -> Value {
        let mut guard = self.socket.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (socket, last) = &mut *guard;
        *last += 1;
        let command = json!({ "id": *last, "method": method, "params": parameters });
        socket.send(Message::text(command.to_string())).expect("the browser listens");
        loop {
            let Message::Text(text) = socket.read().expect("the browser answers") else { continue };
            let mut answer: Value = serde_json::from_str(&text).expect("the answer is JSON");
            // Events lie between the answers.
            if answer["id"] == json!(*last) {
                assert_eq!(answer["type"], "success", "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// Runs the body of an async function in the page, as a click of a person would, and gives back what it returns.
    pub fn run(&self, script: &str) -> Value {
        let expression =
            format!("(async () => JSON.stringify((await (async () => {{ {script}\n }})()) ?? null))()");
        let target = json!({ "context": self.context });
        let parameters = json!({ "expression": expression, "target": target, "awaitPromise": true, "userActivation": true });
        let result = self.command("script.evaluate", parameters);
        let text = result["result"]["value"].as_str().unwrap_or_else(|| panic!("in the page: {result}"));
        serde_json::from_str(text).expect("it was made by JSON.stringify")
    }

    /// Waits until an expression is true in the page.
    pub fn until(&self, condition: &str) {
        let start = Instant::now();
        while self.run(&format!("return Boolean({condition});")) != Value::Bool(true) {
            assert!(start.elapsed() < PATIENCE, "never came true: {condition}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
