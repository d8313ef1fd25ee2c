//! Servers of many sessions at once behind a relay over UDP, where each session has an allocation of its own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use network::call::{Phone, Side};
use network::process::{Process, example};
use network::server::Server;
use sansrtc::session::gather::GatheringState;
use sansrtc::types::candidate::CandidateKind;
use sansrtc::{ConnectionState, MediaConfig, MediaDirection, MediaType, RtcConfig, TransceiverConfig};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// So many at once.
const SESSIONS: usize = 4;

/// Sends a request, and reads the body of its answer.
fn http(server: SocketAddr, method: &str, path: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(server).expect("the example serves HTTP");
    stream.set_read_timeout(Some(network::PATIENCE)).expect("it is above zero");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("there is a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).expect("it is JSON")
}

/// An example that is reached through a relay alone, and where it serves HTTP.
fn behind(server: &Server, name: &'static str) -> (Process, SocketAddr) {
    let mut command = Command::new(example(name));
    command.args(["--http", "127.0.0.1:0", "--bind", "127.0.0.1", "--relay-only"]);
    command.args(["--turn", &format!("turn:{}?transport=udp", server.plain)]);
    let process = Process::start(command.args(["--turn-user", "alice", "--turn-pass", "secret"]));
    let at = process.wait_for("URL", |line| {
        line.strip_prefix("open http://").map(|rest| rest.trim_end_matches('/').parse().expect("an address"))
    });
    (process, at)
}

#[test]
fn echo_serves_several_sessions_at_once_through_a_relay() {
    let server = Server::coturn(&[]);
    let (_echo, at) = behind(&server, "echo");
    // How many were heard alone, and who leaves: nobody before the figures were taken.
    let (heard, is_counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let (heard, is_counted) = (Arc::clone(&heard), Arc::clone(&is_counted));
            std::thread::spawn(move || {
                let mut phone = Phone::new(&Side::new(at.ip(), Vec::new()));
                phone.until("gathering", |phone| phone.rtc.gathering_state() != GatheringState::Gathering);
                let offer = json!({ "type": "offer", "sdp": phone.offer() });
                let answer = http(at, "POST", "/offer", &offer.to_string());
                let sdp = answer["sdp"].as_str().expect("there is an answer").to_owned();
                phone.rtc.accept_answer(&sdp.parse().expect("it is SDP")).expect("it fits");
                phone.until("the connection", |phone| phone.rtc.state() == ConnectionState::Connected);
                phone.talk("alone");
                heard.fetch_add(1, Ordering::Relaxed);
                phone.until("the others", |_| heard.load(Ordering::Relaxed) == SESSIONS);
                phone.talk("together");
                phone.until("the figures", |_| is_counted.load(Ordering::Relaxed) > 0);
                phone.rtc.stats().path.expect("it is connected")
            })
        })
        .collect();
    let start = Instant::now();
    while heard.load(Ordering::Relaxed) < SESSIONS && start.elapsed() < network::PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    let stats = http(at, "GET", "/stats", "");
    is_counted.store(1, Ordering::Relaxed);
    assert_eq!(stats["sessions"], SESSIONS);
    let paths: Vec<_> = sessions.into_iter().map(|session| session.join().expect("it was served")).collect();
    // What the client meets is the relay, at an address for each.
    assert!(paths.iter().all(|path| path.remote_kind == CandidateKind::Relayed), "{paths:?}");
    let relayed: BTreeSet<SocketAddr> = paths.iter().map(|path| path.remote).collect();
    assert_eq!(relayed.len(), SESSIONS, "{relayed:?}");
}

/// Somebody in a room of `chat`, with the messages of its page.
struct Member {
    phone: Phone,
    page: WebSocket<TcpStream>,
}

