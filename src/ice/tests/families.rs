//! IPv6 and IPv4 side by side (RFC 8421).

use super::*;

/// A dual-stack network: both ends have so many addresses of each family, IPv4 first.
fn dual_stack(seed: u64, v6: u16, v4: u16) -> Net {
    let mut net = Net::new(seed);
    for peer in 0..2 {
        let side = ['a', 'b'][peer];
        for n in 1..=v4 {
            net.add_local(peer, host(&format!("10.{peer}.0.{n}:1000")));
        }
        for n in 1..=v6 {
            net.add_local(peer, host(&format!("[2001:db8:{side}::{n}]:1000")));
        }
    }
    net
}

/// Nothing arrives at any address of a family.
fn break_family(net: &mut Net, is_broken: impl Fn(&SocketAddr) -> bool) {
    let all: Vec<_> = net.owners.iter().map(|(address, _)| *address).filter(is_broken).collect();
    net.dead.extend(all);
}

#[test]
fn families_take_turns_whatever_the_order_they_come_in() {
    // RFC 8421 §4: IPv4 is present after a short run of IPv6, and the other way round.
    for (v6, v4, expected) in
        [(2, 6, "64644444"), (6, 2, "64646666"), (3, 3, "646464"), (0, 2, "44"), (1, 0, "6")]
    {
        for v4_first in [true, false] {
            let mut net = Net::new(1);
            let add = |net: &mut Net, is_v6: bool, n: u16| {
                let text = if is_v6 { format!("[2001:db8::{n}]:1000") } else { format!("10.0.0.{n}:1000") };
                net.add_local(0, host(&text));
            };
            for (is_v6, count) in if v4_first { [(false, v4), (true, v6)] } else { [(true, v6), (false, v4)] }
            {
                (1..=count).for_each(|n| add(&mut net, is_v6, n));
            }
            let mut candidates: Vec<_> =
                net.peers[0].agent.local_candidates().map(|(_, candidate)| candidate.clone()).collect();
            candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority()));
            let family =
                |candidate: &Candidate| if candidate.socket_address().unwrap().is_ipv6() { '6' } else { '4' };
            assert_eq!(candidates.iter().map(family).collect::<String>(), expected, "IPv4 first: {v4_first}");
        }
    }
}

#[test]
fn pairs_take_turns_too() {
    // RFC 8445 §6.1.2.3 has the lower priority of both ends count, so that the turns of the candidates are kept.
    let mut net = dual_stack(2, 3, 3);
    net.signal();
    for peer in &net.peers {
        let first: Vec<_> = peer.agent.pairs().take(2).map(|pair| pair.remote.is_ipv6()).collect();
        assert_eq!(first, [true, false]);
        let families: Vec<_> = peer.agent.pairs().map(|pair| pair.remote.is_ipv6()).collect();
        assert_eq!(families.len(), 18);
        let longest = families.chunk_by(|a, b| a == b).map(<[bool]>::len).max();
        // Of three addresses each, the n-th makes 2n - 1 pairs with those before it.
        assert_eq!(longest, Some(5));
    }
}

#[test]
fn ipv6_is_selected_where_both_work() {
    for seed in 0..10 {
        let mut net = dual_stack(seed, 1, 1);
        net.signal();
        assert_eq!(net.run_until(SECOND, Net::both_are_complete), 200 * MS);
        assert!(net.peers[0].agent.send_path().unwrap().remote.is_ipv6() && net.paths_agree());
    }
}

#[test]
fn broken_ipv6_costs_one_interval() {
    // However many addresses it has.
    for seed in 0..10 {
        for v6 in [1, 4] {
            let mut net = dual_stack(seed, v6, 1);
            break_family(&mut net, SocketAddr::is_ipv6);
            net.signal();
            // The second check of either end is the one that arrives.
            assert_eq!(net.run_until(SECOND, Net::both_have_paths), 150 * MS, "{v6} addresses");
            // Better pairs get three round trips, and then the nomination takes one.
            assert!(net.run_until(2 * SECOND, Net::both_are_complete) <= 600 * MS, "{v6} addresses");
            assert!(net.peers[0].agent.send_path().unwrap().remote.is_ipv4() && net.paths_agree());
        }
    }
}

#[test]
fn broken_ipv4_costs_nothing() {
    for seed in 0..10 {
        let mut net = dual_stack(seed, 1, 4);
        break_family(&mut net, SocketAddr::is_ipv4);
        net.signal();
        assert_eq!(net.run_until(SECOND, Net::both_are_complete), 200 * MS);
        assert!(net.peers[0].agent.send_path().unwrap().remote.is_ipv6() && net.paths_agree());
    }
}
