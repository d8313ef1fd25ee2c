//! One direction of a cable: what it does to a datagram, and when the datagram comes out.

use std::collections::VecDeque;
use std::time::Duration;

use sansrtc::packet::Ecn;

use super::random::Random;

/// What a link does. The default is perfect: no delay, no loss, no limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Time from end to end.
    pub delay: Duration,
    /// A further delay, drawn evenly from zero to this. It never changes the order; `reorder` does.
    pub jitter: Duration,
    /// Which datagrams are lost.
    pub loss: Loss,
    /// The share of datagrams that others may overtake.
    pub reorder: f64,
    /// How long a datagram chosen by `reorder` is held back: drawn evenly from zero to this.
    pub reorder_by: Duration,
    /// The share of datagrams that arrive twice.
    pub duplicate: f64,
    /// The share of datagrams that arrive damaged: some bits flipped, or cut short.
    pub corrupt: f64,
    /// Bits per second, counted over whole IP packets; `None`: no limit.
    pub rate: Option<u64>,
    /// Bytes that may wait for their turn; what does not fit is dropped (drop-tail).
    pub queue: usize,
    /// The largest IP packet; a larger one vanishes.
    pub mtu: usize,
    /// What becomes of the ECN field.
    pub ecn: EcnPath,
    /// False: everything vanishes.
    pub up: bool,
}

/// Which datagrams a link loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// None.
    None,
    /// Each with this probability.
    Independent(f64),
    /// Bursts, as Gilbert and Elliott have it: two states, with a loss of their own each.
    Burst {
        /// The chance, per datagram, that a good time ends.
        enter: f64,
        /// The chance, per datagram, that a bad time ends: bursts are `1 / leave` datagrams long on average.
        leave: f64,
        /// The loss in good times.
        good: f64,
        /// The loss in bad times.
        bad: f64,
    },
}

impl Loss {
    /// Bursts of `length` datagrams on average, all lost, so that `share` of all datagrams are lost.
    pub fn bursts(share: f64, length: f64) -> Loss {
        let leave = 1.0 / length;
        Loss::Burst { enter: leave * share / (1.0 - share), leave, good: 0.0, bad: 1.0 }
    }
}

/// What becomes of the ECN field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EcnPath {
    /// It passes.
    Keep,
    /// ECN-capable datagrams are marked when more than this many bytes wait.
    MarkAbove(usize),
    /// It is cleared.
    Bleach,
}

impl Default for Link {
    fn default() -> Self {
        Link {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Loss::None,
            reorder: 0.0,
            reorder_by: Duration::from_millis(10),
            duplicate: 0.0,
            corrupt: 0.0,
            rate: None,
            queue: 256 * 1024,
            mtu: 65_575,
            ecn: EcnPath::Keep,
            up: true,
        }
    }
}

impl Link {
    /// A clean link of this delay.
    pub fn with_delay(delay: Duration) -> Link {
        Link { delay, ..Link::default() }
    }
}

/// What happened on a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Datagrams put in.
    pub sent: u64,
    /// UDP payload bytes put in.
    pub sent_bytes: u64,
    /// Datagrams lost by chance.
    pub lost: u64,
    /// Datagrams that found the queue full.
    pub overflowed: u64,
    /// Datagrams above the MTU.
    pub too_large: u64,
    /// Datagrams sent while the link was down.
    pub down: u64,
    /// Datagrams held back so that others overtake them.
    pub reordered: u64,
    /// Datagrams that arrive twice.
    pub duplicated: u64,
    /// Datagrams damaged.
    pub corrupted: u64,
    /// Datagrams marked CE.
    pub marked: u64,
}

/// A link and what is on it. Times are since the start of the run.
#[derive(Debug)]
pub struct LinkState {
    pub link: Link,
    pub stats: LinkStats,
    random: Random,
    /// Gilbert-Elliott: in the bad state.
    bad: bool,
    /// When the last queued packet has left.
    busy_until: Duration,
    /// Nothing leaves before this: a pause that keeps what is sent.
    hold_until: Duration,
    /// The latest arrival so far: jitter does not overtake.
    last_arrival: Duration,
    /// Packets that still wait: when each has left, and its size.
    waiting: VecDeque<(Duration, usize)>,
    waiting_bytes: usize,
}

/// One copy of a datagram that will come out of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub at: Duration,
    pub ecn: Ecn,
    pub damage: Option<Damage>,
}

/// How a copy is damaged; applied when its bytes are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// These bits are flipped (positions modulo the length in bits).
    Flip([u32; 3]),
    /// Only this many bytes arrive (modulo the length).
    Cut(u32),
}

impl Damage {
    fn draw(random: &mut Random) -> Damage {
        if random.chance(0.2) {
            return Damage::Cut(random.u64() as u32);
        }
        let first = random.u64() as u32;
        // A single bit in half of the cases: the hardest to notice.
        if random.chance(0.5) {
            return Damage::Flip([first; 3]);
        }
        Damage::Flip([first, random.u64() as u32, random.u64() as u32])
    }

