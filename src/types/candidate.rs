//! ICE candidates as values (RFC 8445 §5.1) and as text (RFC 8839 §5.1).

// Filled by the ICE room.
