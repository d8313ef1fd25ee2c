//! Two `Rtc`s over the network: the pair that most tests of the whole start from.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sansrtc::crypto::cert::Identity;
use sansrtc::crypto::{self, Backend};
use sansrtc::packet::{Datagram, StreamInput};
use sansrtc::rng::{Rng, Stream};
use sansrtc::{Candidate, ChannelConfig, ChannelId, Clock, ConnectionState, Event, Input, Rtc, RtcConfig};

use super::link::Link;
use super::network::{HostId, base};
use super::peer::{Output, Peer};
use super::seeds::seed_bytes;
use super::world::Sim;

impl Peer for Rtc {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.handle_input(now, Input::Datagram(datagram));
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_input(now, Input::Timeout);
    }

    fn handle_stream(&mut self, now: Instant, input: StreamInput) {
        self.handle_input(now, Input::Stream(input));
    }

    fn poll(&mut self, _: Instant) -> Output<Event> {
        match self.poll_output() {
            sansrtc::Output::Transmit(transmit) => Output::Transmit(transmit),
            sansrtc::Output::Event(event) => Output::Event(event),
            sansrtc::Output::Stream(stream) => Output::Stream(stream),
            sansrtc::Output::Timeout(at) => Output::Timeout(at),
        }
    }
}

/// The clock of every simulated connection: the base of virtual time is noon on 2026-01-01.
pub fn clock() -> Clock {
    Clock { instant: base(), unix: Duration::from_secs(1_767_268_800) }
}

/// A configuration for tests: as by default, but with one certificate for the whole process.
pub fn config() -> RtcConfig {
    static IDENTITY: OnceLock<Arc<Identity>> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| Arc::new(identity(crypto::ring(), 0)));
    RtcConfig { identity: Some(identity.clone()), ..RtcConfig::default() }
}

/// A certificate made from a seed.
pub fn identity(backend: &'static dyn Backend, seed: u64) -> Identity {
    Identity::generate(backend, &mut Rng::new(seed_bytes(seed, 99), Stream::Certificate))
        .expect("an identity")
}

/// Two connections on hosts of their own.
pub struct Call {
    /// The world they live in.
    pub sim: Sim<Rtc>,
    /// The offerer, and the answerer.
    pub hosts: [HostId; 2],
}

impl Call {
    /// Two connections with one host candidate each, not introduced yet, over links like `link`.
    pub fn new(seed: u64, link: &Link, config: &RtcConfig) -> Call {
        Call::between(seed, link, [config, config])
    }

    /// As [`new`](Call::new), with a configuration for each.
    pub fn between(seed: u64, link: &Link, configs: [&RtcConfig; 2]) -> Call {
        let rtc = |who: usize| {
            Rtc::new(configs[who].clone(), seed_bytes(seed, who as u64), clock()).expect("it is valid")
        };
        let (mut sim, a, b) = Sim::pair(seed, link, rtc(0), rtc(1));
        sim.limits.repeat_polls = true;
        sim.network.payload_limit = configs[0].datagram_size.max(configs[1].datagram_size);
        sim.network.segment_limit = configs[0].max_segments.max(configs[1].max_segments);
        let hosts = [a, b];
        for host in hosts {
            let address = (sim.network.ip(host), 5000).into();
            let candidate = Candidate::host(address).expect("a host address");
            sim.with(host, |rtc, _| rtc.add_local_candidate(candidate)).expect("it is new");
        }
        Call { sim, hosts }
    }

    /// Offers and answers; signalling takes no time.
    pub fn signal(&mut self) {
        let [a, b] = self.hosts;
        let offer = self.sim.with(a, |rtc, _| rtc.create_offer()).expect("an offer");
        let answer = self.sim.with(b, |rtc, _| rtc.accept_offer(&offer)).expect("an answer");
        self.sim.with(a, |rtc, _| rtc.accept_answer(&answer)).expect("it fits");
    }

    /// A call whose two sides have said that they are connected.
    #[track_caller]
    pub fn connected(seed: u64, link: &Link, config: &RtcConfig) -> Call {
        let mut call = Call::new(seed, link, config);
        call.signal();
        call.must_connect(Duration::from_secs(30));
        call
    }

    /// Goes on until both sides are connected.
    #[track_caller]
    pub fn must_connect(&mut self, limit: Duration) -> Duration {
        let hosts = self.hosts;
        self.sim.must("both sides are connected", limit, |sim| {
            hosts.iter().all(|&host| sim.peer(host).state() == ConnectionState::Connected)
        })
    }

    /// Opens a channel on one side, and goes on until both sides may use it; its ids there and on the other side.
    #[track_caller]
    pub fn open(&mut self, from: usize, config: ChannelConfig) -> [ChannelId; 2] {
        let label = config.label.clone();
        let own = self.sim.with(self.hosts[from], |rtc, _| rtc.open_channel(config)).expect("a channel");
        let other = self.hosts[1 - from];
        let mut theirs = None;
        self.sim.must("the channel opens", Duration::from_secs(60), |sim| {
            while let Some((_, event)) = sim.event(other) {
                if let Event::ChannelOpen(id) = event
                    && sim.peer(other).channel(id).is_some_and(|info| info.config.label == label)
                {
                    theirs = Some(id);
                }
            }
            theirs.is_some()
        });
        [own, theirs.expect("it opened")]
    }
}