    /// Damages `bytes`, which always differ afterwards unless they are empty.
    pub fn apply(self, bytes: &mut bytes::BytesMut) {
        if bytes.is_empty() {
            return;
        }
        match self {
            // An even number of flips of one bit would be none.
            Damage::Flip([a, b, c]) if a == b && b == c => flip(bytes, a),
            Damage::Flip(positions) => {
                let bits = bytes.len() as u32 * 8;
                let mut distinct = positions.map(|p| p % bits);
                distinct.sort_unstable();
                distinct
                    .iter()
                    .enumerate()
                    .filter(|&(i, p)| i == 0 || distinct[i - 1] != *p)
                    .for_each(|(_, &position)| flip(bytes, position));
            }
            Damage::Cut(len) => bytes.truncate(len as usize % bytes.len()),
        }
    }
}

fn flip(bytes: &mut [u8], position: u32) {
    let bit = position as usize % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

impl LinkState {
    pub fn new(link: Link, random: Random) -> Self {
        LinkState {
            link,
            stats: LinkStats::default(),
            random,
            bad: false,
            busy_until: Duration::ZERO,
            hold_until: Duration::ZERO,
            last_arrival: Duration::ZERO,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Holds back everything until `until`.
    pub fn hold(&mut self, until: Duration) {
        self.hold_until = self.hold_until.max(until);
    }

    /// Bytes that wait at `now`.
    pub fn backlog(&mut self, now: Duration) -> usize {
        while let Some(&(left, size)) = self.waiting.front()
            && left <= now
        {
            self.waiting.pop_front();
            self.waiting_bytes -= size;
        }
        self.waiting_bytes
    }

    /// Whether a datagram passes at once and as it is.
    pub fn is_perfect(&self) -> bool {
        self.hold_until.is_zero() && self.busy_until.is_zero() && self.link == Link::default()
    }

    /// Puts one datagram on the link; gives the copies that will come out: none, one or two.
    pub fn send(&mut self, now: Duration, payload: usize, ip_size: usize, ecn: Ecn) -> [Option<Arrival>; 2] {
        self.stats.sent += 1;
        self.stats.sent_bytes += payload as u64;
        if !self.link.up {
            self.stats.down += 1;
            return [None; 2];
        }
        if ip_size > self.link.mtu {
            self.stats.too_large += 1;
            return [None; 2];
        }
        let Some((left, ecn)) = self.enqueue(now, ip_size, ecn) else {
            self.stats.overflowed += 1;
            return [None; 2];
        };
        // Loss strikes behind the queue: a lost datagram has used its share of the rate.
        if self.is_lost() {
            self.stats.lost += 1;
            return [None; 2];
        }
        let first = self.arrive(left, ecn);
        let second = self.random.chance(self.link.duplicate).then(|| {
            self.stats.duplicated += 1;
            self.arrive(left, ecn)
        });
        [Some(first), second]
    }

    /// Waits for the turn: when the datagram has left, and its ECN field then; `None` when there is no room.
    fn enqueue(&mut self, now: Duration, ip_size: usize, ecn: Ecn) -> Option<(Duration, Ecn)> {
        let start = self.busy_until.max(self.hold_until).max(now);
        let takes = match self.link.rate {
            Some(rate) => {
                Duration::from_nanos((ip_size as u64 * 8).saturating_mul(1_000_000_000) / rate.max(1))
            }
            None => Duration::ZERO,
        };
        let left = start + takes;
        let mut ecn = if self.link.ecn == EcnPath::Bleach { Ecn::NotEct } else { ecn };
        if left > now {
            let backlog = self.backlog(now);
            if backlog + ip_size > self.link.queue {
                return None;
            }
            if matches!(self.link.ecn, EcnPath::MarkAbove(limit) if backlog > limit) && ecn != Ecn::NotEct {
                ecn = Ecn::Ce;
                self.stats.marked += 1;
            }
            self.waiting.push_back((left, ip_size));
            self.waiting_bytes += ip_size;
            self.busy_until = left;
        }
        Some((left, ecn))
    }

    fn is_lost(&mut self) -> bool {
        match self.link.loss {
            Loss::None => false,
            Loss::Independent(share) => self.random.chance(share),
            Loss::Burst { enter, leave, good, bad } => {
                if self.random.chance(if self.bad { leave } else { enter }) {
                    self.bad = !self.bad;
                }
                self.random.chance(if self.bad { bad } else { good })
            }
        }
    }

    fn arrive(&mut self, left: Duration, ecn: Ecn) -> Arrival {
        let mut at = left + self.link.delay + self.up_to(self.link.jitter);
        if self.random.chance(self.link.reorder) {
            self.stats.reordered += 1;
            at += self.up_to(self.link.reorder_by);
        } else {
            at = at.max(self.last_arrival);
            self.last_arrival = at;
        }
        let damage = self.random.chance(self.link.corrupt).then(|| Damage::draw(&mut self.random));
        self.stats.corrupted += u64::from(damage.is_some());
        Arrival { at, ecn, damage }
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.random.below(most.as_nanos() as u64 + u64::from(!most.is_zero())))
    }
}
