use proptest::prelude::*;

use super::*;
use crate::types::direction::Direction;
use crate::types::fingerprint::{Fingerprint, FingerprintHash};
use crate::types::ids::{Pt, Ssrc};
use crate::types::setup::Setup;

/// Offers as today's peers write them; `tests/data/sdp/README.md` says which.
const RECORDED: [(&str, &str); 6] = [
    ("chromium-data", include_str!("../../tests/data/sdp/chromium-data.sdp")),
    ("chromium-audio-video-data", include_str!("../../tests/data/sdp/chromium-audio-video-data.sdp")),
    ("chromium-simulcast", include_str!("../../tests/data/sdp/chromium-simulcast.sdp")),
    ("firefox-data", include_str!("../../tests/data/sdp/firefox-data.sdp")),
    ("firefox-audio-video-data", include_str!("../../tests/data/sdp/firefox-audio-video-data.sdp")),
    ("pion-data", include_str!("../../tests/data/sdp/pion-data.sdp")),
];

const START: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
const DATA: &str = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n";

/// A description whose first section has `lines`.
fn with(section: &str, lines: &str) -> String {
    format!("{START}{section}{lines}")
}

fn problem(text: &str) -> (u32, Problem) {
    let error = Description::parse(text).unwrap_err();
    (error.line(), error.problem())
}

#[test]
fn recorded_offers_keep_every_line() {
    for (name, text) in RECORDED {
        let description = Description::parse(text).unwrap();
        let emitted = description.emit();
        assert_eq!(Description::parse(&emitted).as_ref(), Ok(&description), "{name}");
        let sorted = |text: &str| {
            // Attributes come in another order, and the colon of `WMS *` is the only place where a space may go.
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&emitted), sorted(text), "{name}");
    }
}

#[test]
fn line_ends_do_not_matter() {
    for (name, text) in RECORDED {
        let want = Description::parse(text).unwrap();
        let lone = text.replace("\r\n", "\n");
        assert_eq!(Description::parse(&lone).unwrap(), want, "{name}");
        assert_eq!(Description::parse(lone.trim_end()).unwrap(), want, "{name}");
    }
}

#[test]
fn a_data_offer_is_typed() {
    let description = Description::parse(RECORDED[0].1).unwrap();
    assert_eq!(description.origin.session_id, 1377147736499103689);
    assert_eq!(description.origin.version, 2);
    assert_eq!(description.groups, [Group::new("BUNDLE", "0")]);
    assert!(description.extmap_allow_mixed);
    let [data] = &description.media[..] else { panic!("one section") };
    assert_eq!(data.kind, MediaKind::Application);
    assert_eq!(data.port, 39119);
    assert!(data.is_sctp() && !data.is_legacy_sctp() && !data.is_rejected());
    assert_eq!(data.formats().collect::<Vec<_>>(), ["webrtc-datachannel"]);
    assert_eq!(data.candidates.len(), 4);
    assert!(data.candidates[0].starts_with("1886140492 1 udp"));
    assert_eq!(data.transport.ice_ufrag, Some("JUmX"));
    assert_eq!(data.transport.ice_pwd, Some("SlZs9yOEDXOwjrDtTR+uOpHA"));
    assert!(data.transport.has_ice_option("trickle") && !data.transport.has_ice_option("ice2"));
    assert_eq!(data.transport.fingerprints[0].hash(), FingerprintHash::Sha256);
    assert_eq!(data.transport.setup, Some(Setup::ActPass));
    assert_eq!(data.mid, Some("0"));
    assert_eq!(data.sctp_port(), Some(5000));
    assert_eq!(data.sctp.max_message_size, Some(262144));
    assert!(!format!("{description:?}").contains("SlZs9yOEDXOwjrDtTR"));
}

#[test]
fn the_form_of_the_drafts_is_understood() {
    let text = with("m=application 9 DTLS/SCTP 5001\n", "a=sctpmap:5001 webrtc-datachannel 1024\n");
    let description = Description::parse(&text).unwrap();
    let data = &description.media[0];
    assert!(data.is_sctp() && data.is_legacy_sctp());
    assert_eq!(data.sctp_port(), Some(5001));
    assert_eq!(data.sctp.map, Some("5001 webrtc-datachannel 1024"));
}

