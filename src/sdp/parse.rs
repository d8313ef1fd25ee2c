//! Text to model, in one pass over the lines.
//!
//! What is known is checked, what is not known is kept. Every attribute that may stand only once is refused when
//! it comes again with another value, so that nobody has to ask which of the two counts.

use crate::sdp::error::{ParseError, Problem};
use crate::sdp::lines::{Line, Lines, attribute, number, saturating_number, word};
use crate::sdp::model::{
    Attribute, Description, Extension, ExtraLine, Feedback, FormatParameters, Group, MediaKind, MediaSection,
    Msid, Origin, Parameters, RidDirection, RidLine, RtpMap, Simulcast, SimulcastStreams, SsrcGroup,
    SsrcLine, Transport,
};
use crate::sdp::{
    MAX_ATTRIBUTES, MAX_CANDIDATES, MAX_FINGERPRINTS, MAX_LEN, MAX_LINES, MAX_RIDS, MAX_SECTIONS,
    MAX_SIMULCAST,
};
use crate::types::direction::Direction;
use crate::types::fingerprint::{Fingerprint, ParseFingerprintError};
use crate::types::ids::{Pt, Ssrc};
use crate::types::setup::Setup;

type Result<T, E = Problem> = std::result::Result<T, E>;

impl<'a> Description<'a> {
    /// Reads a whole description. Takes time in proportion to the text, and at most [`MAX_LEN`] bytes of it.
    ///
    /// # Errors
    /// Names the line, and what is wrong there.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        // R59: what is too long is refused before it is looked at.
        if text.len() > MAX_LEN {
            return Err(ParseError::new(1, Problem::TooLong));
        }
        let mut parser = Parser { lines: Lines::new(text), held: None };
        parser.description().map_err(|error| match error {
            Failure::Line(error) => error,
            Failure::Here(problem) => ParseError::new(parser.lines.number(), problem),
        })
    }
}

/// An error that has its line number already, or one of the line last read.
enum Failure {
    Line(ParseError),
    Here(Problem),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure::Here(problem)
    }
}

struct Parser<'a> {
    lines: Lines<'a>,
    /// The `m=` line that ended the part before.
    held: Option<&'a str>,
}

impl<'a> Parser<'a> {
    #[inline]
    fn next(&mut self) -> Result<Option<Line<'a>>, Failure> {
        let line = self.lines.next_line().map_err(Failure::Line)?;
        if self.lines.number() as usize > MAX_LINES {
            return Err(too_many("lines", MAX_LINES).into());
        }
        Ok(line)
    }

    fn description(&mut self) -> Result<Description<'a>, Failure> {
        let mut description = self.session()?;
        while let Some(line) = self.held.take() {
            if description.media.len() == MAX_SECTIONS {
                return Err(too_many("media sections", MAX_SECTIONS).into());
            }
            let section = self.section(line)?;
            description.media.push(section);
        }
        Ok(description)
    }

    /// Everything before the first `m=` line.
    fn session(&mut self) -> Result<Description<'a>, Failure> {
        // RFC 8866 §5.1: the version comes first, and there is no other than zero.
        match self.next()? {
            Some(Line { kind: b'v', value, .. }) if value.trim_ascii() == "0" => {}
            _ => return Err(invalid("the first line", "v=0").into()),
        }
        let mut description = Description { name: "-", timing: "0 0", ..Description::default() };
        let mut origin = None;
        let mut count = 0;
        while let Some(line) = self.next()? {
            match line.kind {
                b'a' => session_attribute(&mut description, line.value, &mut count)?,
                b'm' => {
                    self.held = Some(line.value);
                    break;
                }
                b'o' => once(&mut origin, parse_origin(line.value)?, "o=")?,
                b's' => description.name = line.value,
                b'c' => once(&mut description.connection, line.value, "c=")?,
                b't' if description.timing == "0 0" => description.timing = line.value,
                kind => {
                    bounded(&mut count)?;
                    description.lines.push(ExtraLine { kind, value: line.value });
                }
            }
        }
        description.origin = origin.ok_or(Problem::Missing("o="))?;
        description.lines.sort_by_key(ExtraLine::rank);
        Ok(description)
    }

    /// A media section, from behind its `m=` to before the next.
    fn section(&mut self, line: &'a str) -> Result<MediaSection<'a>, Failure> {
        let mut section = parse_media_line(line)?;
        let mut state = SectionState::default();
        while let Some(line) = self.next()? {
            match line.kind {
                b'a' => media_attribute(&mut section, line.value, &mut state)?,
                b'm' => {
                    self.held = Some(line.value);
                    break;
                }
                // RFC 8866 §5: several connection lines are allowed in a section; WebRTC looks at none.
                b'c' if section.connection.is_none() => section.connection = Some(line.value),
                kind => {
                    bounded(&mut state.count)?;
                    section.lines.push(ExtraLine { kind, value: line.value });
                }
            }
        }
        section.lines.sort_by_key(ExtraLine::rank);
        Ok(section)
    }
}

