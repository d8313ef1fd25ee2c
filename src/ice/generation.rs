//! What lives between two ICE restarts (RFC 8445 §9): credentials, remote candidates, pairs, transactions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::ConnectionState;
use super::checklist::Checklist;
use super::config::{MAX_OUTSTANDING, TRANSACTION_LIFETIME};
use super::pair::{PairId, PairState};
use crate::crypto::mac::HmacSha1Key;
use crate::packet::Protocol;
use crate::stun::TransactionId;
use crate::types::candidate::{CandidateKind, Foundation};
use crate::types::credentials::Credentials;
use crate::types::setup::IceRole;

/// Credentials with their key schedule.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) credentials: Credentials,
    pub(super) key: HmacSha1Key,
}

impl Side {
    pub(super) fn new(credentials: Credentials) -> Self {
        let key = HmacSha1Key::new(credentials.pwd.as_bytes());
        Side { credentials, key }
    }
}

/// A remote candidate that signalling brought. Those learned from checks live in their pair only, since they
/// are not paired with other local candidates (RFC 8445 §7.3.1.3).
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote {
    pub(super) address: SocketAddr,
    pub(super) kind: CandidateKind,
    pub(super) protocol: Protocol,
    pub(super) priority: u32,
    pub(super) foundation: Foundation,
}

/// A check whose answer is waited for. It is sent once: a repeat is a transaction of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transaction {
    pub(super) id: TransactionId,
    pub(super) pair: PairId,
    pub(super) sent: Instant,
    /// The role that the check claimed.
    pub(super) role: IceRole,
    /// Whether it nominated.
    pub(super) nominates: bool,
    /// The hash of the DTLS datagram that it carries.
    pub(super) embedded: Option<u32>,
}

/// Names a generation of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GenerationId(pub(super) u32);

/// All that a restart replaces.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) id: GenerationId,
    pub(super) state: ConnectionState,
    pub(super) local: Side,
    pub(super) remote: Option<Side>,
    pub(super) remotes: Vec<Remote>,
    pub(super) end_of_candidates: bool,
    pub(super) checklist: Checklist,
    transactions: Vec<Transaction>,
    /// Pairs to be checked out of turn (RFC 8445 §6.1.4.1).
    pub(super) triggered: VecDeque<PairId>,
    /// The nominated pair that data goes over.
    pub(super) selected: Option<PairId>,
    /// Since when.
    pub(super) selected_at: Option<Instant>,
    /// A controlled end has gone over to it by itself, since the nominated one was silent.
    pub(super) is_own_choice: bool,
    /// The pair that this end is nominating.
    pub(super) nominating: Option<PairId>,
    /// How often it did so.
    pub(super) nominations: u32,
    /// When the first pair became valid.
    pub(super) valid_since: Option<Instant>,
}

impl Generation {
    pub(super) fn new(id: GenerationId, credentials: Credentials) -> Self {
        Generation {
            id,
            state: ConnectionState::New,
            local: Side::new(credentials),
            remote: None,
            remotes: Vec::new(),
            end_of_candidates: false,
            checklist: Checklist::default(),
            transactions: Vec::new(),
            triggered: VecDeque::new(),
            selected: None,
            selected_at: None,
            is_own_choice: false,
            nominating: None,
            nominations: 0,
            valid_since: None,
        }
    }

    /// Whether `username` is addressed to this generation: our fragment, a colon, the peer's (RFC 8445 §7.3). Before
    /// the peer's description came its fragment may be any.
    ///
    /// A peer that restarts, and has not heard of our new credentials, may check from new sockets with our former ones
    /// and its own new ones. There is no such pair of generations, and to answer would be to promise one: a browser
    /// that got an answer stays with these credentials, and the new generation never gets a pair.
    pub(super) fn is_addressed(&self, username: &[u8]) -> bool {
        let rest = username.strip_prefix(self.local.credentials.ufrag.as_bytes());
        let Some(theirs) = rest.and_then(|rest| rest.strip_prefix(b":")) else { return false };
        self.remote.as_ref().is_none_or(|side| side.credentials.ufrag.as_bytes() == theirs)
    }

    /// The pair that data may go over: the selected one, else the best valid one.
    pub(super) fn usable_pair(&self) -> Option<PairId> {
        let selected = self.selected.and_then(|id| self.checklist.pair(id)).filter(|pair| pair.is_valid());
        selected.or_else(|| self.checklist.best_valid()).map(|pair| pair.id)
    }

    /// Notes a check; of too many for one pair the oldest is given up.
    pub(super) fn begin(&mut self, transaction: Transaction) {
        let now = transaction.sent;
        self.transactions.retain(|t| now.saturating_duration_since(t.sent) < TRANSACTION_LIFETIME);
        let of_pair = |t: &Transaction| t.pair == transaction.pair;
        if self.transactions.iter().filter(|t| of_pair(t)).count() >= MAX_OUTSTANDING
            && let Some(oldest) = self.transactions.iter().position(of_pair)
        {
            self.transactions.remove(oldest);
        }
        self.transactions.push(transaction);
    }

    pub(super) fn transaction(&self, id: TransactionId) -> Option<&Transaction> {
        self.transactions.iter().find(|t| t.id == id)
    }

    /// Notes which DTLS datagram a check carries.
    pub(super) fn set_embedded(&mut self, id: TransactionId, embedded: Option<u32>) {
        if let Some(transaction) = self.transactions.iter_mut().find(|t| t.id == id) {
            transaction.embedded = embedded;
        }
    }

    /// Ends a transaction; an answer to it is worth nothing from now on.
    pub(super) fn end(&mut self, id: TransactionId) {
        self.transactions.retain(|t| t.id != id);
    }

    /// Bytes of both user name fragments.
    pub(super) fn names_len(&self) -> usize {
        let theirs = self.remote.as_ref().map_or(0, |side| side.credentials.ufrag.len());
        self.local.credentials.ufrag.len() + theirs
    }

    /// Gives memory back that setting up needed.
    pub(super) fn slim(&mut self) {
        self.transactions.shrink_to(2);
        self.remotes.shrink_to_fit();
        self.checklist.slim();
        self.triggered.shrink_to_fit();
    }

    /// Marks a pair failed; answers to its checks are worth nothing from now on.
    pub(super) fn fail(&mut self, id: PairId) {
        if let Some(pair) = self.checklist.pair_mut(id) {
            pair.state = PairState::Failed;
            pair.nominated = false;
            pair.nominated_when_valid = false;
            pair.nomination = 0;
        }
        self.forget(id);
    }

    /// Forgets what refers to a pair: its transactions, and its places.
    pub(super) fn forget(&mut self, id: PairId) {
        self.transactions.retain(|t| t.pair != id);
        self.triggered.retain(|other| *other != id);
        self.selected.take_if(|other| *other == id);
        self.nominating.take_if(|other| *other == id);
    }

    /// Keeps the pairs that `keep` says.
    pub(super) fn retain_pairs(&mut self, mut keep: impl FnMut(&super::pair::Pair) -> bool) {
        let mut gone = Vec::new();
        self.checklist.retain(|pair| {
            let kept = keep(pair);
            if !kept {
                gone.push(pair.id);
            }
            kept
        });
        gone.into_iter().for_each(|id| self.forget(id));
    }

    #[cfg(test)]
    pub(super) fn outstanding(&self) -> usize {
        self.transactions.len()
    }
}
