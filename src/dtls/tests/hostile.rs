//! What a peer or a stranger may try.