impl ExtraLine<'_> {
    /// The place of the line in the order of RFC 8866 §5.
    pub(super) fn rank(&self) -> u8 {
        const ORDER: &[u8; 9] = b"iuepcbtrz";
        ORDER.iter().position(|kind| *kind == self.kind).map_or(u8::MAX, |at| at as u8)
    }

    /// Whether the line stands before `c=`.
    pub(super) fn is_before_connection(&self) -> bool {
        self.rank() < 4
    }

    /// Whether the line stands before `t=`.
    pub(super) fn is_before_timing(&self) -> bool {
        self.rank() < 6
    }
}

/// What is counted while a section is read.
#[derive(Default)]
struct SectionState {
    /// Attributes and other lines.
    count: usize,
    /// The payload types that have a map, one bit each.
    mapped: u128,
}

fn invalid(what: &'static str, expected: &'static str) -> Problem {
    Problem::Invalid { what, expected }
}

fn too_many(what: &'static str, limit: usize) -> Problem {
    Problem::TooMany { what, limit }
}

/// Counts one more of what a section may have [`MAX_ATTRIBUTES`] of.
#[inline]
fn bounded(count: &mut usize) -> Result<()> {
    *count += 1;
    if *count > MAX_ATTRIBUTES { Err(too_many("lines in one section", MAX_ATTRIBUTES)) } else { Ok(()) }
}

/// Fills `slot`; the same value may come again.
#[inline]
fn once<T: PartialEq>(slot: &mut Option<T>, value: T, what: &'static str) -> Result<()> {
    match slot {
        Some(held) if *held != value => Err(Problem::Duplicate(what)),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

fn parse_origin(value: &str) -> Result<Origin<'_>> {
    let wrong = invalid("o=", "<user> <session id> <version> <network> <type> <address>");
    let (username, rest) = word(value);
    let (session_id, rest) = word(rest);
    let (version, address) = word(rest);
    let (Some(session_id), Some(version)) = (saturating_number(session_id), saturating_number(version))
    else {
        return Err(wrong);
    };
    if username.is_empty() || address.is_empty() {
        return Err(wrong);
    }
    Ok(Origin { username, session_id, version, address })
}

fn parse_media_line(value: &str) -> Result<MediaSection<'_>> {
    let wrong = invalid("m=", "<media> <port> <protocol> <format> ..");
    let (kind, rest) = word(value);
    let (port, rest) = word(rest);
    let (protocol, formats) = word(rest);
    let (port, port_count) = match port.split_once('/') {
        Some((port, count)) => (port, Some(count.parse().map_err(|_| wrong)?)),
        None => (port, None),
    };
    let port = port.parse().map_err(|_| wrong)?;
    if kind.is_empty() || protocol.is_empty() || formats.is_empty() {
        return Err(wrong);
    }
    Ok(MediaSection {
        kind: MediaKind::from_name(kind),
        port,
        port_count,
        protocol,
        formats: formats.trim_ascii_end(),
        ..MediaSection::default()
    })
}

fn session_attribute<'a>(description: &mut Description<'a>, text: &'a str, count: &mut usize) -> Result<()> {
    bounded(count)?;
    let (name, value) = attribute(text);
    match (name, value) {
        ("group", Some(value)) => {
            let (semantics, mids) = word(value);
            description.groups.push(Group::new(semantics, mids.trim_ascii_end()));
        }
        ("ice-lite", None) => description.ice_lite = true,
        ("extmap-allow-mixed", None) => description.extmap_allow_mixed = true,
        ("msid-semantic", Some(value)) if description.msid_semantic.is_none() => {
            description.msid_semantic = Some(value);
        }
        (_, None) if Direction::from_name(name).is_some() => {
            once(
                &mut description.direction,
                Direction::from_name(name).unwrap_or_default(),
                "the direction",
            )?;
        }
        _ => {
            if !transport_attribute(&mut description.transport, name, value)? {
                description.other.push(Attribute { name, value });
            }
        }
    }
    Ok(())
}

