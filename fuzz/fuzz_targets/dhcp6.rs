//! Any answers at any times to a DHCPv6 client: no panic, its deadlines come, and what it was given is within bounds.
//! The input is a byte of settings, then messages: seconds until then, kind, length, options. Transaction numbers are the client's.
#![no_main]

use iopkt_autoconf::dhcp6::{Action6, Client6, Config6};
use iopkt_base::{Duration, Instant, Rng};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((how, mut rest)) = data.split_first() else { return };
    let cfg = Config6 {
        duid: vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 1],
        iaid: 7,
        addresses: u32::from(how & 1) * 2,
        prefixes: if how & 2 != 0 { vec![how >> 2 & 0x1f, 0] } else { Vec::new() },
        rapid: how & 0x80 != 0,
    };
    let mut now = Instant::from_millis(1000);
    let mut c = Client6::new(cfg, Rng::new(7), now);
    let mut xid = [0; 3];
    for _ in 0..64 {
        c.tick(now);
        while let Some(a) = c.next() {
            if let Action6::Send(m) = a {
                assert!((4..=4096).contains(&m.len()), "{} bytes", m.len());
                xid.copy_from_slice(&m[1..4]);
            }
        }
        assert!(c.deadline() > now, "it would be asked again and again");
        let [secs, kind, len, more @ ..] = rest else { break };
        now = now + Duration::from_secs(u64::from(*secs) * u64::from(*secs));
        let (options, next) = more.split_at(usize::from(*len).min(more.len()));
        rest = next;
        match kind {
            0xfe => c.release(now),
            0xff => {
                let taken: Vec<_> =
                    c.lease().iter().flat_map(|l| l.addrs.iter().take(1)).map(|g| g.addr).collect();
                c.decline(now, &taken);
            }
            0xfd => c.link_up(now),
            k => c.input(now, &[&[k % 16, xid[0], xid[1], xid[2]], options].concat()),
        }
        if let Some(l) = c.lease() {
            assert!(l.addrs.len() + l.prefixes.len() <= 64, "{l:?}");
        }
    }
});
