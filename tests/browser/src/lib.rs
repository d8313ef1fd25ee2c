//! What the cases stand on: an example as a process, and a headless Chromium on its page.

mod firefox;
mod namespace;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

pub use firefox::Firefox;
pub use namespace::{Link, Namespace};

/// A camera and a microphone that are there and need no permission. Without it a browser tells none of its addresses.
const PERMITTED: [&str; 2] = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];
const HELPERS: &str = concat!(include_str!("helpers.js"), "\n//# sourceURL=helpers.js");

/// How long anything that a case waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process that ends with its owner, and with it whatever it started: chromedriver leaves Chromium behind.
struct Process(Child);

impl Process {
    /// Starts `command` and waits for the line of its output in which `pick` finds something.
    fn start<T>(command: &mut Command, pick: impl Fn(&str) -> Option<T>) -> (Self, T) {
        let name = command.get_program().to_string_lossy().into_owned();
        Self::attempt(command, pick).unwrap_or_else(|| panic!("{name} ended before it was ready"))
    }

    /// The same; `None` when the process ends before.
    fn attempt<T>(command: &mut Command, pick: impl Fn(&str) -> Option<T>) -> Option<(Self, T)> {
        let name = command.get_program().to_string_lossy().into_owned();
        // A group of its own, so that its children can be ended with it.
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn();
        let mut child = Process(child.unwrap_or_else(|error| panic!("cannot start {name}: {error}")));
        let mut lines = BufReader::new(child.0.stdout.take().expect("its output is a pipe"));
        let mut line = String::new();
        let found = loop {
            line.clear();
            if lines.read_line(&mut line).expect("its output is text") == 0 {
                return None;
            }
            if let Some(found) = pick(line.trim()) {
                break found;
            }
        };
        // Somebody has to read on, or the process blocks when the pipe is full.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Some((child, found))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

/// An example, on ports of its own.
pub struct Server {
    process: Process,
    /// Where its page is, with a slash at the end.
    pub url: String,
}

impl Server {
    /// Starts the echo example on any free port.
    pub fn start() -> Self {
        Self::on("127.0.0.1:0")
    }

    /// Starts the echo example on this HTTP address.
    pub fn on(http: &str) -> Self {
        Self::example("echo", &["--http", http])
    }

    /// Starts the TURN example on loopback, which relays to any address; its `url` is its address.
    pub fn turn(arguments: &[&str]) -> Self {
        let (process, url) = Self::on_free_port(|port| {
            let mut command = Command::new(binary("turn"));
            command.args(["--bind", "127.0.0.1", "--allow-peer", "0.0.0.0/0"]).args(arguments);
            command.args(["--port", &port.to_string()]);
            Process::attempt(&mut command, |line| (line == "ready").then_some(()))
        });
        Server { process, url }
    }

    /// Starts what listens for UDP and TCP on one port of loopback. A port that is free for one may be taken for the
    /// other, or be taken meanwhile: then another one is tried.
    fn on_free_port(start: impl Fn(u16) -> Option<(Process, ())>) -> (Process, String) {
        for _ in 0..10 {
            let address = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
            let address = address.expect("there are ports");
            let is_free = std::net::TcpListener::bind(address).is_ok();
            if let Some((process, ())) = is_free.then(|| start(address.port())).flatten() {
                return (process, address.to_string());
            }
        }
        panic!("there is no port for a TURN server");
    }

    /// Starts Debian's coturn on loopback, for `alice` with the password `secret`; its `url` is its address.
    pub fn coturn() -> Self {
        let (process, url) = Self::on_free_port(|port| {
            let mut command = Command::new("turnserver");
            command.args(["-n", "--no-cli", "--log-file", "stdout", "--simple-log", "--realm", "test"]);
            command.args(["--no-tls", "--no-dtls", "--allow-loopback-peers", "--fingerprint"]);
            command.args(["--lt-cred-mech", "--user", "alice:secret"]);
            command.args(["--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1"]);
            command.args(["--pidfile", "/dev/null", "--listening-port", &port.to_string()]);
            // It says little of being ready: its last words are of the database.
            Process::attempt(&mut command, |line| line.contains("SQLite DB connection").then_some(()))
        });
        Server { process, url }
    }

    /// Starts an example with these arguments, on any free port unless they name one.
    pub fn example(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary(name));
        if !arguments.contains(&"--http") {
            command.args(["--http", "127.0.0.1:0"]);
        }
        command.args(arguments);
        let (process, url) =
            Process::start(&mut command, |line| line.strip_prefix("open ").map(str::to_owned));
        Server { process, url }
    }

    /// `GET /stats`: sessions and channels.
    pub fn stats(&self) -> (u64, u64) {
        let mut response = ureq::get(format!("{}stats", self.url)).call().expect("/stats is always there");
        let text = response.body_mut().read_to_string().expect("the body is text");
        let stats: Value = serde_json::from_str(&text).expect("the body is JSON");
        let count =
            |name: &str| stats[name].as_u64().unwrap_or_else(|| panic!("{name} is missing in {text}"));
        (count("sessions"), count("channels"))
    }

    /// `GET /stats?session=ID` of the echo example: how a connection was made.
    pub fn details(&self, session: &str) -> Value {
        let answer = self.request("GET", &format!("stats?session={session}"), &[], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).expect("the body is JSON")
    }

    /// Waits until `/stats` says these numbers.
    pub async fn until_stats(&self, sessions: u64, channels: u64) {
        let start = Instant::now();
        while self.stats() != (sessions, channels) {
            assert!(
                start.elapsed() < PATIENCE,
                "/stats says {:?}, not {:?}",
                self.stats(),
                (sessions, channels)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Posts `body` and gives back status and text.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .send(body)
            .expect("the server answers");
        let text = response.body_mut().read_to_string().expect("the body is text");
        (response.status().as_u16(), text)
    }

    /// Any request.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true);
        let agent: ureq::Agent = config.build().into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_owned()).expect("cases make good requests");
        let mut response = agent.run(request).expect("the server answers");
        let text = |value: &ureq::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let status = response.status().as_u16();
        Response { status, headers, body: response.body_mut().read_to_string().expect("the body is text") }
    }

    /// Ctrl-C, as a terminal sends it; how the process ended.
    pub fn interrupt(mut self) -> ExitStatus {
        let pid = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill is there").success());
        self.process.0.wait().expect("it is our child")
    }
}

/// What a server answered.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: String,
}

