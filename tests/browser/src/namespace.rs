//! A network namespace for one browser, with interfaces that can be taken away.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// A cable between this namespace and another one.
#[derive(Debug, Clone)]
pub struct Link {
    /// The name of its end in the namespace.
    pub name: String,
    /// The address of its end here.
    pub outside: Ipv4Addr,
    /// The address of its end in the namespace.
    pub inside: Ipv4Addr,
}

/// A namespace with three links. It goes with its owner. The run fails where namespaces cannot be made.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// Two that a call may use.
    pub links: [Link; 2],
    /// A third one, by which the browser is driven.
    pub control: Link,
}

impl Namespace {
    /// Makes one, with names and addresses of this process alone.
    pub fn new() -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("sansrtc-{pid}-{count}");
        ip(&["netns", "add", &name]);
        let link = |index: u8| Link {
            // Names of interfaces have 15 letters at the most.
            name: format!("sr{}{count}{index}", pid % 100_000),
            outside: Ipv4Addr::new(10, 130 + 4 * count + index, (pid % 250) as u8, 1),
            inside: Ipv4Addr::new(10, 130 + 4 * count + index, (pid % 250) as u8, 2),
        };
        let namespace = Namespace { links: [link(0), link(1)], control: link(2), name };
        ip(&["-n", &namespace.name, "link", "set", "lo", "up"]);
        for Link { name, outside, inside } in namespace.links.iter().chain([&namespace.control]) {
            let here = format!("{name}h");
            ip(&["link", "add", &here, "type", "veth", "peer", "name", name, "netns", &namespace.name]);
            ip(&["address", "add", &format!("{outside}/24"), "dev", &here]);
            ip(&["link", "set", &here, "up"]);
            ip(&["-n", &namespace.name, "address", "add", &format!("{inside}/24"), "dev", name]);
            ip(&["-n", &namespace.name, "link", "set", name, "up"]);
        }
        namespace
    }

    /// A program that runs in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Takes a link away, as by pulling the cable.
    pub fn take_away(&self, link: &Link) {
        ip(&["-n", &self.name, "link", "set", &link.name, "down"]);
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The interfaces go with it, at both ends.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("iproute2 is there");
    assert!(status.success(), "ip {}", arguments.join(" "));
}
