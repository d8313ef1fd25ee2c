//! What holds for every codec, however its layers and the network are.

use proptest::prelude::*;

use super::encoder::Record;
use super::*;

fn layer(encoding: u8, spatial: u8, temporal: u8) -> Option<Layer> {
    Some(Layer { encoding, spatial, temporal })
}

/// The records of the last `ticks` pictures of encoding `encoding`.
fn latest(records: &[(u32, Record)], from: u32) -> Vec<&Record> {
    records.iter().map(|(_, record)| record).filter(|record| record.name.picture >= from).collect()
}

#[test]
fn a_viewer_gets_all_layers_of_what_it_wants() {
    for kind in KINDS {
        let mut flow = Flow::new(kind, 3, 1, Network::default());
        flow.add_viewer(vec![(0, Some(Layer::all_of(2)))]);
        flow.run(100);
        let decoded = flow.check();
        // The first picture of each encoding is a key frame; in between, a lower one fills in.
        let top = decoded[0].iter().filter(|(_, record)| record.name.spatial + 1 == kind.spatial());
        assert!(top.count() >= 99, "{kind:?}");
        assert!(latest(&decoded[0], 50).iter().all(|record| record.name.encoding == 2));
    }
}

#[test]
fn layers_go_down_and_up_without_holes() {
    for kind in KINDS {
        let (spatial, temporal) = (kind.spatial() - 1, kind.temporal() - 1);
        let mut flow = Flow::new(kind, 3, 2, Network::default());
        flow.add_viewer(vec![
            (0, layer(2, spatial, temporal)),
            (40, layer(2, spatial, 0)),
            (80, layer(2, spatial, temporal)),
            (120, layer(2, 0, temporal)),
            (160, layer(2, spatial, temporal)),
            (200, layer(0, 0, 0)),
            (240, layer(1, spatial, temporal)),
        ]);
        flow.run(300);
        let decoded = &flow.check()[0];
        let within = |from: u32, to: u32| {
            let records = decoded.iter().map(|(_, record)| record);
            let part = records.filter(move |r| (from..to).contains(&r.name.picture));
            part.fold((0, 0, 0), |(e, s, t), r| {
                (r.name.encoding.max(e), r.name.spatial.max(s), r.temporal.max(t))
            })
        };
        assert_eq!(within(10, 40), (2, spatial, temporal), "{kind:?}");
        assert_eq!(within(52, 80), (2, spatial, 0), "{kind:?}");
        assert_eq!(within(100, 120), (2, spatial, temporal), "{kind:?}");
        assert_eq!(within(135, 160), (2, 0, temporal), "{kind:?}");
        assert_eq!(within(180, 200), (2, spatial, temporal), "{kind:?}");
        assert_eq!(within(220, 240), (0, 0, 0), "{kind:?}");
        assert_eq!(within(265, 300), (1, spatial, temporal), "{kind:?}");
    }
}

#[test]
fn a_pause_ends_with_a_picture_and_a_key_frame_ends_it() {
    for kind in KINDS {
        let mut flow = Flow::new(kind, 2, 3, Network::default());
        let all = Some(Layer::all_of(1));
        flow.add_viewer(vec![(0, all), (30, None), (60, all), (90, None), (95, Some(Layer::all_of(0)))]);
        flow.run(60);
        assert_eq!(flow.viewers[0].viewer.key_frame_needed(), None, "{kind:?}: nobody waits in a pause");
        assert_eq!(flow.viewers[0].viewer.forwarded_layer(), None);
        flow.run(60);
        let decoded = &flow.check()[0];
        assert!(decoded.iter().all(|(_, record)| !(30..60).contains(&record.name.picture)), "{kind:?}");
        assert!(latest(decoded, 110).len() >= 10, "{kind:?}");
    }
}

#[test]
fn an_encoding_that_starts_anew_is_taken_up_at_its_key_frame() {
    let kind = Kind::Vp8 { temporal: 1 };
    let mut flow = Flow::new(kind, 1, 4, Network::default());
    flow.add_viewer(vec![(0, Some(Layer::all_of(0)))]);
    flow.run(20);
    flow.restart(99);
    flow.run(20);
    let got = flow.viewers[0].got.len();
    assert!(got > 60, "{got}");
    let numbers: Vec<_> = flow.viewers[0].got.keys().collect();
    assert_eq!(*numbers[numbers.len() - 1] - *numbers[0] + 1, numbers.len() as u64);
}