impl Member {
    fn join(at: SocketAddr, name: &str) -> Self {
        let config = RtcConfig { media: MediaConfig::browser(), ..RtcConfig::default() };
        let mut phone = Phone::with(&Side::new(at.ip(), Vec::new()), config);
        // Microphone, camera and screen, as the page has them, though nothing is ever sent.
        for kind in [MediaType::Audio, MediaType::Video, MediaType::Video] {
            let added =
                phone.rtc.add_transceiver(kind, MediaDirection::SendOnly, TransceiverConfig::default());
            added.expect("there is room");
        }
        let stream = TcpStream::connect(at).expect("the example serves HTTP");
        let (page, _) = tungstenite::client(format!("ws://{at}/ws"), stream).expect("it takes WebSockets");
        page.get_ref().set_nonblocking(true).expect("sockets can do that");
        let mut member = Member { phone, page };
        let sdp = member.phone.offer();
        let flags = json!({ "microphone": false, "camera": false, "screen": false });
        let mut join = json!({ "type": "join", "room": "lobby", "name": name, "sdp": sdp });
        join.as_object_mut().expect("it is one").extend(flags.as_object().expect("it is one").clone());
        member.post(&join);
        member
    }

    fn post(&mut self, message: &Value) {
        self.page.send(Message::text(message.to_string())).expect("a few kilobytes fit");
    }

    /// Goes on until the condition holds, and does meanwhile what the server asks for.
    fn until(&mut self, what: &str, condition: impl Fn(&Phone) -> bool) {
        let Member { phone, page } = self;
        phone.until(what, |phone| {
            hear(phone, page);
            condition(phone)
        });
    }
}

/// Takes what the server has written.
fn hear(phone: &mut Phone, page: &mut WebSocket<TcpStream>) {
    loop {
        let text = match page.read() {
            Ok(Message::Text(text)) => text,
            Ok(_) => continue,
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(error) => panic!("the WebSocket ended: {error}"),
        };
        let message: Value = serde_json::from_str(&text).expect("it is JSON");
        let field = |name: &str| message[name].as_str().expect("it has that").to_owned();
        match message["type"].as_str() {
            Some("joined") => {
                phone.rtc.accept_answer(&field("sdp").parse().expect("it is SDP")).expect("it fits");
            }
            Some("candidate") => {
                let candidate = field("candidate").parse().expect("it is one");
                phone.rtc.add_remote_candidate(&candidate).expect("there is room");
            }
            Some("offer") => {
                let offer = field("sdp").parse().expect("it is SDP");
                let answer = phone.rtc.accept_offer(&offer).expect("it can be answered");
                let answer = json!({ "type": "answer", "sdp": answer.as_str() });
                page.send(Message::text(answer.to_string())).expect("a few kilobytes fit");
            }
            Some("refused") => panic!("{message}"),
            _ => {}
        }
    }
}

#[test]
fn a_room_of_chat_meets_through_a_relay() {
    let server = Server::coturn(&[]);
    let (_chat, at) = behind(&server, "chat");
    let heard = Arc::new(AtomicUsize::new(0));
    let members: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let heard = Arc::clone(&heard);
            std::thread::spawn(move || {
                let mut member = Member::join(at, &format!("member {number}"));
                member.until("the channel", Phone::can_talk);
                member.phone.say(&format!("word of {number}"));
                member.until("the words of all", |phone| {
                    (0..SESSIONS).all(|other| phone.has_heard(&format!("word of {other}")))
                });
                // The relay's address comes through signalling, or by a check first.
                let is_relay = |phone: &Phone| {
                    phone.rtc.stats().path.is_some_and(|path| path.remote_kind == CandidateKind::Relayed)
                };
                member.until("word of the relay", is_relay);
                heard.fetch_add(1, Ordering::Relaxed);
                member.until("the others", |_| heard.load(Ordering::Relaxed) == SESSIONS);
                member.phone.rtc.stats().path.expect("it is connected").remote
            })
        })
        .collect();
    let members = members.into_iter().map(|member| member.join().expect("it was served"));
    let relayed: BTreeSet<SocketAddr> = members.collect();
    assert_eq!(relayed.len(), SESSIONS, "{relayed:?}");
}
