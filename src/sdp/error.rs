//! Why a text is no description.

/// What is wrong with a session description, and in which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    line: u32,
    problem: Problem,
}

impl ParseError {
    pub(super) fn new(line: u32, problem: Problem) -> Self {
        ParseError { line, problem }
    }

    /// The line, counted from one. For what is missing, the last line that was read.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// What is wrong there.
    pub fn problem(&self) -> Problem {
        self.problem
    }
}

/// What can be wrong with a session description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is longer than [`MAX_LEN`](crate::sdp::MAX_LEN).
    #[error("the text is longer than {} bytes", super::MAX_LEN)]
    TooLong,
    /// A line that is not a lower-case letter, an equals sign and a value (RFC 8866 §5).
    #[error("not of the form <letter>=<value>")]
    NotALine,
    /// Something that every description must have is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something that must be there once is there again with another value.
    #[error("{0} is here for the second time, with another value")]
    Duplicate(&'static str),
    /// A value that does not follow the grammar of its attribute or line.
    #[error("{what} ought to be {expected}")]
    Invalid {
        /// The attribute or line.
        what: &'static str,
        /// What a right value looks like.
        expected: &'static str,
    },
    /// More of something than is accepted from a peer.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many are accepted.
        limit: usize,
    },
}
