//! Two connections joined in memory.
