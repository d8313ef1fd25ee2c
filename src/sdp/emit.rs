//! Model to text: one string, made once, every line ended by CRLF (RFC 8866 §5).

use std::fmt;

use crate::sdp::model::{
    Attribute, Description, ExtraLine, MediaSection, Rtp, Sctp, SimulcastStreams, SsrcLine, Transport,
};
use crate::types::fingerprint::Fingerprint;

impl Description<'_> {
    /// The text. Values are written as they are: what holds a line feed would become lines of its own, so whoever
    /// takes values from outside checks them first.
    pub fn emit(&self) -> String {
        let mut text = Text(String::with_capacity(self.len_hint()));
        self.emit_session(&mut text);
        for section in &self.media {
            section.emit(&mut text);
        }
        text.0
    }

    /// About how long the text will be, so that it need not grow.
    fn len_hint(&self) -> usize {
        let section = |section: &MediaSection<'_>| {
            let rtp = &section.rtp;
            let lines = rtp.maps.len() + rtp.format_parameters.len() + rtp.feedback.len() + rtp.rids.len();
            let long = rtp.extensions.len() + rtp.ssrcs.len() + rtp.msids.len() + section.other.len();
            448 + 112 * section.candidates.len() + 32 * lines + 72 * long + section.formats.len()
        };
        320 + 48 * (self.other.len() + self.lines.len()) + self.media.iter().map(section).sum::<usize>()
    }

    fn emit_session(&self, text: &mut Text) {
        text.push(&["v=0\r\no=", self.origin.username, " "]);
        text.number(self.origin.session_id);
        text.push(&[" "]);
        text.number(self.origin.version);
        text.push(&[" ", self.origin.address, "\r\ns=", self.name, "\r\n"]);
        let before = self.lines.iter().take_while(|line| line.is_before_timing()).count();
        let (before, after) = self.lines.split_at(before);
        text.lines_and_connection(before, self.connection);
        text.push(&["t=", self.timing, "\r\n"]);
        after.iter().for_each(|line| text.extra(line));
        for group in &self.groups {
            text.push(&["a=group:", group.semantics]);
            if !group.text().is_empty() {
                text.push(&[" ", group.text()]);
            }
            text.end();
        }
        text.flag(self.ice_lite, "ice-lite");
        text.flag(self.extmap_allow_mixed, "extmap-allow-mixed");
        text.optional("a=msid-semantic:", self.msid_semantic);
        if let Some(direction) = self.direction {
            text.flag(true, direction.name());
        }
        self.transport.emit(text);
        self.other.iter().for_each(|attribute| text.attribute(attribute));
    }
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.emit())
    }
}

impl Transport<'_> {
    fn emit(&self, text: &mut Text) {
        text.optional("a=ice-ufrag:", self.ice_ufrag);
        text.optional("a=ice-pwd:", self.ice_pwd);
        text.optional("a=ice-options:", self.ice_options);
        self.fingerprints.iter().for_each(|fingerprint| text.fingerprint(fingerprint));
        text.optional("a=setup:", self.setup.map(|setup| setup.name()));
        text.optional("a=tls-id:", self.tls_id);
    }
}

impl MediaSection<'_> {
    fn emit(&self, text: &mut Text) {
        text.push(&["m=", self.kind.name(), " "]);
        text.number(self.port.into());
        if let Some(count) = self.port_count {
            text.push(&["/"]);
            text.number(count.into());
        }
        text.push(&[" ", self.protocol, " ", self.formats, "\r\n"]);
        text.lines_and_connection(&self.lines, self.connection);
        for candidate in &self.candidates {
            text.push(&["a=candidate:", candidate, "\r\n"]);
        }
        text.flag(self.end_of_candidates, "end-of-candidates");
        self.transport.emit(text);
        text.optional("a=mid:", self.mid);
        text.flag(self.bundle_only, "bundle-only");
        self.rtp.emit_section(text);
        if let Some(direction) = self.direction {
            text.flag(true, direction.name());
        }
        self.rtp.emit_streams(text);
        self.sctp.emit(text);
        self.other.iter().for_each(|attribute| text.attribute(attribute));
    }
}

impl Sctp<'_> {
    fn emit(&self, text: &mut Text) {
        text.optional_number("a=sctp-port:", self.port.map(u64::from));
        text.optional_number("a=max-message-size:", self.max_message_size);
        text.optional("a=sctpmap:", self.map);
        text.optional("a=sctp-init:", self.init);
    }
}