#[test]
fn probes_are_dropped_without_a_hole() {
    let now = crate::time::some_instant();
    let mut source = Source::new(crate::payload::Codec::Vp8);
    let mut viewer = Viewer::new(90_000, Start::default());
    viewer.set_wanted(Some(Layer::all_of(0)));
    let packet = |sequence, payload| Arrived {
        encoding: 0,
        sequence,
        timestamp: sequence as u32 * 3000,
        marker: true,
        payload,
        dependency: None,
        received: now,
    };
    let key: &[u8] = &[0x10, 0, 1];
    let mut give =
        |sequence, payload| match viewer.handle_packet(&source.read(packet(sequence, payload)).unwrap()) {
            Verdict::Forward(rewrite) => Some((rewrite.sequence, true)),
            Verdict::Fill { sequence, .. } => Some((sequence, false)),
            Verdict::Drop => None,
        };
    assert_eq!(give(100, key), Some((0, true)));
    assert_eq!(give(101, &[]), None);
    assert_eq!(give(102, key), Some((1, true)));
    // 103 and 104 are missing; one of them turns out to be a probe.
    assert_eq!(give(105, key), Some((4, true)));
    assert_eq!(give(103, &[]), Some((2, false)));
    assert_eq!(give(104, key), Some((3, true)));
    // Once is enough.
    assert_eq!(give(104, key), None);
    assert_eq!(give(103, &[]), None);
}

#[test]
fn a_picture_that_a_change_cuts_off_leaves_one_number_free() {
    let now = crate::time::some_instant();
    let mut source = Source::new(crate::payload::Codec::Vp8);
    let mut viewer = Viewer::new(90_000, Start::default());
    let packet = |encoding, sequence, marker, payload| Arrived {
        encoding,
        sequence,
        timestamp: 0,
        marker,
        payload,
        dependency: None,
        received: now,
    };
    let mut numbers = Vec::new();
    viewer.set_wanted(Some(Layer::all_of(0)));
    for (encoding, sequence, marker, payload) in [
        (0, 10, false, &[0x10, 0, 1][..]),
        (1, 50, true, &[0x10, 0, 1]),
        // The rest of the picture has no number.
        (0, 11, true, &[0x00, 0, 1]),
        (1, 51, true, &[0x10, 1, 1]),
    ] {
        let incoming = source.read(packet(encoding, sequence, marker, payload)).unwrap();
        if let Verdict::Forward(rewrite) = viewer.handle_packet(&incoming) {
            numbers.push((encoding, rewrite.sequence));
        }
        viewer.set_wanted(Some(Layer::all_of(1)));
    }
    assert_eq!(numbers, [(0, 0), (1, 2), (1, 3)]);
}

#[test]
fn a_long_silence_leaves_one_number_free_and_no_more() {
    let now = crate::time::some_instant();
    let mut source = Source::new(crate::payload::Codec::Opus);
    let mut viewer = Viewer::new(48_000, Start::default());
    viewer.set_wanted(Some(Layer::all_of(0)));
    let mut give = |sequence| {
        let arrived = Arrived {
            encoding: 0,
            sequence,
            timestamp: sequence as u32 * 960,
            marker: false,
            payload: b"x",
            dependency: None,
            received: now,
        };
        match viewer.handle_packet(&source.read(arrived).unwrap()) {
            Verdict::Forward(rewrite) => Some(rewrite.sequence),
            _ => None,
        }
    };
    assert_eq!(
        [give(10), give(1_011), give(100_000), give(100_001)],
        [Some(0), Some(1_001), Some(1_003), Some(1_004)]
    );
    assert_eq!(give(99_999), None);
    assert_eq!(give(1_010), Some(1_000));
}