/// The attributes that stand at either level; false when `name` is none of them.
#[inline]
fn transport_attribute<'a>(
    transport: &mut Transport<'a>,
    name: &str,
    value: Option<&'a str>,
) -> Result<bool> {
    let Some(value) = value else { return Ok(false) };
    match name {
        "ice-ufrag" => {
            let ufrag = ice_text(value, 4, invalid("a=ice-ufrag", "4 to 256 letters, digits, + and /"))?;
            once(&mut transport.ice_ufrag, ufrag, "a=ice-ufrag")?;
        }
        "ice-pwd" => {
            let pwd = ice_text(value, 22, invalid("a=ice-pwd", "22 to 256 letters, digits, + and /"))?;
            once(&mut transport.ice_pwd, pwd, "a=ice-pwd")?;
        }
        "ice-options" => once(&mut transport.ice_options, value.trim_ascii(), "a=ice-options")?,
        "fingerprint" => return fingerprint(transport, value),
        "setup" => {
            let setup = Setup::from_name(value.trim_ascii())
                .ok_or(invalid("a=setup", "actpass, active, passive or holdconn"))?;
            once(&mut transport.setup, setup, "a=setup")?;
        }
        "tls-id" => once(&mut transport.tls_id, value, "a=tls-id")?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// RFC 8839 §5.4: the length is bounded on both sides. Some stacks write more than ice-chars, base64url for one; all
/// that does no harm in a STUN USERNAME is taken, which a colon would do.
fn ice_text(value: &str, min: usize, wrong: Problem) -> Result<&str> {
    let value = value.trim_ascii();
    let fine = value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if fine && (min..=256).contains(&value.len()) { Ok(value) } else { Err(wrong) }
}

fn fingerprint(transport: &mut Transport<'_>, value: &str) -> Result<bool> {
    let fingerprint: Fingerprint = match value.parse() {
        Ok(fingerprint) => fingerprint,
        // RFC 8122 §5: there may be several, made with hashes of which not all are known.
        Err(ParseFingerprintError::UnknownHash) => return Ok(false),
        Err(_) => {
            return Err(invalid("a=fingerprint", "the hash function's name and its digest in hexadecimal"));
        }
    };
    if transport.fingerprints.contains(&fingerprint) {
        return Ok(true);
    }
    if transport.fingerprints.len() == MAX_FINGERPRINTS {
        return Err(too_many("fingerprints", MAX_FINGERPRINTS));
    }
    transport.fingerprints.push(fingerprint);
    Ok(true)
}

fn media_attribute<'a>(
    section: &mut MediaSection<'a>,
    text: &'a str,
    state: &mut SectionState,
) -> Result<()> {
    let (name, value) = attribute(text);
    // Candidates have a bound of their own.
    if let ("candidate", Some(value)) = (name, value) {
        if section.candidates.len() == MAX_CANDIDATES {
            return Err(too_many("candidates in one section", MAX_CANDIDATES));
        }
        section.candidates.push(value);
        return Ok(());
    }
    bounded(&mut state.count)?;
    let known = match value {
        Some(value) => {
            rtp_attribute(section, name, value, state)?
                || transport_attribute(&mut section.transport, name, Some(value))?
                || sctp_attribute(section, name, value)?
        }
        None => flag(section, name)?,
    };
    if !known {
        section.other.push(Attribute { name, value });
    }
    Ok(())
}

/// Attributes without a value; false when `name` is none of them.
fn flag(section: &mut MediaSection<'_>, name: &str) -> Result<bool> {
    match name {
        "rtcp-mux" => section.rtp.rtcp_mux = true,
        "rtcp-mux-only" => section.rtp.rtcp_mux_only = true,
        "rtcp-rsize" => section.rtp.rtcp_rsize = true,
        "extmap-allow-mixed" => section.rtp.extmap_allow_mixed = true,
        "cryptex" => section.rtp.cryptex = true,
        "bundle-only" => section.bundle_only = true,
        "end-of-candidates" => section.end_of_candidates = true,
        _ => match Direction::from_name(name) {
            Some(direction) => once(&mut section.direction, direction, "the direction")?,
            None => return Ok(false),
        },
    }
    Ok(true)
}

fn sctp_attribute<'a>(section: &mut MediaSection<'a>, name: &str, value: &'a str) -> Result<bool> {
    match name {
        "mid" => {
            let value = value.trim_ascii();
            if value.is_empty() {
                return Err(invalid("a=mid", "an identification"));
            }
            once(&mut section.mid, value, "a=mid")?;
        }
        "sctp-port" => {
            let port = value.trim_ascii().parse().map_err(|_| invalid("a=sctp-port", "a port number"))?;
            once(&mut section.sctp.port, port, "a=sctp-port")?;
        }
        "max-message-size" => {
            // R61: a size beyond counting is as large as can be counted.
            let size = saturating_number(value.trim_ascii())
                .ok_or(invalid("a=max-message-size", "a number of bytes"))?;
            once(&mut section.sctp.max_message_size, size, "a=max-message-size")?;
        }
        "sctp-init" => once(&mut section.sctp.init, value, "a=sctp-init")?,
        "sctpmap" => once(&mut section.sctp.map, value, "a=sctpmap")?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn rtp_attribute<'a>(
    section: &mut MediaSection<'a>,
    name: &str,
    value: &'a str,
    state: &mut SectionState,
) -> Result<bool> {
    let rtp = &mut section.rtp;
    match name {
        "rtcp-fb" => rtp.feedback.push(parse_feedback(value)?),
        "rtpmap" => {
            let map = parse_rtpmap(value)?;
            let bit = 1u128 << map.pt.value();
            // R60: a payload type means one thing.
            if state.mapped & bit == 0 {
                rtp.maps.push(map);
            } else if !rtp.maps.contains(&map) {
                return Err(Problem::Duplicate("a=rtpmap of this payload type"));
            }
            state.mapped |= bit;
        }
        "fmtp" => match parse_format_parameters(value)? {
            Some(parameters) => rtp.format_parameters.push(parameters),
            None => return Ok(false),
        },
        "ssrc" => rtp.ssrcs.push(parse_ssrc(value)?),
        "extmap" => rtp.extensions.push(parse_extension(value)?),
        "ssrc-group" => rtp.ssrc_groups.push(parse_ssrc_group(value)?),
        "msid" => {
            let (stream, track) = word(value);
            let track = (!track.is_empty()).then_some(track);
            rtp.msids.push(Msid { stream, track });
        }
        "rid" => {
            if rtp.rids.len() == MAX_RIDS {
                return Err(too_many("a=rid in one section", MAX_RIDS));
            }
            rtp.rids.push(parse_rid(value)?);
        }
        "simulcast" => once(&mut rtp.simulcast, parse_simulcast(value)?, "a=simulcast")?,
        "ptime" => once(&mut rtp.ptime, milliseconds(value, "a=ptime")?, "a=ptime")?,
        "maxptime" => once(&mut rtp.maxptime, milliseconds(value, "a=maxptime")?, "a=maxptime")?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// RFC 8866 §6.4; a fraction is cut off, and what is too large stays at the largest (R61).
fn milliseconds(value: &str, what: &'static str) -> Result<u32> {
    let whole = value.split('.').next().unwrap_or("").trim_ascii();
    let value = saturating_number(whole).ok_or(invalid(what, "a number of milliseconds"))?;
    Ok(u32::try_from(value).unwrap_or(u32::MAX))
}

fn payload_type(text: &str) -> Option<Pt> {
    Pt::new(u8::try_from(number(text)?).ok()?)
}

/// RFC 8866 §6.6: `<payload type> <encoding>/<clock rate>[/<channels>]`.
fn parse_rtpmap(value: &str) -> Result<RtpMap<'_>> {
    let wrong = invalid("a=rtpmap", "<payload type, 0 to 127> <encoding>/<clock rate>[/<channels>]");
    let (pt, rest) = word(value);
    let mut parts = rest.trim_ascii_end().splitn(3, '/');
    let encoding = parts.next().unwrap_or("");
    let clock_rate = parts.next().and_then(number).and_then(|n| u32::try_from(n).ok());
    let channels = match parts.next() {
        Some(text) => Some(text.parse().map_err(|_| wrong)?),
        None => None,
    };
    match (payload_type(pt), clock_rate) {
        (Some(pt), Some(clock_rate)) if !encoding.is_empty() => {
            Ok(RtpMap { pt, encoding, clock_rate, channels })
        }
        _ => Err(wrong),
    }
}

/// RFC 8866 §6.15. `None` when the format is not a number: then it is not one of RTP's.
fn parse_format_parameters(value: &str) -> Result<Option<FormatParameters<'_>>> {
    let (format, parameters) = word(value);
    match (payload_type(format), number(format)) {
        (Some(pt), _) => {
            Ok(Some(FormatParameters { pt, parameters: Parameters(parameters.trim_ascii_end()) }))
        }
        (None, Some(_)) => Err(invalid("a=fmtp", "<payload type, 0 to 127> <parameters>")),
        (None, None) => Ok(None),
    }
}

/// RFC 4585 §4.2: `<payload type or *> <kind>`.
fn parse_feedback(value: &str) -> Result<Feedback<'_>> {
    let wrong = invalid("a=rtcp-fb", "<payload type, 0 to 127, or *> <kind>");
    let (format, kind) = word(value);
    let pt = match format {
        "*" => None,
        _ => Some(payload_type(format).ok_or(wrong)?),
    };
    let kind = kind.trim_ascii_end();
    if kind.is_empty() { Err(wrong) } else { Ok(Feedback { pt, kind }) }
}

