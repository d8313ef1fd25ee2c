//! Many connections behind one listener and one socket: streams and answers find their owner.

mod ground;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ground::{clock, config, with_servers};
use sansrtc::stun::{Builder, Class, Message, Method};
use sansrtc::types::candidate::TcpType;
use sansrtc::{
    Candidate, ChannelConfig, ConnectionState, Datagram, Endpoint, EndpointOutput, Event, FirstFrame,
    IncomingStream, Input, Key, MessageKind, Output, Routed, Rtc, StreamInput, StreamKey, StreamOutput,
};

fn listener() -> SocketAddr {
    "192.0.2.2:443".parse().unwrap()
}

#[test]
fn a_listener_is_shared_by_many_connections() {
    const CLIENTS: usize = 20;
    let mut now = clock().instant;
    let mut endpoint = Endpoint::new([1; 32]);
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let seed = |role: u8| [role.wrapping_add(2 * u8::try_from(number).unwrap()); 32];
        let mut client = Rtc::new(config(), seed(10), clock()).unwrap();
        let ip: SocketAddr = format!("10.0.0.{}:9", number + 1).parse().unwrap();
        client.add_local_candidate(Candidate::host_tcp(ip, TcpType::Active).unwrap()).unwrap();
        client.open_channel(ChannelConfig::labelled("x")).unwrap();
        let mut server = Rtc::new(config(), seed(11), clock()).unwrap();
        server.add_local_candidate(Candidate::host_tcp(listener(), TcpType::Passive).unwrap()).unwrap();
        let offer = client.create_offer().unwrap();
        let answer = server.accept_offer(&offer).unwrap();
        client.accept_answer(&answer).unwrap();
        clients.push(client);
        endpoint.insert(server);
    }
    // Client and its stream, to the endpoint's connection and its stream; and what is not routed yet.
    let mut there: HashMap<(usize, StreamKey), (Key, StreamKey)> = HashMap::new();
    let mut back: HashMap<(Key, StreamKey), (usize, StreamKey)> = HashMap::new();
    let mut strangers: HashMap<(usize, StreamKey), IncomingStream> = HashMap::new();
    let mut received = 0;
    let deadline = now + Duration::from_secs(20);
    while now < deadline {
        let mut wake: Option<Instant> = None;
        for (number, client) in clients.iter_mut().enumerate() {
            loop {
                match client.poll_output() {
                    Output::Stream(StreamOutput::Open { key, local, remote, .. }) => {
                        assert_eq!(remote, listener());
                        let from = SocketAddr::new(local.unwrap(), 40_000);
                        strangers.insert((number, key), IncomingStream::new(listener(), from));
                        let opened = StreamInput::Opened { key, local: from };
                        client.handle_input(now, Input::Stream(opened));
                    }
                    Output::Stream(StreamOutput::Write { key, contents }) => {
                        let name = (number, key);
                        if let Some(&(owner, key)) = there.get(&name) {
                            let contents = contents.into_inner();
                            let routed =
                                endpoint.handle_stream(now, owner, StreamInput::Received { key, contents });
                            assert!(matches!(routed, Routed::To(to) if to == owner));
                        } else if let Some(mut stranger) = strangers.remove(&name) {
                            assert_eq!(stranger.push(&contents), FirstFrame::Check);
                            let (owner, theirs) =
                                endpoint.handle_incoming(now, stranger).expect("it has an owner");
                            there.insert(name, (owner, theirs));
                            back.insert((owner, theirs), name);
                        }
                    }
                    Output::Stream(other) => panic!("{other:?}"),
                    Output::Transmit(transmit) => panic!("{transmit:?}"),
                    Output::Event(Event::ChannelOpen(channel)) => {
                        client.send(channel, MessageKind::Text, "hello").unwrap();
                    }
                    Output::Event(_) => {}
                    Output::Timeout(at) => {
                        wake = [wake, at].into_iter().flatten().min();
                        break;
                    }
                }
            }
        }
        let mut moved = false;
        loop {
            match endpoint.poll_output() {
                EndpointOutput::Stream(owner, StreamOutput::Write { key, contents }) => {
                    moved = true;
                    let (number, key) = back[&(owner, key)];
                    let contents = contents.into_inner();
                    clients[number].handle_input(now, Input::Stream(StreamInput::Received { key, contents }));
                }
                EndpointOutput::Stream(_, other) => panic!("{other:?}"),
                EndpointOutput::Transmit(_, transmit) => panic!("{transmit:?}"),
                EndpointOutput::Event(_, Event::Message { data, .. }) => {
                    assert_eq!(&data[..], b"hello");
                    received += 1;
                }
                EndpointOutput::Event(..) => {}
                EndpointOutput::Timeout(at) => {
                    wake = [wake, at].into_iter().flatten().min();
                    break;
                }
            }
        }
        if received == CLIENTS {
            break;
        }
        if !moved {
            now = wake.unwrap_or(deadline).max(now + Duration::from_millis(1));
            for client in &mut clients {
                client.handle_input(now, Input::Timeout);
            }
            endpoint.handle_input(now, Input::Timeout);
        }
    }
    assert_eq!(received, CLIENTS);
    assert!(clients.iter().all(|client| client.state() == ConnectionState::Connected));
}