fn wishes(kind: Kind) -> impl Strategy<Value = Vec<(u64, Option<Layer>)>> {
    let (spatial, temporal) = (kind.spatial(), kind.temporal());
    let wish = prop::option::weighted(0.9, (0..3u8, 0..spatial, 0..temporal));
    prop::collection::vec((0u64..150, wish), 0..10).prop_map(move |wishes| {
        let to_layer = |(encoding, spatial, temporal)| Layer { encoding, spatial, temporal };
        let mut all: Vec<_> = wishes.into_iter().map(|(at, wish)| (at, wish.map(to_layer))).collect();
        // Everybody starts with something, and ends with everything.
        all.push((0, layer(0, spatial - 1, 0)));
        all.sort();
        all.push((150, Some(Layer::all_of(2))));
        all
    })
}

/// When a viewer asks for which layer, in order.
type Wishes = Vec<(u64, Option<Layer>)>;

fn kind_and_wishes() -> impl Strategy<Value = (Kind, Vec<Wishes>)> {
    (0..KINDS.len()).prop_flat_map(|at| (Just(KINDS[at]), prop::collection::vec(wishes(KINDS[at]), 1..4)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn without_loss_every_viewer_gets_a_stream_without_holes((kind, wishes) in kind_and_wishes(), seed: u32) {
        let mut flow = Flow::new(kind, 3, seed, Network::default());
        wishes.into_iter().for_each(|wishes| flow.add_viewer(wishes));
        flow.run(220);
        for decoded in flow.check() {
            let last = latest(&decoded, 200);
            prop_assert!(last.iter().all(|record| record.name.encoding == 2), "{:?}", kind);
            let top = last.iter().filter(|record| record.name.spatial + 1 == kind.spatial());
            prop_assert_eq!(top.count(), 20, "{:?}", kind);
        }
    }

    #[test]
    fn loss_and_reordering_become_the_same_holes(
        (kind, wishes) in kind_and_wishes(),
        seed: u32,
        lost in 0u32..12,
        resent in 0u32..=100,
        reordered in 0u32..10,
        doubled in 0u32..5,
    ) {
        let mut flow = Flow::new(kind, 3, seed, Network { lost, resent, reordered, doubled });
        wishes.into_iter().for_each(|wishes| flow.add_viewer(wishes));
        flow.run(250);
        flow.end();
        flow.check();
    }

    #[test]
    fn any_bytes_are_refused_or_forwarded(
        codec in prop::sample::select(&crate::payload::Codec::ALL[..]),
        packets in prop::collection::vec(
            (0u8..5, any::<u16>(), any::<u32>(), any::<bool>(),
             prop::collection::vec(any::<u8>(), 0..40),
             prop::option::of(prop::collection::vec(any::<u8>(), 0..60)),
             any::<Option<(u8, u8, u8)>>()),
            0..60,
        ),
    ) {
        let mut source = Source::new(codec);
        let mut viewer = Viewer::new(90_000, Start::default());
        let mut used = std::collections::BTreeSet::new();
        let now = crate::time::some_instant();
        for (encoding, sequence, timestamp, marker, payload, dependency, wish) in packets {
            if let Some((encoding, spatial, temporal)) = wish {
                viewer.set_wanted(layer(encoding % 4, spatial, temporal));
            }
            let arrived = Arrived {
                encoding,
                sequence: u64::from(sequence),
                timestamp,
                marker,
                payload: &payload,
                dependency: dependency.as_deref(),
                received: now,
            };
            let Ok(incoming) = source.read(arrived) else { continue };
            match viewer.handle_packet(&incoming) {
                Verdict::Drop => {}
                Verdict::Fill { sequence, .. } => prop_assert!(used.insert(sequence)),
                Verdict::Forward(rewrite) => {
                    prop_assert!(used.insert(rewrite.sequence));
                    let mut copy = payload.clone();
                    rewrite.numbers.apply(&mut copy);
                    prop_assert_eq!(copy.len(), payload.len());
                    // At most a mask of 32 decode targets and the flags that announce it are added.
                    let before = dependency.as_ref().map_or(0, Vec::len);
                    prop_assert!(rewrite.dependency.is_none_or(|data| data.len() <= before + 5));
                }
            }
        }
    }
}
