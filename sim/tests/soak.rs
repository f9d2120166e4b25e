//! Long runs: connections by the thousand, one after the other and all at once. Nothing grows.
//!
//! `IO_PKT_LONG=1` makes it a million rounds and 200,000 idle connections; docs/robustness.md has the figures.

use iopkt_base::Duration;
use iopkt_sim::{Faults, World, sa};
use iopkt_stack::Config;
use iopkt_stack::sockets::SockId;
use std::sync::{Mutex, PoisonError};

/// Resident memory is the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn is_long() -> bool {
    std::env::var_os("IO_PKT_LONG").is_some()
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_whitespace().nth(1).and_then(|w| w.parse().ok()).unwrap_or(0);
    pages * 4096
}

fn accept(w: &mut World, l: SockId) -> Option<SockId> {
    let s = &mut w.hosts[1].shard;
    s.sockets.accept(&mut s.cx, l).ok().map(|x| x.0)
}

fn write(w: &mut World, h: usize, id: SockId, b: &[u8]) {
    let s = &mut w.hosts[h].shard;
    assert_eq!(s.sockets.write(&mut s.cx, id, b), Ok(b.len()));
}

/// Reads what is there.
fn read(w: &mut World, h: usize, id: SockId) -> usize {
    let s = &mut w.hosts[h].shard;
    let mut v: [&[u8]; 8] = [&[]; 8];
    let n = s.sockets.peek(id, &mut v).map_or(0, |k| v[..k].iter().map(|x| x.len()).sum());
    s.sockets.consume(&mut s.cx, id, n);
    n
}

/// What a host holds: sockets, connections without a program, ports, buffers, timers' and other tables by way of memory.
fn held(w: &World) -> [u64; 4] {
    let h = &w.hosts[0];
    let all = h.shard.sockets.stats();
    let of = |text: &str| all.iter().find(|c| c.text == text).expect("a counter of this text").value;
    [
        h.shard.sockets.len() as u64,
        of("{} connections without a process"),
        of("{} ports in use"),
        h.pool.stats().clusters as u64,
    ]
}

/// A request and an answer, the server closing first or the client.
fn round(w: &mut World, l: SockId, i: u64) {
    let a = w.hosts[0].connect(sa(2, 80));
    let mut b = None;
    assert!(w.run(Duration::from_secs(5), |w| {
        b = b.or_else(|| accept(w, l));
        b.is_some()
    }));
    let b = b.expect("accepted");
    let ask = vec![7; 1 + (i % 700) as usize];
    write(w, 0, a, &ask);
    let mut got = 0;
    assert!(w.run(Duration::from_secs(5), |w| {
        got += read(w, 1, b);
        got == ask.len()
    }));
    write(w, 1, b, &[8; 64]);
    let mut got = 0;
    assert!(w.run(Duration::from_secs(5), |w| {
        got += read(w, 0, a);
        got == 64
    }));
    let mut ends = [(0, a), (1, b)];
    // The client has the TIME-WAIT, or the server.
    ends.rotate_left((i & 1) as usize);
    for (h, id) in ends {
        w.hosts[h].close(id);
        w.pass(Duration::from_millis(1));
    }
    forget(w);
}

/// What the stack tells its owner is not taken by anybody here.
fn forget(w: &mut World) {
    for h in &mut w.hosts {
        h.shard.cx.events.clear();
        h.shard.cx.notes.clear();
    }
}

