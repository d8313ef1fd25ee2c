//! Servers that lie, and servers that are silent (RFC 8489 §6, §9, §10).

use super::*;

/// A server that answers every request with what `write` makes.
fn hostile(
    client: &mut Client,
    for_time: Duration,
    mut write: impl FnMut(&Message<'_>, SocketAddr) -> Option<BytesMut>,
) -> (usize, Vec<Event>) {
    let mut now = base();
    let end = now + for_time;
    let (mut requests, mut events, mut pool) = (0, Vec::new(), Pool::new());
    client.start(now);
    while now < end {
        while let Some(transmit) = client.poll_transmit(&mut pool) {
            let request = Message::parse(&transmit.contents).unwrap();
            requests += usize::from(request.class() == Class::Request);
            assert!(requests < 100_000);
            if let Some(answer) = write(&request, transmit.destination) {
                client.handle_packet(now, transmit.destination, answer);
            }
        }
        events.extend(std::iter::from_fn(|| client.poll_event()));
        let Some(next) = client.next_timeout() else { break };
        assert!(next > now, "a timeout is in the future");
        now = next;
        client.handle_timeout(now);
    }
    (requests, events)
}

fn refuse(request: &Message<'_>, code: u16, more: impl FnOnce(&mut Builder<'_>)) -> BytesMut {
    let mut answer = BytesMut::new();
    let mut builder = Builder::new(&mut answer, Class::Error, request.method(), request.transaction());
    builder.error_code(ErrorCode { code, reason: "no" });
    more(&mut builder);
    builder.finish();
    answer
}

fn client() -> Client {
    Client::new(config(Protocol::Udp), address(LOCAL), Rng::new([1; 32], Stream::Turn)).unwrap()
}

#[test]
fn stale_nonces_for_ever_are_followed_three_times() {
    // R16: at most three retries.
    let mut n = 0u32;
    let (requests, events) = hostile(&mut client(), seconds(10_000), |request, _| {
        n += 1;
        let nonce = format!("nonce{n}");
        Some(refuse(request, 438, |b| {
            b.attribute(types::REALM, b"realm").attribute(types::NONCE, nonce.as_bytes());
        }))
    });
    assert_eq!((requests, events), (4, vec![Event::Failed(Failure::StaleNonce)]));
}

#[test]
fn a_realm_that_changes_for_ever_is_followed_three_times() {
    let mut n = 0u32;
    let (requests, events) = hostile(&mut client(), seconds(10_000), |request, _| {
        n += 1;
        let realm = format!("realm{n}");
        Some(refuse(request, 401, |b| {
            b.attribute(types::REALM, realm.as_bytes()).attribute(types::NONCE, b"nonce");
        }))
    });
    assert!(requests <= 5 && events.len() == 1, "{requests} {events:?}");
}

#[test]
fn redirections_end_after_three_and_never_go_back_or_inwards() {
    // RFC 8489 §10.
    let mut n = 0u16;
    let (requests, events) = hostile(&mut client(), seconds(10_000), |request, _| {
        n += 1;
        let next = SocketAddr::new("198.51.100.2".parse().unwrap(), n);
        Some(refuse(request, 300, |b| {
            b.address(types::ALTERNATE_SERVER, next);
        }))
    });
    assert_eq!((requests, events), (4, vec![Event::Failed(Failure::Redirects)]));
    for target in
        [SERVER, "127.0.0.1:3478", "0.0.0.0:3478", "198.51.100.9:0", "[2001:db8::9]:3478", "224.0.0.1:1"]
    {
        let (requests, events) = hostile(&mut client(), seconds(10_000), |request, _| {
            Some(refuse(request, 300, |b| {
                b.address(types::ALTERNATE_SERVER, address(target));
            }))
        });
        assert_eq!((requests, events), (1, vec![Event::Failed(Failure::Redirects)]), "{target}");
    }
}

#[test]
fn a_silent_server_is_asked_seven_times() {
    // RFC 8489 §6.2.1: 500 ms, doubled, seven sendings, and 39.5 s in all.
    let start = base();
    let (requests, events) = hostile(&mut client(), seconds(39), |_, _| None);
    assert_eq!((requests, events), (7, vec![]));
    let mut silent = client();
    let (requests, events) = hostile(&mut silent, seconds(1000), |_, _| None);
    assert_eq!((requests, events), (7, vec![Event::Failed(Failure::Silent)]));
    assert!(silent.is_ended() && silent.next_timeout().is_none() && start <= base());
}

