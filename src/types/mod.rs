//! The shared nouns: values that more than one room speaks of.

pub mod candidate;
pub mod codec;
pub mod credentials;
pub mod direction;
pub mod fingerprint;
pub mod ids;
pub mod reliability;
pub mod setup;
pub mod srtp_profile;