#[test]
fn rounds_of_connections_leave_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let rounds: u64 = if is_long() { 1_000_000 } else { 20_000 };
    let mut w = World::with(
        2,
        1,
        Faults { delay: Duration::from_micros(50), ..Faults::default() },
        &Config::default(),
    );
    w.pcap.stop();
    let l = w.hosts[1].listen(80);
    let mut at = None;
    let (mut most, mut start) = ([0; 4], w.now);
    for i in 0..rounds {
        round(&mut w, l, i);
        let now = held(&w);
        // TIME-WAITs last a minute of virtual time; after two of them the tables have the size that they keep.
        if i == rounds / 4 {
            at = Some((resident(), most));
            start = w.now;
        }
        if i < rounds / 4 {
            for (m, n) in most.iter_mut().zip(now) {
                *m = (*m).max(n);
            }
        } else {
            assert!(
                now.iter().zip(most).all(|(n, m)| *n <= m + m / 10 + 8),
                "round {i}: {now:?} of at most {most:?}"
            );
        }
        // A program does not connect as fast as it can for ever; a pause lets TIME-WAITs end.
        if i % 256 == 0 {
            w.pass(Duration::from_secs(2));
        }
    }
    let (before, held_then) = at.expect("rounds");
    let grown = resident().saturating_sub(before);
    println!(
        "{rounds} rounds, the last {} in {:?} of virtual time: resident {} KiB, grown by {} KiB; sockets, orphans, ports, clusters {:?}, at most {held_then:?}",
        rounds - rounds / 4,
        w.now.since(start),
        resident() >> 10,
        grown >> 10,
        held(&w)
    );
    assert!(grown < 4 << 20, "grown by {grown} bytes");
    w.hosts[1].close(l);
    w.pass(Duration::from_secs(600));
    w.check();
    assert!(w.hosts.iter().all(|h| h.shard.sockets.is_empty()));
    w.end();
}

#[test]
fn idle_connections_cost_memory_and_nothing_else() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let count: usize = if is_long() { 200_000 } else { 2_000 };
    let cfg = Config { max_sockets: 2 * count + 100, ..Config::default() };
    let mut w = World::with(2, 1, Faults { delay: Duration::from_micros(50), ..Faults::default() }, &cfg);
    w.pcap.stop();
    // A port of a client can have 64,511 connections to one port of a server.
    let listeners: Vec<SockId> =
        (0..count.div_ceil(10_000)).map(|i| w.hosts[1].listen(80 + i as u16)).collect();
    let before = resident();
    let mut ends = Vec::new();
    for i in 0..count {
        let n = i % listeners.len();
        let a = w.hosts[0].connect(sa(2, 80 + n as u16));
        let s = &mut w.hosts[0].shard;
        s.sockets.setsockopt(&mut s.cx, &mut s.net, a, 1, 9, &1i32.to_ne_bytes()).expect("SO_KEEPALIVE");
        let mut b = None;
        assert!(w.run(Duration::from_secs(5), |w| {
            b = b.or_else(|| accept(w, listeners[n]));
            b.is_some()
        }));
        let b = b.expect("accepted");
        // Each has been used, and its buffers are given back when it is idle.
        write(&mut w, 0, a, &[1; 100]);
        ends.push((a, b));
        if i % 64 == 63 {
            w.pass(Duration::from_millis(1));
            ends[i - 63..].iter().for_each(|e| assert_eq!(read(&mut w, 1, e.1), 100));
            forget(&mut w);
        }
    }
    w.pass(Duration::from_secs(30));
    ends[count / 64 * 64..].iter().for_each(|e| assert_eq!(read(&mut w, 1, e.1), 100));
    let each = resident().saturating_sub(before) / (2 * count as u64);
    // Three hours: a keepalive after two, its answer, and nothing more.
    let frames = w.frames;
    w.pass(Duration::from_secs(3 * 3600));
    let sent = w.frames - frames;
    println!("{count} idle connections, both ends here: {each} bytes an end; {sent} frames in three hours");
    assert!(each < 4096, "{each} bytes an end");
    assert!((2 * count as u64..3 * count as u64).contains(&sent), "{sent} frames for {count} keepalives");
    assert_eq!(w.hosts[0].shard.sockets.len(), count);
    for (a, b) in ends {
        w.hosts[0].close(a);
        w.hosts[1].close(b);
        // Orphans are bounded, so not all at once.
        if a.index % 64 == 0 {
            w.pass(Duration::from_millis(1));
        }
    }
    listeners.iter().for_each(|l| w.hosts[1].close(*l));
    w.pass(Duration::from_secs(600));
    assert!(w.hosts.iter().all(|h| h.shard.sockets.is_empty()));
    w.end();
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    iopkt_sim::family::again(&[], &[]);
}
