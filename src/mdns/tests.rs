use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use proptest::prelude::*;

use super::message::{Message, Question, Record};
use super::*;
use crate::buffer::Pool;
use crate::rng::{Rng, Stream};

fn base() -> Instant {
    // A fixed point of the test process: only differences matter.
    crate::time::some_instant()
}

fn machine(ip: &str, seed: u8) -> Mdns {
    let socket = SocketAddr::new(ip.parse().unwrap(), 5353);
    Mdns::new(Config::new(vec![socket]), Rng::new([seed; 32], Stream::Mdns))
}

/// Carries what `from` says to `to`; says how many packets that was.
fn carry(now: Instant, from: &mut Mdns, to: &mut Mdns, local: &str) -> usize {
    let mut pool = Pool::new();
    let mut count = 0;
    while let Some(transmit) = from.poll_transmit(&mut pool) {
        to.handle_packet(now, transmit.source, local.parse().unwrap(), &transmit.contents);
        count += 1;
    }
    count
}

#[test]
fn a_name_that_one_registers_the_other_resolves() {
    let now = base();
    let (mut a, mut b) = (machine("192.0.2.1", 1), machine("192.0.2.2", 2));
    let name = a.register(now, "192.0.2.1".parse().unwrap()).unwrap();
    assert!(name.is_uuid() && name.as_str().as_bytes()[14] == b'4', "{name}");
    assert_eq!(a.register(now, "192.0.2.1".parse().unwrap()), Some(name.clone()));
    assert_eq!(carry(now, &mut a, &mut b, "192.0.2.2:5353"), 1);
    assert!(b.resolve(now, &Name::new(&name.as_str().to_uppercase().replace("LOCAL", "local")).unwrap()));
    assert_eq!(carry(now, &mut b, &mut a, "192.0.2.1:5353"), 1);
    assert_eq!(carry(now, &mut a, &mut b, "192.0.2.2:5353"), 1);
    assert_eq!(b.poll_event(), Some(Event::Resolved(name.clone(), "192.0.2.1".parse().unwrap())));
    assert_eq!((b.poll_event(), b.next_timeout()), (None, None));
    // RFC 6762 §8.3: announced twice.
    assert_eq!(a.next_timeout(), Some(now + Duration::from_secs(1)));
    a.handle_timeout(now + Duration::from_secs(1));
    assert_eq!(carry(now, &mut a, &mut b, "192.0.2.2:5353"), 1);
    a.withdraw(now + Duration::from_secs(1), &name);
    assert_eq!(carry(now, &mut a, &mut b, "192.0.2.2:5353"), 1);
    assert_eq!((b.poll_event(), a.next_timeout()), (None, None));
}

#[test]
fn an_unknown_name_is_asked_for_three_times() {
    // RFC 6762 §5.2.
    let start = base();
    let mut now = start;
    let mut machine = machine("192.0.2.1", 1);
    let name = Name::generate(&mut Rng::new([7; 32], Stream::Mdns));
    assert!(machine.resolve(now, &name));
    let mut asked = Vec::new();
    let mut pool = Pool::new();
    loop {
        while let Some(transmit) = machine.poll_transmit(&mut pool) {
            let message = Message::parse(&transmit.contents).unwrap();
            assert_eq!(message.questions.len(), 2);
            asked.push(((now - start).as_secs(), message.questions[0].unicast));
        }
        let Some(next) = machine.next_timeout() else { break };
        now = next;
        machine.handle_timeout(now);
    }
    assert_eq!(asked, [(0, true), (1, false), (3, false)]);
    assert_eq!(machine.poll_event(), Some(Event::Unresolved(name)));
}

