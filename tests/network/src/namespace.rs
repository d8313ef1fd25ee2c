//! A small internet of network namespaces, with NATs by the kernel.
//!
//! ```text
//!  host ──veth── NAT ──veth──┐
//!  10.1.0.2      203.0.113.10│
//!                            ├── bridge in a namespace of its own ──veth── server 203.0.113.1
//!  host ──veth── NAT ──veth──┘
//!  10.2.0.2      203.0.113.20
//! ```
//!
//! All of it needs to be root, `ip` and `nft`; where the kernel or the container refuses, the case fails.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What a NAT of the kernel is made to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    /// Whatever comes to the public address goes to the host.
    FullCone,
    /// Whatever comes from an address that the host has sent to.
    AddressRestricted,
    /// What Linux does by itself: the port is kept, and only answers come in.
    PortRestricted,
    /// Another port for every destination.
    Symmetric,
    /// As [`PortRestricted`](NatKind::PortRestricted), and nothing passes but TCP to port 443.
    OnlyTcp443,
}

impl NatKind {
    /// The ruleset, for one host behind it.
    fn rules(self, host: Ipv4Addr) -> String {
        let (prerouting, postrouting, forward) = match self {
            NatKind::FullCone => {
                (format!("iifname \"wan\" meta l4proto udp dnat to {host}"), "masquerade", "")
            }
            NatKind::AddressRestricted => (
                format!("iifname \"wan\" meta l4proto udp ip saddr @contacted dnat to {host}"),
                "masquerade",
                "oifname \"wan\" update @contacted { ip daddr }",
            ),
            NatKind::PortRestricted => (String::new(), "masquerade", ""),
            NatKind::Symmetric => (String::new(), "masquerade fully-random", ""),
            NatKind::OnlyTcp443 => {
                (String::new(), "masquerade", "oifname \"wan\" tcp dport 443 accept; oifname \"wan\" drop")
            }
        };
        format!(
            "table ip nat {{
                set contacted {{ type ipv4_addr; flags dynamic, timeout; timeout 2m; }}
                chain prerouting {{ type nat hook prerouting priority dstnat; {prerouting}; }}
                chain postrouting {{ type nat hook postrouting priority srcnat; oifname \"wan\" {postrouting}; }}
                chain forward {{ type filter hook forward priority filter; {forward}; }}
                # What is for nobody behind the NAT is not answered, as homes have it.
                chain input {{ type filter hook input priority filter; iifname \"wan\" drop; }}
            }}"
        )
        .replace("dstnat; ;", "dstnat;")
        .replace("filter; ;", "filter;")
    }
}

/// A namespace, removed with its owner.
struct Namespace(String);

impl Namespace {
    fn new(what: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("srtc{}-{what}{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let namespace = Namespace(name);
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Runs `ip` inside.
    fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.0], arguments].concat());
    }

    /// A command that will run inside.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program);
        command
    }

    fn nft(&self, rules: &str) {
        let mut child =
            self.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft is there");
        child.stdin.take().expect("it is a pipe").write_all(rules.as_bytes()).expect("nft reads");
        assert!(child.wait().expect("it is our child").success(), "nft refuses:\n{rules}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("`ip` is installed");
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cannot `ip {}`: {why} (root, with namespaces?)", arguments.join(" "));
}

/// A host: on the public network, or behind a NAT.
pub struct Host {
    namespace: Namespace,
    /// Its address.
    pub ip: Ipv4Addr,
    /// The NAT before it.
    nat: Option<Namespace>,
}

impl Host {
    /// Runs `work` in a thread whose sockets are those of this host.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let path = format!("/run/netns/{}", self.namespace.0);
        std::thread::spawn(move || {
            let file = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                .unwrap_or_else(|error| panic!("cannot enter {path}: {error}"));
            work()
        })
    }

    /// The same, and waits for its end.
    #[track_caller]
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.spawn(work).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A command that will run on this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.namespace.command(program)
    }

    /// Gives it one more address on its first interface.
    pub fn add_address(&self, ip: Ipv4Addr) {
        self.namespace.ip(&["address", "add", &format!("{ip}/24"), "dev", "eth0"]);
    }

    /// Takes an interface away.
    pub fn cut(&self, interface: &str) {
        self.namespace.ip(&["link", "set", interface, "down"]);
    }

    /// Makes its NAT forget all mappings and use other ports from now on.
    pub fn rebind_nat(&self, ports: std::ops::RangeInclusive<u16>) {
        let nat = self.nat.as_ref().expect("it is behind a NAT");
        let (first, last) = ports.into_inner();
        nat.nft(&format!(
            "flush chain ip nat postrouting
             add rule ip nat postrouting oifname \"wan\" ip protocol udp masquerade to :{first}-{last}
             add rule ip nat postrouting oifname \"wan\" masquerade"
        ));
        // Mappings that are there live on until the interface that they masquerade as goes down.
        nat.ip(&["link", "set", "wan", "down"]);
        nat.ip(&["link", "set", "wan", "up"]);
    }
}

/// The public network.
pub struct Internet {
    core: Namespace,
    ports: u32,
}

impl Default for Internet {
    fn default() -> Self {
        Self::new()
    }
}

impl Internet {
    /// A network without hosts.
    pub fn new() -> Self {
        let core = Namespace::new("core");
        core.ip(&["link", "add", "bridge", "type", "bridge"]);
        core.ip(&["link", "set", "bridge", "up"]);
        Internet { core, ports: 0 }
    }

    /// A host at 203.0.113.`number`.
    pub fn public(&mut self, number: u8) -> Host {
        let namespace = Namespace::new("host");
        let ip = Ipv4Addr::new(203, 0, 113, number);
        self.plug(&namespace, "eth0", ip);
        Host { namespace, ip, nat: None }
    }

    /// A host at 10.`number`.0.2, behind a NAT at 203.0.113.`number`.
    pub fn behind(&mut self, kind: NatKind, number: u8) -> Host {
        let nat = Namespace::new("nat");
        self.plug(&nat, "wan", Ipv4Addr::new(203, 0, 113, number));
        let namespace = Namespace::new("host");
        let (gateway, ip) = (Ipv4Addr::new(10, number, 0, 1), Ipv4Addr::new(10, number, 0, 2));
        nat.ip(&["link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", &namespace.0]);
        nat.ip(&["address", "add", &format!("{gateway}/24"), "dev", "lan"]);
        nat.ip(&["link", "set", "lan", "up"]);
        namespace.ip(&["address", "add", &format!("{ip}/24"), "dev", "eth0"]);
        namespace.ip(&["link", "set", "eth0", "up"]);
        namespace.ip(&["route", "add", "default", "via", &gateway.to_string()]);
        let forward = nat.command("sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).status();
        assert!(forward.is_ok_and(|status| status.success()), "the namespace does not forward");
        nat.nft(&kind.rules(ip));
        Host { namespace, ip, nat: Some(nat) }
    }

    /// Connects a namespace to the bridge.
    fn plug(&mut self, namespace: &Namespace, interface: &str, ip: Ipv4Addr) {
        self.ports += 1;
        let port = format!("port{}", self.ports);
        let link = ["link", "add", &port, "type", "veth", "peer", "name", interface, "netns", &namespace.0];
        self.core.ip(&link);
        self.core.ip(&["link", "set", &port, "master", "bridge", "up"]);
        namespace.ip(&["address", "add", &format!("{ip}/24"), "dev", interface]);
        namespace.ip(&["link", "set", interface, "up"]);
    }
}