impl Rtp<'_> {
    /// What stands before the direction, as browsers order it.
    fn emit_section(&self, text: &mut Text) {
        for extension in &self.extensions {
            text.push(&["a=extmap:"]);
            text.number(extension.id.into());
            if let Some(direction) = extension.direction {
                text.push(&["/", direction.name()]);
            }
            text.push(&[" ", extension.uri]);
            text.tail(extension.attributes);
        }
        text.flag(self.extmap_allow_mixed, "extmap-allow-mixed");
    }

    /// What stands behind the direction.
    fn emit_streams(&self, text: &mut Text) {
        for msid in &self.msids {
            text.push(&["a=msid:", msid.stream]);
            text.tail(msid.track);
        }
        text.flag(self.rtcp_mux, "rtcp-mux");
        text.flag(self.rtcp_mux_only, "rtcp-mux-only");
        text.flag(self.rtcp_rsize, "rtcp-rsize");
        text.flag(self.cryptex, "cryptex");
        self.emit_formats(text);
        text.optional_number("a=ptime:", self.ptime.map(u64::from));
        text.optional_number("a=maxptime:", self.maxptime.map(u64::from));
        for rid in &self.rids {
            text.push(&["a=rid:", rid.id, " ", rid.direction.name()]);
            text.tail((!rid.restrictions.0.is_empty()).then_some(rid.restrictions.0));
        }
        if let Some(simulcast) = self.simulcast {
            text.push(&["a=simulcast:"]);
            let send = simulcast.send.map(|SimulcastStreams(streams)| ["send ", streams]);
            let recv = simulcast.recv.map(|SimulcastStreams(streams)| ["recv ", streams]);
            send.iter().for_each(|part| text.push(part));
            text.push(if send.is_some() && recv.is_some() { &[" "] } else { &[] });
            recv.iter().for_each(|part| text.push(part));
            text.end();
        }
        for group in &self.ssrc_groups {
            text.push(&["a=ssrc-group:", group.semantics]);
            text.tail((!group.ssrcs.is_empty()).then_some(group.ssrcs));
        }
        for SsrcLine { ssrc, attribute } in &self.ssrcs {
            text.push(&["a=ssrc:"]);
            text.number(ssrc.0.into());
            text.push(&[" ", attribute.name]);
            text.value(attribute.value);
        }
    }

    fn emit_formats(&self, text: &mut Text) {
        for map in &self.maps {
            text.push(&["a=rtpmap:"]);
            text.number(map.pt.value().into());
            text.push(&[" ", map.encoding, "/"]);
            text.number(map.clock_rate.into());
            if let Some(channels) = map.channels {
                text.push(&["/"]);
                text.number(channels.into());
            }
            text.end();
        }
        for feedback in &self.feedback {
            match feedback.pt {
                Some(pt) => {
                    text.push(&["a=rtcp-fb:"]);
                    text.number(pt.value().into());
                }
                None => text.push(&["a=rtcp-fb:*"]),
            }
            text.push(&[" ", feedback.kind, "\r\n"]);
        }
        for format in &self.format_parameters {
            text.push(&["a=fmtp:"]);
            text.number(format.pt.value().into());
            text.push(&[" ", format.parameters.0, "\r\n"]);
        }
    }
}

/// The text being made.
struct Text(String);

impl Text {
    #[inline]
    fn push(&mut self, parts: &[&str]) {
        for part in parts {
            self.0.push_str(part);
        }
    }

    #[inline]
    fn end(&mut self) {
        self.0.push_str("\r\n");
    }

    /// Ends a line with what may follow behind a space.
    fn tail(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.push(&[" ", value, "\r\n"]),
            None => self.end(),
        }
    }

    /// Ends a line with what may follow behind a colon.
    fn value(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.push(&[":", value, "\r\n"]),
            None => self.end(),
        }
    }

    #[inline]
    fn optional(&mut self, prefix: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.push(&[prefix, value, "\r\n"]);
        }
    }

    fn optional_number(&mut self, prefix: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.push(&[prefix]);
            self.number(value);
            self.end();
        }
    }

    #[inline]
    fn flag(&mut self, is_set: bool, name: &str) {
        if is_set {
            self.push(&["a=", name, "\r\n"]);
        }
    }

    fn attribute(&mut self, attribute: &Attribute<'_>) {
        self.push(&["a=", attribute.name]);
        self.value(attribute.value);
    }

    fn extra(&mut self, line: &ExtraLine<'_>) {
        self.0.push(char::from(line.kind));
        self.push(&["=", line.value, "\r\n"]);
    }

    /// `c=` stands behind the lines about names and before those about bandwidth (RFC 8866 §5).
    fn lines_and_connection(&mut self, lines: &[ExtraLine<'_>], connection: Option<&str>) {
        let names = lines.iter().take_while(|line| line.is_before_connection()).count();
        let (before, after) = lines.split_at(names);
        before.iter().for_each(|line| self.extra(line));
        self.optional("c=", connection);
        after.iter().for_each(|line| self.extra(line));
    }

    /// A decimal number, without the machinery of `format!`.
    fn number(&mut self, mut value: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            // The remainder is below ten.
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        // Only digits were written.
        self.push(&[std::str::from_utf8(&digits[at..]).unwrap_or("")]);
    }

    fn fingerprint(&mut self, fingerprint: &Fingerprint) {
        use fmt::Write as _;
        // Writing to a `String` cannot fail.
        let _ = write!(self.0, "a=fingerprint:{fingerprint}\r\n");
    }
}