#[test]
fn a_stream_for_nobody_or_without_a_true_check_is_refused() {
    let now = clock().instant;
    let mut endpoint = Endpoint::new([1; 32]);
    let mut server = Rtc::new(config(), [5; 32], clock()).unwrap();
    server.add_local_candidate(Candidate::host_tcp(listener(), TcpType::Passive).unwrap()).unwrap();
    let ufrag = server.local_parameters().credentials.ufrag;
    let key = endpoint.insert(server);
    for name in ["nobody:x".to_owned(), format!("{ufrag}:x")] {
        let mut check = BytesMut::new();
        let id = sansrtc::stun::TransactionId([1; 12]);
        let mut builder = Builder::new(&mut check, Class::Request, Method::BINDING, id);
        builder.username(&[name.as_bytes()]);
        builder.finish();
        let mut stream = IncomingStream::new(listener(), "198.51.100.1:5".parse().unwrap());
        let length = u16::try_from(check.len()).unwrap().to_be_bytes();
        assert_eq!(stream.push(&[&length[..], &check].concat()), FirstFrame::Check);
        assert!(endpoint.handle_incoming(now, stream).is_none(), "{name}");
    }
    assert!(matches!(
        endpoint.handle_stream(now, key, StreamInput::Closed { key: StreamKey(3) }),
        Routed::To(_)
    ));
}

#[test]
fn answers_of_one_server_find_the_connection_that_asked() {
    // Three connections on one socket ask one STUN server at once.
    let now = clock().instant;
    let local: SocketAddr = "10.0.0.1:5000".parse().unwrap();
    let mut endpoint = Endpoint::new([1; 32]);
    let keys: Vec<Key> = (1..4u8)
        .map(|seed| {
            let mut rtc = Rtc::new(with_servers(&["stun:203.0.113.1"]), [seed; 32], clock()).unwrap();
            rtc.add_local_candidate(Candidate::host(local).unwrap()).unwrap();
            endpoint.insert(rtc)
        })
        .collect();
    endpoint.handle_input(now, Input::Timeout);
    let mut requests = Vec::new();
    loop {
        match endpoint.poll_output() {
            EndpointOutput::Transmit(key, transmit) => requests.push((key, transmit)),
            EndpointOutput::Timeout(_) => break,
            _ => {}
        }
    }
    assert_eq!(requests.len(), 3);
    for (key, transmit) in requests {
        let id = Message::parse(&transmit.contents).unwrap().transaction();
        let mut answer = BytesMut::new();
        let mut builder = Builder::new(&mut answer, Class::Success, Method::BINDING, id);
        builder.xor_mapped_address("198.51.100.1:7".parse().unwrap());
        builder.finish();
        let routed =
            endpoint.handle_input(now, Input::Datagram(Datagram::udp(transmit.destination, local, answer)));
        assert!(matches!(routed, Routed::To(to) if to == key), "{routed:?}");
    }
    for key in keys {
        assert_eq!(endpoint.get(key).unwrap().local_candidates().count(), 2);
    }
}
