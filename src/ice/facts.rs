//! What an agent has found out, for its session to act on.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::config::MAX_FACTS;
use super::{ConnectionState, Path};
use crate::packet::Protocol;
use crate::types::setup::IceRole;

/// Something that happened since the last poll. Each is handed out once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// A role conflict was resolved against us (RFC 8445 §7.3.1.1).
    RoleChanged(IceRole),
    /// The first authentic message came this way: packets with this 5-tuple belong here.
    Authenticated {
        /// Where it came from.
        source: SocketAddr,
        /// The local address that it came in at.
        local: SocketAddr,
        /// How it came.
        protocol: Protocol,
    },
    /// A pair became valid: data may be received from it, and sent when it is the [`Path`].
    PairValid(Path),
    /// Data goes another way from now on, or (`None`) nowhere.
    PathChanged(Option<Path>),
    /// The state changed; of several changes between two polls the last is told.
    StateChanged(ConnectionState),
}

/// The facts that were not polled yet.
#[derive(Debug, Default)]
pub(super) struct Facts {
    role: Option<IceRole>,
    addresses: VecDeque<Fact>,
    path: Option<Option<Path>>,
    state: Option<ConnectionState>,
}

impl Facts {
    pub(super) fn role_changed(&mut self, role: IceRole) {
        self.role = Some(role);
    }

    pub(super) fn path_changed(&mut self, path: Option<Path>) {
        self.path = Some(path);
    }

    pub(super) fn state_changed(&mut self, state: ConnectionState) {
        self.state = Some(state);
    }

    /// Notes a fact about an address; of too many the oldest goes.
    pub(super) fn push(&mut self, fact: Fact) {
        if self.addresses.len() >= MAX_FACTS {
            self.addresses.pop_front();
        }
        self.addresses.push_back(fact);
    }

    /// The next fact: roles first, then addresses, then what follows from them.
    pub(super) fn poll(&mut self) -> Option<Fact> {
        if let Some(role) = self.role.take() {
            return Some(Fact::RoleChanged(role));
        }
        if let Some(fact) = self.addresses.pop_front() {
            if self.addresses.is_empty() {
                self.addresses = VecDeque::new();
            }
            return Some(fact);
        }
        if let Some(path) = self.path.take() {
            return Some(Fact::PathChanged(path));
        }
        self.state.take().map(Fact::StateChanged)
    }

    pub(super) fn clear(&mut self) {
        *self = Facts::default();
    }
}