#[test]
fn media_attributes_are_typed() {
    // The lines of RFC 8851, RFC 8853 and of browsers.
    let text = with(
        "m=video 49300/2 UDP/TLS/RTP/SAVPF 96 97\n",
        "a=rtpmap:96 VP8/90000\na=rtpmap:111 opus/48000/2\na=rtcp-fb:96 nack pli\na=rtcp-fb:* ccm fir\n\
         a=fmtp:102 level-asymmetry-allowed=1; packetization-mode=1;profile-level-id=42e01f\na=fmtp:101 0-15\n\
         a=extmap:14/sendonly urn:ietf:params:rtp-hdrext:toffset\na=extmap:3 urn:x attributes here\n\
         a=rid:1 send pt=97;max-width=1280;max-height=720\na=simulcast:send 1;~4,3 recv 6,7\n\
         a=ssrc:235407817 cname:A2GvhWVThJ3kUGtq\na=ssrc-group:FID 2161024796 678650787\n\
         a=msid:- 921c59dc\na=ptime:20\na=maxptime:99999999999999999999\na=recvonly\na=cryptex\n",
    );
    let description = Description::parse(&text).unwrap();
    let section = &description.media[0];
    let rtp = &section.rtp;
    let pt = |value| Pt::new(value).unwrap();
    assert_eq!((section.port, section.port_count), (49300, Some(2)));
    assert_eq!(
        rtp.maps,
        [
            RtpMap { pt: pt(96), encoding: "VP8", clock_rate: 90000, channels: None },
            RtpMap { pt: pt(111), encoding: "opus", clock_rate: 48000, channels: Some(2) },
        ]
    );
    assert_eq!(
        rtp.feedback,
        [Feedback { pt: Some(pt(96)), kind: "nack pli" }, Feedback { pt: None, kind: "ccm fir" }]
    );
    let h264 = rtp.format_parameters[0].parameters;
    assert_eq!(h264.value_of("Packetization-Mode"), Some("1"));
    assert_eq!(h264.iter().last(), Some(("profile-level-id", "42e01f")));
    assert_eq!(rtp.format_parameters[1].parameters.iter().collect::<Vec<_>>(), [("0-15", "")]);
    assert_eq!(rtp.extensions[0].direction, Some(Direction::SendOnly));
    assert_eq!(rtp.extensions[1].attributes, Some("attributes here"));
    assert_eq!(rtp.rids[0].restrictions.value_of("max-width"), Some("1280"));
    let streams = |streams: SimulcastStreams<'_>| {
        streams
            .iter()
            .map(|alternatives| alternatives.map(|s| format!("{}{}", s.rid, s.paused)).collect())
            .collect::<Vec<Vec<_>>>()
    };
    let simulcast = rtp.simulcast.unwrap();
    assert_eq!(streams(simulcast.send.unwrap()), [vec!["1false"], vec!["4true", "3false"]]);
    assert_eq!(streams(simulcast.recv.unwrap()), [vec!["6false", "7false"]]);
    assert_eq!(rtp.ssrcs[0].ssrc, Ssrc(235407817));
    assert_eq!(rtp.ssrc_groups[0].ssrcs().collect::<Vec<_>>(), [Ssrc(2161024796), Ssrc(678650787)]);
    assert_eq!(rtp.msids, [Msid { stream: "-", track: Some("921c59dc") }]);
    // R61: larger than can be held is as large as can be held.
    assert_eq!((rtp.ptime, rtp.maxptime), (Some(20), Some(u32::MAX)));
    assert_eq!(section.direction, Some(Direction::RecvOnly));
    assert!(rtp.cryptex);
}

