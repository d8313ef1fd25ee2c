//! Two connections over a bad network in virtual time: an hour takes seconds, and the same seed gives the same run,
//! byte for byte.
//!
//! ```text
//! cargo run --release --example sim -- --loss 10 --delay 50 --reorder 5 --seed 7
//! ```

// An example may print and fail as it likes; the library below it may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use sansrtc::{Candidate, ChannelConfig, ChannelId, Event, MessageKind, Rtc, RtcConfig, SendError, crypto};
use sim::{Link, Loss, Sim, seed_bytes};

/// Sends data between two connections in virtual time.
#[derive(Debug, Parser)]
struct Args {
    /// Everything random comes from this number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One-way delay, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 25)]
    delay: u64,
    /// Additional delay, different for each datagram, in milliseconds at most.
    #[arg(long, value_name = "MS", default_value_t = 5)]
    jitter: u64,
    /// Share of datagrams that are lost, in percent, each way.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0)]
    loss: f64,
    /// Mean length of a run of lost datagrams; 1 makes losses independent.
    #[arg(long, value_name = "DATAGRAMS", default_value_t = 1.0)]
    burst: f64,
    /// Share of datagrams that are overtaken by later ones, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    reorder: f64,
    /// Share of datagrams that arrive twice, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    duplicate: f64,
    /// Share of datagrams that arrive damaged, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    corrupt: f64,
    /// Capacity of the link, in Mbit/s; unlimited when not given.
    #[arg(long, value_name = "MBITS")]
    rate: Option<f64>,
    /// How much to send, in KiB.
    #[arg(long, value_name = "KIB", default_value_t = 4096)]
    size: usize,
    /// Bytes per message.
    #[arg(long, value_name = "BYTES", default_value_t = 16 * 1024)]
    message: usize,
}

impl Args {
    fn link(&self) -> Link {
        let share = |percent: f64| (percent / 100.0).clamp(0.0, 1.0);
        let loss = match share(self.loss) {
            0.0 => Loss::None,
            loss if self.burst > 1.0 => Loss::bursts(loss.min(0.99), self.burst),
            loss => Loss::Independent(loss),
        };
        Link {
            delay: Duration::from_millis(self.delay),
            jitter: Duration::from_millis(self.jitter),
            loss,
            reorder: share(self.reorder),
            duplicate: share(self.duplicate),
            corrupt: share(self.corrupt),
            rate: self.rate.map(|megabits| (megabits.max(0.001) * 1e6) as u64),
            ..Link::default()
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let began = Instant::now();
    let total = args.size << 10;

    let (mut sim, a, b) =
        Sim::pair(args.seed, &args.link(), connection(args.seed, 1)?, connection(args.seed, 2)?);
    for host in [a, b] {
        let address = (sim.network.ip(host), 5000).into();
        sim.with(host, |rtc, _| {
            rtc.add_local_candidate(Candidate::host(address)?).map_err(Box::<dyn Error>::from)
        })?;
    }

    // Signalling is perfect and takes no time.
    let channel = sim.with(a, |rtc, _| rtc.open_channel(ChannelConfig::labelled("data")))?;
    let offer = sim.with(a, |rtc, _| rtc.create_offer())?;
    let answer = sim.with(b, |rtc, _| rtc.accept_offer(&offer))?;
    sim.with(a, |rtc, _| rtc.accept_answer(&answer))?;

    let message = Bytes::from(sim::Random::new(args.seed).bytes(args.message.max(1)));
    let mut sender = Sender { channel, message: message.clone(), left: total };
    let mut received = 0;
    let mut open = None;
    let hour = Duration::from_secs(3600);
    let finished = sim.run_until(hour, |sim| {
        while let Some((at, event)) = sim.event(a) {
            report(at, "sender", &event);
            if matches!(event, Event::ChannelOpen(_) | Event::BufferedAmountLow(_)) {
                sim.with(a, |rtc, _| {
                    rtc.set_buffered_amount_low_threshold(channel, 64 * 1024);
                    sender.fill(rtc);
                });
            }
        }
        while let Some((at, event)) = sim.event(b) {
            report(at, "receiver", &event);
            if let Event::Message { data, .. } = event {
                open.get_or_insert(at);
                // All messages are alike, but for the last one, which may be shorter.
                assert_eq!(data, message[..message.len().min(total - received)], "damaged, or out of order");
                received += data.len();
            }
        }
        received >= total
    });

    let (up, _) = sim.network.link_stats(a);
    println!("sender's link: {up:?}");
    match (finished, open) {
        (Some(took), Some(open)) => {
            let seconds = (took - open).as_secs_f64();
            println!("{received} bytes arrived, whole and in order, in {seconds:.3} s of virtual time");
            println!(
                "{:.2} Mbit/s; {:.2} s of real time",
                received as f64 * 8e-6 / seconds,
                began.elapsed().as_secs_f64()
            );
        }
        _ => println!("gave up after an hour of virtual time: {received} of {total} bytes arrived"),
    }
    // The same seed and flags give the same digest: it covers every byte and its time.
    println!("seed {}, digest {:?}", args.seed, sim.network.digest());
    if finished.is_none() { Err("the transfer did not finish".into()) } else { Ok(()) }
}

/// What is still to be sent.
struct Sender {
    channel: ChannelId,
    message: Bytes,
    left: usize,
}

impl Sender {
    /// Fills the send buffer; it is filled again when it has run low.
    fn fill(&mut self, rtc: &mut Rtc) {
        while self.left > 0 {
            let piece = self.message.slice(..self.message.len().min(self.left));
            let length = piece.len();
            match rtc.send(self.channel, MessageKind::Binary, piece) {
                Ok(_) => self.left -= length,
                Err(SendError::WouldBlock) => return,
                Err(error) => panic!("cannot send: {error}"),
            }
        }
    }
}

fn report(at: Duration, who: &str, event: &Event) {
    match event {
        Event::State(_) | Event::Path(_) | Event::ChannelOpen(_) | Event::Closed(_) => {
            println!("{:9.3} s  {who}: {event:?}", at.as_secs_f64());
        }
        _ => {}
    }
}

/// A connection whose every byte follows from the seed: also its keys, which takes the pure-Rust cryptography.
fn connection(seed: u64, who: u64) -> Result<Rtc, Box<dyn Error>> {
    let config = RtcConfig { crypto: crypto::rust(), ..RtcConfig::default() };
    Ok(Rtc::new(config, seed_bytes(seed, who), sim::clock())?)
}