impl Response {
    /// The value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The text of a file in an npm package that `package.json` names; npm fetches what is missing.
pub fn npm(file: &str) -> String {
    static FETCH: Mutex<()> = Mutex::new(());
    let _guard = FETCH.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("node_modules").join(file);
    if !path.exists() {
        let arguments = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"];
        let status = Command::new("npm").args(arguments).current_dir(root).status();
        assert!(status.expect("npm is there").success(), "npm cannot fetch {file}");
    }
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An example's binary, built once per run unless `ECHO_BIN`, `CHAT_BIN` and so on name one.
fn binary(name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(format!("{}_BIN", name.to_uppercase())) {
        return path.into();
    }
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    // Held while one is built: the others wait, as they would for cargo.
    let mut built = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    built.get_or_insert_default().entry(name.to_owned()).or_insert_with(|| build(name)).clone()
}

fn build(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--example", name, "--message-format", "json"])
        .current_dir(&root)
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the example {name} does not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the binary that it built")
}

/// A headless Chromium with an empty profile, on a page of the server.
pub struct Browser {
    client: Client,
    _driver: Process,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens the page without connecting, with the helpers of `helpers.js` in it.
    pub async fn open(server: &Server) -> Self {
        Self::open_with(server, &[]).await
    }

    /// The same, with more flags for Chromium.
    pub async fn open_with(server: &Server, flags: &[&str]) -> Self {
        let browser = Self::with(&format!("{}?manual", server.url), flags).await;
        browser.run(HELPERS).await;
        browser
    }

    /// Opens any page.
    pub async fn at(url: &str) -> Self {
        Self::with(url, &[]).await
    }

    /// Opens any page, in a browser whose camera and microphone bring a test picture and beeps, and which shares
    /// its own tab when a screen is asked for; none of them asks first.
    pub async fn with_camera(url: &str) -> Self {
        const FLAGS: [&str; 2] =
            ["--auto-accept-this-tab-capture", "--autoplay-policy=no-user-gesture-required"];
        Self::with(url, &FLAGS).await
    }

    /// Opens the page as [`open`](Browser::open) does, in a browser that has the interfaces of a namespace.
    pub async fn inside(namespace: &Namespace, url: &str) -> Self {
        let mut command = namespace.command(&chromedriver());
        command.arg(format!("--allowed-ips={}", namespace.control.outside));
        let browser = Self::driven(&mut command, namespace.control.inside, url, &PERMITTED).await;
        browser.run(HELPERS).await;
        browser
    }

    async fn with(url: &str, flags: &[&str]) -> Self {
        let flags = [&PERMITTED, flags].concat();
        Self::driven(&mut Command::new(chromedriver()), Ipv4Addr::LOCALHOST, url, &flags).await
    }

    /// Opens the page as [`open`](Browser::open) does, in a browser that was given no microphone and therefore tells
    /// names in place of its addresses.
    pub async fn secretive(server: &Server) -> Self {
        let url = format!("{}?manual", server.url);
        let browser = Self::driven(&mut Command::new(chromedriver()), Ipv4Addr::LOCALHOST, &url, &[]).await;
        browser.run(HELPERS).await;
        browser
    }

    /// `host`: where the driver is reached.
    async fn driven(driver: &mut Command, host: Ipv4Addr, url: &str, flags: &[&str]) -> Self {
        // It takes a port that is free for IPv4, and ends when that is not so for IPv6: another one is tried then.
        driver.arg("--port=0");
        let ready = |line: &str| {
            line.strip_suffix('.')?.split_once("started successfully on port ")?.1.parse::<u16>().ok()
        };
        let (driver, port) =
            (0..10).find_map(|_| Process::attempt(driver, ready)).expect("there is a port for chromedriver");
        let profile = tempfile::tempdir().expect("there is room for a profile");
        let mut arguments: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            // Where there is no other interface, it must do.
            "--allow-loopback-in-peer-connection",
        ]
        .map(String::from)
        .into();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let capabilities = json!({
            "goog:chromeOptions": { "binary": chromium(), "args": arguments },
            "timeouts": { "script": 120_000 },
            // The examples make their certificates themselves.
            "acceptInsecureCerts": true,
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().expect("it is written as one").clone())
            .connect(&format!("http://{host}:{port}"))
            .await
            .expect("chromedriver starts Chromium");
        client.goto(url).await.expect("the page loads");
        Browser { client, _driver: driver, _profile: profile }
    }

    /// Runs the body of an async function in the page and gives back what it returns. An error thrown there
    /// fails the case.
    pub async fn run(&self, script: &str) -> Value {
        let wrapped = format!(
            "const done = arguments[0];
             (async () => {{ {script}\n }})().then(
                 (value) => done({{ value: value ?? null }}),
                 (error) => done({{ error: `${{error}}\n${{error.stack}}` }}));"
        );
        let mut result = self.client.execute_async(&wrapped, vec![]).await.expect("the page runs scripts");
        if let Some(error) = result["error"].as_str() {
            panic!("in the page: {error}");
        }
        result["value"].take()
    }

    /// Waits until an expression is true in the page.
    pub async fn until(&self, condition: &str) {
        let start = Instant::now();
        while self.run(&format!("return Boolean({condition});")).await != Value::Bool(true) {
            if start.elapsed() > PATIENCE {
                let log = self.run("return document.getElementById('log')?.innerText ?? ''").await;
                panic!("never came true: {condition}\nthe page's log: {log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks what the selector finds.
    pub async fn click(&self, selector: &str) {
        self.client.find(Locator::Css(selector)).await.expect(selector).click().await.expect(selector);
    }

    /// Types into what the selector finds.
    pub async fn type_into(&self, selector: &str, text: &str) {
        self.client
            .find(Locator::Css(selector))
            .await
            .expect(selector)
            .send_keys(text)
            .await
            .expect(selector);
    }

    /// The text of what the selector finds.
    pub async fn text(&self, selector: &str) -> String {
        self.client.find(Locator::Css(selector)).await.expect(selector).text().await.expect(selector)
    }

    /// Makes the window this large.
    pub async fn resize(&self, width: u32, height: u32) {
        self.client.set_window_size(width, height).await.expect("the window can be resized");
    }

    /// Goes to another page.
    pub async fn go(&self, url: &str) {
        self.client.goto(url).await.expect("the page loads");
    }

    /// Loads the page anew.
    pub async fn reload(&self) {
        self.client.refresh().await.expect("the page loads");
    }

    /// Writes a picture of the page at this size to `target/screenshots/NAME.png`.
    pub async fn screenshot(&self, name: &str, width: u32, height: u32) {
        self.client.set_window_size(width, height).await.expect("the window can be resized");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let picture = self.client.screenshot().await.expect("the page can be drawn");
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&directory).expect("target is writable");
        std::fs::write(directory.join(format!("{name}.png")), picture).expect("target is writable");
    }

    /// Leaves the page, which closes its connection with a goodbye, and ends Chromium.
    pub async fn close(self) {
        self.client.close().await.expect("the session ends");
    }
}

fn chromium() -> String {
    std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned())
}

fn chromedriver() -> String {
    std::env::var("CHROMEDRIVER").unwrap_or_else(|_| "/usr/bin/chromedriver".to_owned())
}