#[test]
fn every_refusal_of_an_allocation_ends_it_with_a_reason() {
    let codes = [
        (403, Failure::Refused { code: 403 }),
        (420, Failure::Refused { code: 420 }),
        (437, Failure::Mismatch),
        (440, Failure::Family),
        (441, Failure::Credentials),
        (442, Failure::Refused { code: 442 }),
        (486, Failure::Capacity),
        (500, Failure::Refused { code: 500 }),
        (508, Failure::Capacity),
    ];
    for (code, failure) in codes {
        let (requests, events) =
            hostile(&mut client(), seconds(1000), |request, _| Some(refuse(request, code, |_| {})));
        assert_eq!((requests, events), (1, vec![Event::Failed(failure)]), "{code}");
    }
    // RFC 8489 §9.2.5: a 400 that nobody signed never came.
    let (requests, events) =
        hostile(&mut client(), seconds(1000), |request, _| Some(refuse(request, 400, |_| {})));
    assert_eq!((requests, events), (7, vec![Event::Failed(Failure::Unauthentic)]));
}

#[test]
fn answers_without_integrity_do_not_count_once_credentials_were_sent() {
    // RFC 8489 §9.2.5.
    let (requests, events) = hostile(&mut client(), seconds(1000), |request, _| {
        if !request.has_integrity() {
            return Some(refuse(request, 401, |b| {
                b.attribute(types::REALM, b"realm").attribute(types::NONCE, b"nonce");
            }));
        }
        let mut answer = BytesMut::new();
        let mut builder = Builder::new(&mut answer, Class::Success, request.method(), request.transaction());
        builder.xor_address(types::XOR_RELAYED_ADDRESS, address("198.51.100.1:50000"));
        builder.attribute(types::LIFETIME, &600u32.to_be_bytes());
        builder.finish();
        Some(answer)
    });
    assert_eq!((requests, events), (8, vec![Event::Failed(Failure::Unauthentic)]));
}

#[test]
fn a_challenge_whose_list_was_taken_out_is_not_answered() {
    // RFC 8489 §9.2.1.
    let (requests, events) = hostile(&mut client(), seconds(1000), |request, _| {
        Some(refuse(request, 401, |b| {
            b.attribute(types::REALM, b"realm").attribute(types::NONCE, b"obMatJos2gAAAnonce");
        }))
    });
    assert_eq!((requests, events), (1, vec![Event::Failed(Failure::Credentials)]));
}

/// Signs what a server of RFC 5389 would say to alice.
fn granted(request: &Message<'_>, write: impl FnOnce(&mut Builder<'_>)) -> Option<BytesMut> {
    if !request.has_integrity() {
        return Some(refuse(request, 401, |b| {
            b.attribute(types::REALM, b"realm").attribute(types::NONCE, b"nonce");
        }));
    }
    let key = LongTermKey::derive(PasswordAlgorithm::Md5, "alice", "realm", "secret");
    request.verify_integrity(&key.sha1).unwrap();
    let mut answer = BytesMut::new();
    let mut builder = Builder::new(&mut answer, Class::Success, request.method(), request.transaction());
    write(&mut builder);
    builder.integrity(&key.sha1);
    builder.finish();
    Some(answer)
}

#[test]
fn lies_about_lifetimes_make_no_flood() {
    for lifetime in [1u32, 2, u32::MAX] {
        let (requests, _) = hostile(&mut client(), seconds(600), |request, _| {
            granted(request, |b| {
                b.xor_address(types::XOR_RELAYED_ADDRESS, address("198.51.100.1:50000"));
                b.attribute(types::LIFETIME, &lifetime.to_be_bytes());
            })
        });
        assert!(requests <= 1210, "{requests}");
    }
    for relayed in ["0.0.0.0:1", "224.0.0.1:1", "198.51.100.1:0"] {
        let (requests, events) = hostile(&mut client(), seconds(600), |request, _| {
            granted(request, |b| {
                b.xor_address(types::XOR_RELAYED_ADDRESS, address(relayed));
                b.attribute(types::LIFETIME, &600u32.to_be_bytes());
            })
        });
        assert_eq!((requests, events.first()), (3, Some(&Event::Failed(Failure::Family))), "{relayed}");
    }
}

#[test]
fn an_allocation_that_is_always_lost_is_given_up() {
    let key = || LongTermKey::derive(PasswordAlgorithm::Md5, "alice", "realm", "secret");
    let (requests, events) = hostile(&mut client(), seconds(100_000), |request, _| {
        if request.method() == Method::REFRESH {
            return Some(refuse(request, 437, |b| {
                b.integrity(&key().sha1);
            }));
        }
        granted(request, |b| {
            b.xor_address(types::XOR_RELAYED_ADDRESS, address("198.51.100.1:50000"));
            b.attribute(types::LIFETIME, &30u32.to_be_bytes());
        })
    });
    assert!(requests < 40, "{requests}");
    assert_eq!(events.last(), Some(&Event::Failed(Failure::Mismatch)));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Lost(_))).count(), 6);
}
