use super::*;
use crate::wire::serial::Serial32;

const WINDOW: usize = 1024 * 1024;

fn receiver(interleaving: bool) -> Receiver {
    let limits = Limits {
        window: WINDOW,
        max_message_size: 256 * 1024,
        max_streams: 4096,
        ack_delay: Duration::from_millis(20),
    };
    let mut receiver = Receiver::new(limits);
    receiver.start(Serial32(1), interleaving);
    receiver
}

fn chunk(tsn: u32, stream: u16, mid: u32, fsn: u32, len: usize) -> DataChunk<Bytes> {
    DataChunk {
        tsn: Serial32(tsn),
        stream: StreamId(stream),
        unordered: false,
        beginning: fsn == 0,
        ending: false,
        immediate: false,
        ssn_or_mid: mid,
        fsn,
        ppid: 53,
        payload: Bytes::from(vec![tsn as u8; len]),
    }
}

fn borrowed(chunk: &DataChunk<Bytes>) -> DataChunk<&[u8]> {
    let DataChunk { tsn, stream, unordered, beginning, ending, immediate, ssn_or_mid, fsn, ppid, .. } =
        *chunk;
    let payload = &chunk.payload[..];
    DataChunk { tsn, stream, unordered, beginning, ending, immediate, ssn_or_mid, fsn, ppid, payload }
}

fn give(receiver: &mut Receiver, chunk: DataChunk<Bytes>) -> Result<(), Violation> {
    let result = receiver.on_data(&borrowed(&chunk), 0);
    // A packet with nothing around the payload.
    receiver.end_of_packet(now(), chunk.payload);
    result
}

fn now() -> Instant {
    // A fixed point of the test process: only differences matter.
    crate::time::some_instant()
}

#[test]
fn more_unfinished_messages_than_fit_end_the_association_with_a_reason() {
    // HARDENING R39: never a closed window with nothing to read, for ever.
    let mut receiver = receiver(true);
    let mut tsn = 1;
    let mut fsn = 0;
    let violation = 'sending: loop {
        for stream in 0..8 {
            // A foreign sender takes turns among eight messages of 256 KiB, and sends again what was refused.
            for attempt in 0.. {
                assert!(attempt < 20, "neither taken nor ended");
                if let Err(violation) = give(&mut receiver, chunk(tsn, stream, 0, fsn, 1100)) {
                    break 'sending violation;
                }
                if receiver.cumulative() == Serial32(tsn) {
                    break;
                }
            }
            tsn += 1;
        }
        fsn += 1;
        assert!(fsn < 2000);
    };
    assert_eq!(violation.0, "more unfinished messages than the receive window holds");
    assert!(receiver.held() > WINDOW * 9 / 10, "only when the window is full");
}

#[test]
fn a_full_window_that_can_be_read_is_no_reason_to_end() {
    let mut receiver = receiver(true);
    let mut tsn = 1;
    while receiver.free() > 0 {
        let mid = tsn - 1;
        give(&mut receiver, DataChunk { ending: true, ..chunk(tsn, 0, mid, 0, 1100) }).unwrap();
        tsn += 1;
    }
    for _ in 0..1000 {
        let _ = give(&mut receiver, DataChunk { ending: true, ..chunk(tsn, 0, tsn - 1, 0, 60_000) });
        tsn += u32::from(receiver.cumulative() == Serial32(tsn));
    }
    while receiver.poll_event().is_some() {}
    assert!(give(&mut receiver, DataChunk { ending: true, ..chunk(tsn, 0, tsn - 1, 0, 60_000) }).is_ok());
    assert_eq!(receiver.cumulative(), Serial32(tsn));
}

#[test]
fn what_is_kept_in_reserve_makes_room_for_what_arrives() {
    let mut receiver = receiver(true);
    // The last message was large, so those that begin now take much in advance.
    let large = 250;
    for fsn in 0..large {
        let chunk = DataChunk { ending: fsn == large - 1, ..chunk(fsn + 1, 0, 0, fsn, 1000) };
        give(&mut receiver, chunk).unwrap();
    }
    assert!(matches!(receiver.poll_event(), Some(Event::Message { data, .. }) if data.len() == 250_000));
    let mut tsn = large;
    for stream in 0..3 {
        tsn += 1;
        give(&mut receiver, chunk(tsn, stream, 1, 0, 1)).unwrap();
    }
    assert!(receiver.runs.reserve() > 400_000);
    // Messages of one fragment behind a gap fill all of the window but for what is really used.
    tsn += 1;
    let mut payload = 0;
    for mid in 0.. {
        tsn += 1;
        let dropped = receiver.dropped;
        give(&mut receiver, DataChunk { ending: true, ..chunk(tsn, 9, mid + 1, 0, 1000) }).unwrap();
        if receiver.dropped > dropped {
            break;
        }
        payload += 1000;
    }
    assert!(payload > WINDOW * 3 / 4, "{payload}");
    assert!(receiver.held() <= WINDOW);
}

#[test]
fn slices_of_packets_are_copied_before_they_pin_much() {
    let mut receiver = receiver(false);
    let packet = Bytes::from(vec![7; 1200]);
    for tsn in 1..=200u32 {
        let payload = packet.slice(16..17);
        let chunk = DataChunk { ending: true, payload, ..chunk(tsn, 0, tsn - 1, 0, 1) };
        receiver.on_data(&borrowed(&chunk), 16).unwrap();
        receiver.end_of_packet(now(), packet.clone());
    }
    let shares = |data: &Bytes| packet.as_ptr_range().contains(&data.as_ptr());
    let mut pinned = 0;
    while let Some(event) = receiver.poll_event() {
        let Event::Message { data, .. } = event else { panic!("{event:?}") };
        assert_eq!(data[..], [7]);
        pinned += usize::from(shares(&data));
    }
    assert!(pinned <= 64, "{pinned}");
    assert_eq!(receiver.held(), 0);
}

#[test]
fn the_delay_of_acknowledgements_is_the_one_that_was_set() {
    // RFC 9260 §6.2.
    for delay in [0, 50, 500].map(Duration::from_millis) {
        let mut receiver = receiver(false);
        receiver.tracker = Tracker::new(delay);
        receiver.start(Serial32(1), false);
        let start = now();
        let chunk = DataChunk { ending: true, ..chunk(1, 0, 0, 0, 10) };
        receiver.on_data(&borrowed(&chunk), 0).unwrap();
        receiver.end_of_packet(start, chunk.payload);
        assert_eq!(receiver.is_sack_due(), delay.is_zero());
        assert_eq!(receiver.next_timeout(), (!delay.is_zero()).then(|| start + delay));
    }
}
