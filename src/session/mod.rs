//! Where the protocols meet.

pub mod negotiate;
