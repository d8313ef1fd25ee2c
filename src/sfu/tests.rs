//! A model of an encoder, a network that loses and reorders, and a model of a decoder at each viewer.

mod encoder;
mod flow;
mod rules;

use std::time::Duration;

use super::*;
use encoder::{Encoder, Kind};
use flow::{Flow, Network};

const KINDS: [Kind; 10] = [
    Kind::Opus,
    Kind::H264,
    Kind::Vp8 { temporal: 1 },
    Kind::Vp8 { temporal: 3 },
    Kind::Vp9 { flexible: false, temporal: 3, spatial: 1 },
    Kind::Vp9 { flexible: true, temporal: 3, spatial: 3 },
    Kind::Vp9 { flexible: false, temporal: 2, spatial: 2 },
    Kind::Av1 { temporal: 3, spatial: 1, key_only: false },
    Kind::Av1 { temporal: 2, spatial: 3, key_only: false },
    Kind::Av1 { temporal: 2, spatial: 2, key_only: true },
];