#[test]
fn floods_of_names_and_questions_are_bounded() {
    let now = base();
    let mut machine = machine("192.0.2.1", 1);
    let mut rng = Rng::new([7; 32], Stream::Mdns);
    let taken = (0..1000).filter(|_| machine.resolve(now, &Name::generate(&mut rng))).count();
    assert_eq!(taken, 32);
    let own = machine.register(now, "192.0.2.1".parse().unwrap()).unwrap();
    let mut pool = Pool::new();
    while machine.poll_transmit(&mut pool).is_some() {}
    // RFC 6762 §6: one multicast a second, however often it is asked.
    let mut question = BytesMut::new();
    let asked = Question { name: own.as_str().to_owned(), v4: true, v6: false, unicast: false };
    Message { questions: vec![asked], ..Message::default() }.emit(&mut question);
    let (source, local) = ("192.0.2.9:5353".parse().unwrap(), "192.0.2.1:5353".parse().unwrap());
    (0..1000).for_each(|_| machine.handle_packet(now, source, local, &question));
    assert_eq!(std::iter::from_fn(|| machine.poll_transmit(&mut pool)).count(), 0);
    let later = now + Duration::from_secs(2);
    (0..1000).for_each(|_| machine.handle_packet(later, source, local, &question));
    assert_eq!(std::iter::from_fn(|| machine.poll_transmit(&mut pool)).count(), 1);
}

#[test]
fn a_response_from_another_port_or_with_two_addresses_resolves_nothing() {
    let now = base();
    let mut machine = machine("192.0.2.1", 1);
    let name = Name::generate(&mut Rng::new([7; 32], Stream::Mdns));
    machine.resolve(now, &name);
    let record = |ip: &str| Record { name: name.as_str().to_owned(), ip: ip.parse().unwrap(), ttl: 120 };
    let mut response = BytesMut::new();
    let records = vec![record("192.0.2.7"), record("2001:db8::7")];
    Message { is_response: true, records, ..Message::default() }.emit(&mut response);
    let local = "192.0.2.1:5353".parse().unwrap();
    machine.handle_packet(now, "192.0.2.7:5354".parse().unwrap(), local, &response);
    assert_eq!((machine.poll_event(), machine.stats().dropped), (None, 1));
    machine.handle_packet(now, "192.0.2.7:5353".parse().unwrap(), local, &response);
    assert_eq!(machine.poll_event(), Some(Event::Unresolved(name)));
}

#[test]
fn only_one_label_before_local_is_a_name() {
    for text in ["", "local", ".local", "a.b.local", "a.example", "a b.local", "ä.local"] {
        assert!(Name::new(text).is_err(), "{text}");
    }
    assert!(!Name::new("printer.local").unwrap().is_uuid());
    assert!(!machine("192.0.2.1", 1).resolve(base(), &Name::new("printer.local").unwrap()));
}

#[test]
fn compressed_names_are_read_and_circles_refused() {
    // RFC 1035 §4.1.4.
    let mut message =
        b"\0\0\x84\0\0\0\0\x02\0\0\0\0\x01a\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04\xc0\0\x02\x07".to_vec();
    let start = message.len();
    message.extend_from_slice(
        b"\xc0\x0c\0\x1c\x80\x01\0\0\0\x78\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07",
    );
    let parsed = Message::parse(&message).unwrap();
    assert_eq!(parsed.records.len(), 2);
    assert!(parsed.records.iter().all(|record| record.name == "a.local"));
    for cut in 0..message.len() {
        assert!(Message::parse(&message[..cut]).is_err(), "{cut}");
    }
    message[start + 1] = u8::try_from(start).unwrap();
    assert!(Message::parse(&message).is_err());
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(
        id: u16,
        is_response: bool,
        names in prop::collection::vec("[a-z0-9-]{1,63}", 0..8),
        v6: bool,
        ttl: u32,
    ) {
        let ip = if v6 { "2001:db8::1" } else { "192.0.2.1" }.parse().unwrap();
        let name = |label: &String| format!("{label}.local");
        let questions = names.iter().map(|label| Question { name: name(label), v4: !v6, v6, unicast: v6 });
        let records = names.iter().map(|label| Record { name: name(label), ip, ttl });
        let message = Message { id, is_response, questions: questions.collect(), records: records.collect() };
        let mut buf = BytesMut::new();
        message.emit(&mut buf);
        prop_assert_eq!(Message::parse(&buf), Ok(message));
    }

    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300), response: bool) {
        let mut machine = machine("192.0.2.1", 1);
        let mut packet = vec![0, 0, if response { 0x84 } else { 0 }, 0];
        packet.extend_from_slice(&bytes);
        let address = "192.0.2.2:5353".parse().unwrap();
        machine.handle_packet(base(), address, address, &bytes);
        machine.handle_packet(base(), address, address, &packet);
        prop_assert!(machine.poll_event().is_none());
    }
}
