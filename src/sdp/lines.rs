//! The lexer: a description as lines, and the few shapes that values have (RFC 8866 §5, §9).

use crate::sdp::error::{ParseError, Problem};

/// One line, `kind=value`, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Counted from one, as an editor shows it.
    pub(super) number: u32,
    /// The letter before the equals sign.
    pub(super) kind: u8,
    /// What stands behind it.
    pub(super) value: &'a str,
}

/// The lines of a text: borrowed, in order, ended by LF or CRLF; empty lines are passed over.
#[derive(Debug, Clone)]
pub(super) struct Lines<'a> {
    rest: &'a str,
    number: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Lines { rest: text, number: 0 }
    }

    /// The number of the line last given out.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The next line; `None` at the end of the text.
    #[inline]
    pub(super) fn next_line(&mut self) -> Result<Option<Line<'a>>, ParseError> {
        while !self.rest.is_empty() {
            // The text is at most `MAX_LEN` long, so that its lines can be counted in 32 bits.
            self.number += 1;
            let (line, rest) = match line_feed(self.rest.as_bytes()) {
                Some(at) => (&self.rest[..at], &self.rest[at + 1..]),
                None => (self.rest, ""),
            };
            self.rest = rest;
            // RFC 8866 §5: lines end with CRLF, and parsers ought to take a lone LF too.
            let line = line.strip_suffix('\r').unwrap_or(line);
            match line.as_bytes() {
                [kind, b'=', ..] if kind.is_ascii_lowercase() => {
                    return Ok(Some(Line { number: self.number, kind: *kind, value: &line[2..] }));
                }
                [] => {}
                _ => return Err(ParseError::new(self.number, Problem::NotALine)),
            }
        }
        Ok(None)
    }
}

/// Where the first line feed is. Eight bytes at a time: most of a description's bytes are passed over here.
#[inline]
fn line_feed(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (words, _) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        // A byte that equals the line feed becomes zero, and the lowest zero byte borrows into its high bit.
        let word = u64::from_le_bytes(*word) ^ (ONES * b'\n' as u64);
        let found = word.wrapping_sub(ONES) & !word & HIGHS;
        if found != 0 {
            return Some(8 * i + (found.trailing_zeros() / 8) as usize);
        }
    }
    let tail = 8 * words.len();
    bytes[tail..].iter().position(|byte| *byte == b'\n').map(|at| tail + at)
}

/// An attribute's name and its value, if it has one (RFC 8866 §5.13).
#[inline]
pub(super) fn attribute(text: &str) -> (&str, Option<&str>) {
    match text.as_bytes().iter().position(|byte| *byte == b':') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// The first word and the rest, which is empty when there is one word only.
#[inline]
pub(super) fn word(text: &str) -> (&str, &str) {
    match text.as_bytes().iter().position(|byte| *byte == b' ') {
        Some(at) => (&text[..at], text[at + 1..].trim_ascii_start()),
        None => (text, ""),
    }
}

/// A decimal number; `None` when there is anything but digits, or more than 64 bits.
#[inline]
pub(super) fn number(text: &str) -> Option<u64> {
    digits(text, |value, digit| value.checked_mul(10)?.checked_add(digit))
}

/// A decimal number that stays at the largest value when it is larger: for what is a hint or a limit.
#[inline]
pub(super) fn saturating_number(text: &str) -> Option<u64> {
    digits(text, |value, digit| Some(value.saturating_mul(10).saturating_add(digit)))
}

#[inline]
fn digits(text: &str, push: impl Fn(u64, u64) -> Option<u64>) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0, |value, byte| match byte {
        b'0'..=b'9' => push(value, u64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(u32, char, &str)> {
        let mut lines = Lines::new(text);
        std::iter::from_fn(|| lines.next_line().unwrap())
            .map(|line| (line.number, char::from(line.kind), line.value))
            .collect()
    }

    #[test]
    fn lines_end_with_crlf_or_lf_or_the_text() {
        let want = vec![(1, 'v', "0"), (2, 's', ""), (3, 'a', "b:c")];
        assert_eq!(lines("v=0\r\ns=\r\na=b:c\r\n"), want);
        assert_eq!(lines("v=0\ns=\na=b:c"), want);
        assert_eq!(lines("v=0\n\r\n\na=x\n\n"), vec![(1, 'v', "0"), (4, 'a', "x")]);
        assert_eq!(lines(""), vec![]);
    }

    #[test]
    fn what_is_no_line_is_refused_with_its_number() {
        for text in ["v=0\nnonsense\n", "v=0\n=x\n", "v=0\na\n", "v=0\nA=x\n", "v=0\n \n", "v=0\né=x"] {
            let mut lines = Lines::new(text);
            lines.next_line().unwrap();
            assert_eq!(lines.next_line().unwrap_err().line(), 2, "{text:?}");
        }
    }

    #[test]
    fn line_feeds_are_found_at_every_place() {
        for len in 0..40 {
            assert_eq!(line_feed(&vec![b'x'; len]), None);
            for at in 0..len {
                let mut bytes = vec![0x8a; len];
                bytes[at] = b'\n';
                assert_eq!(line_feed(&bytes), Some(at));
                bytes[len - 1] = b'\n';
                assert_eq!(line_feed(&bytes), Some(at));
            }
        }
    }

    #[test]
    fn numbers_are_digits_only_and_bounded() {
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        assert_eq!(number("18446744073709551616"), None);
        assert_eq!(saturating_number("18446744073709551616"), Some(u64::MAX));
        assert_eq!(number("007"), Some(7));
        for text in ["", "+1", "-1", " 1", "1 ", "1.5", "x"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }
}
