//! Imports go down, or stay in one's own room; siblings never meet. And what the core never does.
//!
//! This reads the source: the compiler allows every path inside a crate, so somebody must look.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of each layer, from the bottom.
const LAYERS: [&[&str]; 5] = [
    &["time", "rng", "wire", "packet", "buffer", "types"],
    &["crypto"],
    &[
        "stun", "ice", "turn", "mdns", "dtls", "sctp", "dcep", "srtp", "rtp", "payload", "fec", "sfu", "bwe",
        "sdp",
    ],
    &["session"],
    &["rtc", "endpoint", "config", "event", "stats"],
];

/// Rooms of one layer that may still be imported by another room of it.
const NEIGHBOURS: [(&str, &str); 8] = [
    ("ice", "stun"),
    ("turn", "stun"),
    ("srtp", "rtp"),
    ("payload", "rtp"),
    ("fec", "rtp"),
    ("sfu", "rtp"),
    ("sfu", "payload"),
    ("bwe", "rtp"),
];

/// What the core never says, and why. Tests inside `src` may.
const BANNED: [(&str, &str); 17] = [
    ("Instant::now", "time is an argument"),
    ("SystemTime", "wall-clock time comes from `Clock`"),
    ("RefCell", "state has one owner"),
    ("Mutex", "state has one owner"),
    ("RwLock", "state has one owner"),
    ("Rc<", "`Rtc` is `Send`"),
    ("Rc::", "`Rtc` is `Send`"),
    ("std::thread", "the caller owns every thread"),
    ("UdpSocket", "the caller owns every socket"),
    ("TcpStream", "the caller owns every socket"),
    ("HashMap::new(", "default hashers are keyed at random"),
    ("HashSet::new(", "default hashers are keyed at random"),
    ("rand::rng()", "the seed is the only entropy"),
    ("println!", "the core is silent: use `tracing`"),
    ("todo!", "nothing is left open"),
    ("unimplemented!", "nothing is left open"),
    ("dbg!", "nothing is left behind"),
];

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// Whether code of `from` may name something of `to`.
fn may_import(from: &str, to: &str) -> bool {
    let (Some(above), Some(below)) = (layer(from), layer(to)) else { return true };
    let same_end = above == below && (above == 0 || above == LAYERS.len() - 1);
    from == to || above > below || same_end || NEIGHBOURS.contains(&(from, to))
}

/// Every file of `src`, as its path below it and its text.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            (path.strip_prefix(&root).expect("it was found there").to_owned(), text)
        })
        .collect()
}

/// The room that a file belongs to.
fn room(path: &Path) -> String {
    let first = path.components().next().expect("a path has a component");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// How many `super`s lead from a file to the crate's root.
fn depth(path: &Path) -> usize {
    let folders = path.components().count();
    if path.file_name().is_some_and(|name| name == "mod.rs") { folders - 1 } else { folders }
}

/// The code without comments; line breaks stay.
fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| {
            let mut in_string = false;
            let mut end = line.len();
            let bytes = line.as_bytes();
            for index in 0..bytes.len() {
                match bytes[index] {
                    b'"' if index == 0 || bytes[index - 1] != b'\\' => in_string = !in_string,
                    b'/' if !in_string && bytes.get(index + 1) == Some(&b'/') => {
                        end = index;
                        break;
                    }
                    _ => {}
                }
            }
            line[..end].to_owned() + "\n"
        })
        .collect()
}

/// The code in front of the tests.
fn without_tests(path: &Path, code: &str) -> String {
    let is_test = |part: std::path::Component<'_>| {
        let name = part.as_os_str().to_string_lossy();
        ["tests", "tests.rs"].contains(&&*name) || name.ends_with("_tests.rs")
    };
    if path.components().any(is_test) {
        return String::new();
    }
    let end = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    code[..end].to_owned()
}

/// The first segments that follow a path to the crate's root, with the line they stand on.
fn named_rooms(code: &str, depth: usize) -> Vec<(usize, String)> {
    let root_paths = ["crate::".to_owned(), "super::".repeat(depth.max(1))];
    let mut named = Vec::new();
    for start in root_paths {
        for (at, _) in code.match_indices(&start) {
            // `$crate::`, `pub(in crate::..)`, or a longer chain of `super`s that was matched before.
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let rest = &code[at + start.len()..];
            named.extend(first_segments(rest).into_iter().map(|segment| (line, segment)));
        }
    }
    named
}

/// `a` of `a::b`; `a` and `b` of `{a::x, b::{y, z}}`.
fn first_segments(rest: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let mut nesting = 1;
    let mut segments = vec![word(group)];
    for (at, c) in group.char_indices() {
        match c {
            '{' => nesting += 1,
            '}' => nesting -= 1,
            ',' if nesting == 1 => segments.push(word(&group[at + 1..])),
            _ => {}
        }
        if nesting == 0 {
            break;
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments
}

#[test]
fn imports_go_down_and_siblings_never_meet() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let from = room(&path);
        if from == "lib" {
            continue;
        }
        assert!(layer(&from).is_some(), "{}: no layer is known for this room", path.display());
        for (line, to) in named_rooms(&without_comments(&text), depth(&path)) {
            let place = format!("src/{}:{line}", path.display());
            if !may_import(&from, &to) {
                wrong.push(format!("{place}: `{from}` must not know `{to}`"));
            }
            // Macros and the crate's own `Result`-like aliases aside, only `lib.rs` has types at the root.
            if to.starts_with(char::is_uppercase) && layer(&from) < Some(LAYERS.len() - 1) {
                wrong.push(format!("{place}: name the module that defines `{to}`, not the crate's root"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_core_has_no_clock_no_sockets_and_no_locks() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let code = without_tests(&path, &without_comments(&text));
        for (number, line) in code.lines().enumerate() {
            for (banned, reason) in BANNED {
                let starts_a_word =
                    |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                if line.match_indices(banned).any(|(at, _)| starts_a_word(at)) {
                    wrong.push(format!("src/{}:{}: {banned}: {reason}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_check_sees_what_it_should() {
    let code = "use crate::{ice::Agent, wire::{reader, writer}, time};\nlet x = super::super::sctp::f();\n";
    let rooms: Vec<_> = named_rooms(code, 2).into_iter().map(|(_, room)| room).collect();
    assert_eq!(rooms, ["ice", "wire", "time", "sctp"]);
    assert_eq!(without_comments("a // crate::ice\n\"//\" b\n"), "a \n\"//\" b\n");
    assert!(may_import("ice", "stun") && may_import("session", "dtls") && may_import("wire", "types"));
    assert!(!may_import("ice", "dtls") && !may_import("sctp", "session") && !may_import("session", "rtc"));
    assert!(!may_import("crypto", "dtls") && may_import("dtls", "crypto"));
}
