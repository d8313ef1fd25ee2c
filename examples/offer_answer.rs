//! Two connections in one process, over real UDP sockets on loopback: one offers and sends, the other answers and
//! receives.
//!
//! ```text
//! cargo run --release --example offer_answer -- --mebibytes 256
//! ```

// An example is the caller that the library asks for: it owns the clock, the threads and the sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[allow(dead_code)] // Shared with `echo`, which uses all of it.
#[path = "common/udp.rs"]
mod udp;

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Parser;
use mio::{Events, Poll, Token};
use sansrtc::{
    Answer, Candidate, ChannelConfig, ChannelId, Clock, Event, Input, MessageKind, Offer, Output, Rtc,
    RtcConfig, SendError,
};

/// Sends data from one connection to another over loopback, and says how fast.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// How much to send.
    #[arg(long, value_name = "N", default_value_t = 256)]
    mebibytes: u64,
    /// Bytes per message, at most 262,144.
    #[arg(long, value_name = "BYTES", default_value_t = 16 * 1024)]
    message: usize,
}

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    // What signalling carries, whatever it is: here two queues.
    let (offer, offers) = channel();
    let (answer, answers) = channel();
    let answerer = std::thread::spawn({
        let total = args.mebibytes << 20;
        move || receive(total, &offers, &answer)
    });
    send(&args, &offer, &answers)?;
    answerer.join().expect("the answerer does not panic")
}

/// Offers a channel and sends the data.
fn send(args: &Args, offers: &Sender<Offer>, answers: &Receiver<Answer>) -> Result<(), Failure> {
    let mut peer = Peer::new("offerer")?;
    peer.rtc.open_channel(ChannelConfig::labelled("data"))?;
    offers.send(peer.rtc.create_offer()?)?;
    peer.rtc.accept_answer(&answers.recv()?)?;

    let message = Bytes::from(vec![0x5a; args.message.max(1)]);
    let mut left = args.mebibytes << 20;
    // Fills the send buffer; it is filled again when it has run low.
    let mut fill = move |rtc: &mut Rtc, channel: ChannelId| {
        while left > 0 {
            let piece = message.slice(..message.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            let length = piece.len() as u64;
            match rtc.send(channel, MessageKind::Binary, piece) {
                Ok(_) => left -= length,
                Err(SendError::WouldBlock) => break,
                Err(error) => panic!("cannot send: {error}"),
            }
        }
    };
    peer.run(|rtc, event| match event {
        Event::ChannelOpen(channel) => {
            rtc.set_buffered_amount_low_threshold(channel, 256 * 1024);
            fill(rtc, channel);
        }
        Event::BufferedAmountLow(channel) => fill(rtc, channel),
        // The receiver confirms the end.
        Event::Message { .. } => rtc.close(),
        _ => {}
    })
}

/// Answers the offer and counts what comes.
fn receive(total: u64, offers: &Receiver<Offer>, answers: &Sender<Answer>) -> Result<(), Failure> {
    let mut peer = Peer::new("answerer")?;
    answers.send(peer.rtc.accept_offer(&offers.recv()?)?)?;

    let mut received = 0;
    let mut begun = None;
    let mut next_report = 0;
    peer.run(|rtc, event| {
        if let Event::Message { channel, data, .. } = event {
            let begun = *begun.get_or_insert_with(Instant::now);
            received += data.len() as u64;
            if received >= next_report {
                let megabytes = received as f64 / 1e6;
                let rate = megabytes / begun.elapsed().as_secs_f64().max(1e-6);
                println!("answerer: {megabytes:9.1} MB received, {rate:7.1} MB/s");
                next_report = (received + total / 10).min(total);
            }
            if received == total {
                rtc.send(channel, MessageKind::Text, Bytes::from_static(b"done"))
                    .expect("there is room for a word");
            }
        }
    })
}

/// A connection and its socket.
struct Peer {
    name: &'static str,
    begun: Instant,
    rtc: Rtc,
    udp: udp::Udp,
    inbox: udp::Inbox,
    poll: Poll,
}

impl Peer {
    fn new(name: &'static str) -> Result<Self, Failure> {
        let poll = Poll::new()?;
        let mut udp = udp::Udp::bind(Ipv4Addr::LOCALHOST.into(), 0)?;
        udp.register(poll.registry(), Token(0))?;
        let begun = Instant::now();
        let clock = Clock { instant: begun, unix: SystemTime::now().duration_since(UNIX_EPOCH)? };
        let mut config = RtcConfig::default();
        config.max_segments = udp.max_segments().min(65_507 / config.datagram_size);
        let mut rtc = Rtc::new(config, rand::random(), clock)?;
        rtc.add_local_candidate(Candidate::host(udp.local())?)?;
        Ok(Peer { name, begun, rtc, udp, inbox: udp::Inbox::new(), poll })
    }

    /// The loop that every user of the library writes: until the connection is over.
    fn run(mut self, mut app: impl FnMut(&mut Rtc, Event)) -> Result<(), Failure> {
        let mut ready = Events::with_capacity(4);
        loop {
            let wake = loop {
                match self.rtc.poll_output() {
                    Output::Transmit(transmit) => self.udp.send(transmit),
                    Output::Event(event) => {
                        self.report(&event);
                        app(&mut self.rtc, event);
                    }
                    Output::Stream(_) => {}
                    Output::Timeout(Some(at)) => break at,
                    Output::Timeout(None) => return Ok(()),
                }
            };
            let wait = wake.saturating_duration_since(Instant::now());
            self.poll.poll(&mut ready, Some(wait))?;
            self.udp.flush();
            let (rtc, now) = (&mut self.rtc, Instant::now());
            let mut take = |datagram| rtc.handle_input(now, Input::Datagram(datagram));
            while self.inbox.receive(&self.udp, &mut take)? {}
            self.rtc.handle_input(now, Input::Timeout);
        }
    }

    fn report(&self, event: &Event) {
        let after: Duration = self.begun.elapsed();
        match event {
            Event::State(state) => println!("{}: {state:?} after {after:.1?}", self.name),
            Event::Path(path) => println!("{}: {} -> {}", self.name, path.local, path.remote),
            Event::ChannelOpen(_) => println!("{}: channel open after {after:.1?}", self.name),
            Event::Closed(reason) => println!("{}: {reason}", self.name),
            _ => {}
        }
    }
}