/// RFC 8285 §8: `<id>[/<direction>] <uri> [<attributes>]`.
fn parse_extension(value: &str) -> Result<Extension<'_>> {
    let wrong = invalid("a=extmap", "<id, 1 to 255 or 4096 to 4351>[/<direction>] <uri>");
    let (id, rest) = word(value);
    let (id, direction) = match id.split_once('/') {
        Some((id, direction)) => (id, Some(Direction::from_name(direction).ok_or(wrong)?)),
        None => (id, None),
    };
    let id = match id.parse() {
        Ok(id @ (1..=255 | 4096..=4351)) => id,
        _ => return Err(wrong),
    };
    let (uri, attributes) = word(rest);
    let attributes = (!attributes.is_empty()).then_some(attributes);
    if uri.is_empty() { Err(wrong) } else { Ok(Extension { id, direction, uri, attributes }) }
}

/// RFC 8851 §10: `<id> <direction> [<restrictions>]`.
fn parse_rid(value: &str) -> Result<RidLine<'_>> {
    let wrong = invalid("a=rid", "<letters, digits, - and _> send|recv [<restrictions>]");
    let (id, rest) = word(value);
    let (direction, restrictions) = word(rest);
    let direction = RidDirection::from_name(direction).ok_or(wrong)?;
    let fine = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if id.is_empty() || !fine {
        return Err(wrong);
    }
    Ok(RidLine { id, direction, restrictions: Parameters(restrictions.trim_ascii_end()) })
}

