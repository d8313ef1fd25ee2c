//! Two ends that exchange descriptions, and descriptions that browsers wrote.

mod exchange;
mod init;
mod media;
mod restart;
mod sections;
mod transport;
mod trickle;

use super::*;
use crate::rng::Stream;
use crate::sdp::{Group, MediaKind};
use crate::types::candidate::Candidate;
use crate::types::credentials::Credentials;
use crate::types::fingerprint::{Fingerprint, FingerprintHash};
use crate::types::setup::{DtlsRole, IceRole};

const RECORDED: [(&str, &str); 6] = [
    ("chromium-data", include_str!("../../../../tests/data/sdp/chromium-data.sdp")),
    ("chromium-audio-video-data", include_str!("../../../../tests/data/sdp/chromium-audio-video-data.sdp")),
    ("chromium-simulcast", include_str!("../../../../tests/data/sdp/chromium-simulcast.sdp")),
    ("firefox-data", include_str!("../../../../tests/data/sdp/firefox-data.sdp")),
    ("firefox-audio-video-data", include_str!("../../../../tests/data/sdp/firefox-audio-video-data.sdp")),
    ("pion-data", include_str!("../../../../tests/data/sdp/pion-data.sdp")),
];

/// One end, with what its session would know.
#[derive(Clone)]
struct End {
    negotiator: Negotiator,
    seed: u8,
    credentials: Credentials,
    fingerprints: Vec<Fingerprint>,
    candidates: Vec<Candidate>,
    ice_lite: bool,
    preferred_role: DtlsRole,
    sctp_init: Option<Vec<u8>>,
    sped: bool,
}

impl End {
    fn new(seed: u8) -> Self {
        let mut rng = Rng::new([seed; 32], Stream::Session);
        End {
            negotiator: Negotiator::new(&mut rng),
            seed,
            credentials: Credentials::generate(&mut rng),
            fingerprints: vec![Fingerprint::new(FingerprintHash::Sha256, &[seed; 32]).unwrap()],
            candidates: vec![Candidate::host(([192, 0, 2, seed], 4000).into()).unwrap()],
            ice_lite: false,
            preferred_role: DtlsRole::Client,
            sctp_init: None,
            sped: false,
        }
    }

    fn facts(&self) -> TransportFacts<'_> {
        TransportFacts {
            credentials: &self.credentials,
            fingerprints: &self.fingerprints,
            candidates: &self.candidates,
            end_of_candidates: false,
            ice_lite: self.ice_lite,
            max_message_size: 262_144,
            sctp_init: self.sctp_init.as_deref(),
            preferred_role: self.preferred_role,
            sped: self.sped,
        }
    }

    fn restart(&mut self) {
        self.seed += 16;
        self.credentials = Credentials::generate(&mut Rng::new([self.seed; 32], Stream::Ice));
    }

    fn offer(&mut self) -> Offer {
        let mut negotiator = self.negotiator.clone();
        let offer = negotiator.create_offer(&self.facts(), OfferOptions { data: true }).unwrap();
        self.negotiator = negotiator;
        offer
    }

    fn try_answer(&mut self, offer: &Offer) -> Result<(Answer, Applied), NegotiationError> {
        let mut negotiator = self.negotiator.clone();
        let result = negotiator.accept_offer(offer, &self.facts());
        self.negotiator = negotiator;
        result
    }

    fn answer(&mut self, offer: &Offer) -> (Answer, Applied) {
        self.try_answer(offer).unwrap()
    }

    fn accept(&mut self, answer: &Answer) -> Applied {
        self.negotiator.accept_answer(answer).unwrap()
    }
}

/// An exchange, and what it gave the offerer and the answerer.
fn exchange(offerer: &mut End, answerer: &mut End) -> (Applied, Applied) {
    let offer = offerer.offer();
    let (answer, at_answerer) = answerer.answer(&offer);
    (offerer.accept(&answer), at_answerer)
}

fn connected() -> (End, End) {
    let (mut a, mut b) = (End::new(1), End::new(2));
    exchange(&mut a, &mut b);
    (a, b)
}

fn edit(text: impl ToString, from: &str, to: &str) -> String {
    let text = text.to_string();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to)
}

fn offer(text: impl AsRef<str>) -> Offer {
    text.as_ref().parse().unwrap()
}