#[test]
fn what_is_not_known_is_kept() {
    let text = with(
        DATA,
        "i=about\r\nc=IN IP4 0.0.0.0\r\nb=AS:30\r\na=x-new:a:b\r\na=x-flag\r\na=fingerprint:sha-1 AA:BB\r\na=rtcp-mux:odd\r\n",
    );
    let description = Description::parse(&text).unwrap();
    let data = &description.media[0];
    assert_eq!(data.lines.iter().map(|line| line.kind).collect::<Vec<_>>(), *b"ib");
    let other: Vec<_> = data.other.iter().map(|a| (a.name, a.value)).collect();
    assert_eq!(
        other,
        [
            ("x-new", Some("a:b")),
            ("x-flag", None),
            ("fingerprint", Some("sha-1 AA:BB")),
            ("rtcp-mux", Some("odd"))
        ]
    );
    assert_eq!(description.emit(), text);
}

#[test]
fn errors_name_the_line_and_what_is_wrong() {
    let cases = [
        ("", "line 0: the first line ought to be v=0"),
        ("v=1\n", "line 1: the first line ought to be v=0"),
        ("v=0\ns=-\n", "line 2: o= is missing"),
        (
            "v=0\no=- x 1 IN IP4 0.0.0.0\n",
            "line 2: o= ought to be <user> <session id> <version> <network> <type> <address>",
        ),
        ("v=0\nhello\n", "line 2: not of the form <letter>=<value>"),
        (
            &with("m=video 70000 RTP/SAVPF 96\n", ""),
            "line 5: m= ought to be <media> <port> <protocol> <format> ..",
        ),
        (&with("m=video 9 RTP/SAVPF\n", ""), "line 5: m= ought to be <media> <port> <protocol> <format> .."),
        (&with(DATA, "a=setup:maybe\n"), "line 6: a=setup ought to be actpass, active, passive or holdconn"),
        (
            &with(DATA, "a=ice-ufrag:abc\n"),
            "line 6: a=ice-ufrag ought to be 4 to 256 letters, digits, + and /",
        ),
        (&with(DATA, "a=sctp-port:65536\n"), "line 6: a=sctp-port ought to be a port number"),
        (&with(DATA, "a=mid:0\na=mid:1\n"), "line 7: a=mid is here for the second time, with another value"),
        (
            &with(DATA, "a=sendonly\na=recvonly\n"),
            "line 7: the direction is here for the second time, with another value",
        ),
        (
            &with(DATA, "a=fingerprint:sha-256 00\n"),
            "line 6: a=fingerprint ought to be the hash function's name and its digest in hexadecimal",
        ),
        // R59: a payload type above 127.
        (
            &with(VIDEO, "a=rtpmap:128 VP8/90000\n"),
            "line 6: a=rtpmap ought to be <payload type, 0 to 127> <encoding>/<clock rate>[/<channels>]",
        ),
        (
            &with(VIDEO, "a=extmap:0 urn:x\n"),
            "line 6: a=extmap ought to be <id, 1 to 255 or 4096 to 4351>[/<direction>] <uri>",
        ),
        (
            &with(VIDEO, "a=simulcast:send ;\n"),
            "line 6: a=simulcast ought to be send <streams> or recv <streams> or both",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(Description::parse(text).unwrap_err().to_string(), message, "{text:?}");
    }
}

#[test]
fn the_same_value_again_is_merged_and_another_refused() {
    let text = with(
        VIDEO,
        "a=mid:0\na=mid:0\na=rtpmap:96 VP8/90000\na=rtpmap:96 VP8/90000\na=sendrecv\na=sendrecv\n",
    );
    let description = Description::parse(&text).unwrap();
    assert_eq!(description.media[0].rtp.maps.len(), 1);
    // R60: duplicate codecs.
    let text = with(VIDEO, "a=rtpmap:96 VP8/90000\na=rtpmap:96 VP9/90000\n");
    assert_eq!(problem(&text), (7, Problem::Duplicate("a=rtpmap of this payload type")));
}

#[test]
fn hostile_sizes_meet_a_named_bound() {
    // R59: above 1 MiB at once.
    assert_eq!(problem(&" ".repeat(MAX_LEN + 1)), (1, Problem::TooLong));
    let too_many = |what, limit| Problem::TooMany { what, limit };
    // R62: 10,000 candidates, 4,000 sections, 5,000 simulcast layers; and what else can be repeated.
    let candidates = with(DATA, &"a=candidate:1 1 udp 1 192.0.2.1 1 typ host\n".repeat(10_000));
    assert_eq!(problem(&candidates).1, too_many("candidates in one section", MAX_CANDIDATES));
    assert_eq!(problem(&with("", &DATA.repeat(4_000))).1, too_many("media sections", MAX_SECTIONS));
    let layers = with(VIDEO, &format!("a=simulcast:send {}\n", vec!["a"; 5_000].join(";")));
    assert_eq!(problem(&layers), (6, too_many("simulcast streams", MAX_SIMULCAST)));
    let rids = with(VIDEO, &"a=rid:1 send\n".repeat(5_000));
    assert_eq!(problem(&rids).1, too_many("a=rid in one section", MAX_RIDS));
    let attributes = with(VIDEO, &"a=ssrc:1 x\n".repeat(5_000));
    assert_eq!(problem(&attributes).1, too_many("lines in one section", MAX_ATTRIBUTES));
    assert_eq!(
        problem(&with("", &"a=x\n".repeat(5_000))).1,
        too_many("lines in one section", MAX_ATTRIBUTES)
    );
    assert_eq!(problem(&with("", &"\n".repeat(100_000))).1, too_many("lines", MAX_LINES));
    let fingerprints: String = (0..20).map(|n| format!("a=fingerprint:{}\n", digest(n))).collect();
    assert_eq!(problem(&with(DATA, &fingerprints)), (14, too_many("fingerprints", MAX_FINGERPRINTS)));
}

#[test]
fn a_megabyte_of_one_line_is_just_long() {
    let long = |prefix: &str, filler: &str| {
        let text = with(VIDEO, prefix);
        let room_for_line_ends = 100;
        let count = (MAX_LEN - text.len() - room_for_line_ends) / filler.len();
        text + &filler.repeat(count)
    };
    for prefix in ["a=x:", "a=msid:", "a=ssrc-group:FID ", "a=fmtp:96 ", "i=", "a=candidate:", "a=extmap:1 "]
    {
        for filler in ["1 ", "a=", ";", ":", "/", "é"] {
            let text = long(prefix, filler);
            if let Ok(description) = Description::parse(&text) {
                // Not `assert_eq`, which would print it all.
                assert!(
                    Description::parse(&description.emit()) == Ok(description.clone()),
                    "{prefix} {filler}"
                );
            }
        }
    }
}

#[test]
fn cut_anywhere_a_description_is_read_or_refused() {
    for (_, text) in RECORDED {
        for end in 0..text.len() {
            if let Ok(description) = Description::parse(&text[..end]) {
                let emitted = description.emit();
                assert_eq!(Description::parse(&emitted), Ok(description.clone()), "{end}");
            }
        }
    }
}

#[test]
fn owned_texts_say_what_they_were_given_and_hide_it_in_debug() {
    let text = RECORDED[0].1;
    let offer: Offer = text.parse().unwrap();
    assert_eq!(offer.to_string(), text);
    assert_eq!(offer.description(), Description::parse(text).unwrap());
    assert!(!format!("{offer:?}").contains("SlZs9yOEDXOwjrDtTR"));
    assert_eq!(Answer::from_model(&offer.description()).unwrap().description(), offer.description());
    assert!("v=0".parse::<Answer>().is_err());
}

fn digest(first: u8) -> Fingerprint {
    Fingerprint::new(FingerprintHash::Sha256, &[first; 32]).unwrap()
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(lines in prop::collection::vec("[a-z]=[ -~]{0,40}|a=[a-z-]{2,12}:[ -~]{0,30}", 0..40)) {
        let text = format!("{START}{DATA}{}", lines.join("\n"));
        if let Ok(description) = Description::parse(&text) {
            let emitted = description.emit();
            prop_assert_eq!(Description::parse(&emitted), Ok(description.clone()));
        }
    }

    #[test]
    fn parse_undoes_emit(
        numbers: (u64, u64, u16, u32, u32),
        words in prop::collection::vec("[!-9;-~]{1,20}", 8),
        ice in ("[A-Za-z0-9+/]{4,32}", "[A-Za-z0-9+/]{22,32}"),
        pts in prop::collection::btree_set(0u8..128, 0..20),
        choices: (Option<u16>, Option<u64>, bool, bool, u8),
    ) {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let (session_id, version, port, ssrc, clock_rate) = numbers;
        let (sctp_port, max_message_size, lite, flag, choice) = choices;
        let pts: Vec<_> = pts.into_iter().filter_map(Pt::new).collect();
        let direction = [None, Some(Direction::SendOnly), Some(Direction::Inactive)][usize::from(choice % 3)];
        let transport = Transport {
            ice_ufrag: Some(&ice.0),
            ice_pwd: Some(&ice.1),
            ice_options: flag.then_some("trickle ice2"),
            fingerprints: vec![digest(choice), digest(!choice)],
            setup: Some(Setup::Passive),
            tls_id: lite.then_some(words[0]),
        };
        let section = MediaSection {
            kind: MediaKind::from_name(if flag { "video" } else { words[1] }),
            port,
            port_count: sctp_port,
            protocol: words[2],
            formats: words[3],
            connection: flag.then_some(words[4]),
            lines: vec![ExtraLine { kind: b'i', value: words[5] }, ExtraLine { kind: b'b', value: words[6] }],
            mid: Some(words[7]),
            direction,
            bundle_only: lite,
            transport: transport.clone(),
            candidates: words.clone(),
            end_of_candidates: flag,
            sctp: Sctp { port: sctp_port, max_message_size, map: Some(words[0]), init: Some(words[1]) },
            rtp: Rtp {
                rtcp_mux: flag,
                rtcp_mux_only: lite,
                rtcp_rsize: flag,
                extmap_allow_mixed: lite,
                cryptex: flag,
                maps: pts.iter().map(|pt| RtpMap { pt: *pt, encoding: "VP8", clock_rate, channels: sctp_port }).collect(),
                format_parameters: pts.iter().map(|pt| FormatParameters { pt: *pt, parameters: Parameters(words[2]) }).collect(),
                feedback: pts.iter().map(|pt| Feedback { pt: flag.then_some(*pt), kind: "nack pli" }).collect(),
                extensions: vec![Extension { id: 1 + u16::from(choice % 255), direction, uri: words[3], attributes: flag.then_some(words[4]) }],
                rids: vec![RidLine { id: "r0", direction: RidDirection::Recv, restrictions: Parameters(if flag { "max-fr=30" } else { "" }) }],
                simulcast: Some(Simulcast { send: flag.then_some(SimulcastStreams("~a,b;c")), recv: Some(SimulcastStreams("d")) }),
                msids: vec![Msid { stream: words[5], track: flag.then_some(words[6]) }],
                ssrcs: vec![SsrcLine { ssrc: Ssrc(ssrc), attribute: Attribute { name: "cname", value: Some(words[7]) } }],
                ssrc_groups: vec![SsrcGroup::new("FID", "1 2")],
                ptime: sctp_port.map(u32::from),
                maxptime: Some(ssrc),
            },
            other: vec![Attribute { name: "x-flag", value: None }, Attribute { name: "x-value", value: Some(words[0]) }],
        };
        let description = Description {
            origin: Origin { username: words[0], session_id, version, address: words[1] },
            name: words[2],
            timing: words[3],
            connection: flag.then_some(words[4]),
            lines: vec![ExtraLine { kind: b'b', value: words[5] }, ExtraLine { kind: b'k', value: words[6] }],
            groups: vec![Group::new("BUNDLE", words[7]), Group::new("LS", "")],
            ice_lite: lite,
            extmap_allow_mixed: flag,
            msid_semantic: flag.then_some(words[0]),
            direction,
            transport,
            other: vec![Attribute { name: "identity", value: Some(words[1]) }],
            media: vec![section.clone(), section],
        };
        let emitted = description.emit();
        prop_assert_eq!(Description::parse(&emitted), Ok(description.clone()));
    }
}