/// RFC 8853 §5.1: `send <streams> [recv <streams>]`, in either order.
fn parse_simulcast(value: &str) -> Result<Simulcast<'_>> {
    let wrong = invalid("a=simulcast", "send <streams> or recv <streams> or both");
    let mut simulcast = Simulcast::default();
    let mut words = value.split_ascii_whitespace();
    while let Some(direction) = words.next() {
        let streams = words.next().ok_or(wrong)?;
        // R62: counted before anybody looks at them.
        if streams.bytes().filter(|byte| matches!(byte, b';' | b',')).count() >= MAX_SIMULCAST {
            return Err(too_many("simulcast streams", MAX_SIMULCAST));
        }
        let slot = match RidDirection::from_name(direction).ok_or(wrong)? {
            RidDirection::Send => &mut simulcast.send,
            RidDirection::Recv => &mut simulcast.recv,
        };
        if slot.replace(SimulcastStreams(streams)).is_some() {
            return Err(wrong);
        }
        let is_empty = |alternatives: &str| alternatives.split(',').any(|rid| matches!(rid, "" | "~"));
        if streams.split(';').any(is_empty) {
            return Err(wrong);
        }
    }
    if simulcast == Simulcast::default() { Err(wrong) } else { Ok(simulcast) }
}

/// RFC 5576 §4.1: `<ssrc> <attribute>[:<value>]`.
fn parse_ssrc(value: &str) -> Result<SsrcLine<'_>> {
    let wrong = invalid("a=ssrc", "<number of 32 bits> <attribute>[:<value>]");
    let (ssrc, rest) = word(value);
    let ssrc = number(ssrc).and_then(|n| u32::try_from(n).ok()).map(Ssrc).ok_or(wrong)?;
    let (name, value) = attribute(rest);
    if name.is_empty() { Err(wrong) } else { Ok(SsrcLine { ssrc, attribute: Attribute { name, value } }) }
}

/// RFC 5576 §4.2: `<semantics> <ssrc> ..`.
fn parse_ssrc_group(value: &str) -> Result<SsrcGroup<'_>> {
    let (semantics, ssrcs) = word(value);
    let ssrcs = ssrcs.trim_ascii_end();
    if semantics.is_empty() || ssrcs.split_ascii_whitespace().any(|text| text.parse::<u32>().is_err()) {
        return Err(invalid("a=ssrc-group", "<semantics> <numbers of 32 bits>"));
    }
    Ok(SsrcGroup::new(semantics, ssrcs))
}
