//! Candidates that come after their description (RFC 8838, RFC 8840).

use crate::session::negotiate::Negotiator;
use crate::session::negotiate::error::TrickleError;
use crate::types::candidate::Candidate;

/// A candidate of the peer as it is signalled: the fields are those of the browser's `RTCIceCandidateInit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoteCandidate<'a> {
    /// `candidate:...`, with or without `a=` before it. An empty text means that there are no more (RFC 8840 §8.2).
    pub candidate: &'a str,
    /// `sdpMid`; empty counts as not given.
    pub mid: Option<&'a str>,
    /// `sdpMLineIndex`, looked at when there is no `mid`.
    pub m_line_index: Option<u16>,
    /// `usernameFragment`: which ICE generation the candidate belongs to.
    pub username_fragment: Option<&'a str>,
}

/// What a trickled candidate is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trickled {
    /// To be given to the agent.
    Candidate(Candidate),
    /// The peer has no more candidates.
    EndOfCandidates,
    /// Well formed, but of no use; no error.
    Ignored(Ignored),
}

/// Why a well-formed candidate is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ignored {
    /// It belongs to credentials that are no longer, or not yet, the peer's.
    OtherGeneration,
    /// It belongs to a section whose own transport is not used, since the bundle has one for all.
    OtherSection,
    /// It is for a component other than RTP; RTCP shares that one.
    OtherComponent,
    /// Its transport or type is not known here.
    UnknownKind,
}

impl Negotiator {
    /// Says what to do with a candidate that the peer has trickled.
    pub fn remote_candidate(&self, signalled: RemoteCandidate<'_>) -> Result<Trickled, TrickleError> {
        let transport = self.agreed.transport.as_ref().ok_or(TrickleError::NoRemoteDescription)?;
        let sections = &self.agreed.sections;
        let section = match (signalled.mid.filter(|mid| !mid.is_empty()), signalled.m_line_index) {
            (Some(mid), _) => sections.iter().position(|s| s.mid.is_some_and(|m| m.as_str() == mid)),
            (None, Some(index)) => Some(usize::from(index)).filter(|index| *index < sections.len()),
            // RFC 8840 §4.3.1: candidates may be for all sections of the bundle alike.
            (None, None) => Some(transport.tag),
        };
        let section = section.ok_or(TrickleError::UnknownSection)?;
        if section != transport.tag && section != transport.source {
            return Ok(Trickled::Ignored(Ignored::OtherSection));
        }
        // RFC 8838 §3, RFC 8839 §5.1: what is left over from before a restart must not be mixed with what is new.
        let is_other = |ufrag: &str| ufrag != transport.remote.ufrag;
        if signalled.username_fragment.filter(|ufrag| !ufrag.is_empty()).is_some_and(is_other) {
            return Ok(Trickled::Ignored(Ignored::OtherGeneration));
        }
        let text = signalled.candidate.trim();
        let text = text.strip_prefix("a=").unwrap_or(text);
        if matches!(text, "" | "candidate:" | "end-of-candidates") {
            return Ok(Trickled::EndOfCandidates);
        }
        let candidate: Candidate = match text.parse() {
            Ok(candidate) => candidate,
            Err(error) if crate::types::candidate::ParseCandidateError::is_ignorable(error) => {
                return Ok(Trickled::Ignored(Ignored::UnknownKind));
            }
            Err(error) => return Err(error.into()),
        };
        if candidate.extension("ufrag").is_some_and(is_other) {
            return Ok(Trickled::Ignored(Ignored::OtherGeneration));
        }
        if candidate.component() != 1 {
            return Ok(Trickled::Ignored(Ignored::OtherComponent));
        }
        Ok(Trickled::Candidate(candidate))
    }
}
