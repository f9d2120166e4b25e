//! iperf3 over TAP with and without offloads, beside the kernel over veth and other stacks in user space.

use crate::options::Options;
use crate::path::{Kind, NEAR, Path};
use crate::programs::{self, Skip};
use crate::report::{Better, Row, Stat, Table};
use crate::smol_tap;
use crate::tcp::{Dir, PORT, Runs, once};

/// Ours first; each is shown beside each of the others that it is fair to compare it with.
const OURS: [(Kind, &[Kind]); 4] = [
    (Kind::Tap, &[Kind::Veth, Kind::Gvisor, Kind::Slirp]),
    (Kind::TapPlain, &[Kind::Smoltcp, Kind::KernelTap, Kind::Slirp]),
    (Kind::Afp, &[Kind::Veth, Kind::VethPlain]),
    (Kind::AfpPlain, &[Kind::VethPlain]),
];

pub fn measure(o: &Options) -> Result<Table, Skip> {
    programs::need(&["ip", "ethtool", "iperf3", "python3", "taskset"])?;
    let mut kinds = vec![Kind::Tap, Kind::TapPlain, Kind::Veth, Kind::KernelTap, Kind::Smoltcp];
    kinds.extend([Kind::Afp, Kind::AfpPlain, Kind::VethPlain]);
    let mut without = Vec::new();
    for (k, program) in [(Kind::Gvisor, "runsc"), (Kind::Slirp, "slirp4netns")] {
        match programs::find(program) {
            Some(_) => kinds.push(k),
            None => without.push(format!("not measured: {} ({program} is not installed)", k.name())),
        }
    }
    let mut paths: Vec<Path> = kinds.iter().map(|k| Path::new(*k, o)).collect();
    for p in &mut paths {
        if p.kind.ours() {
            let echo = programs::echo_server(p);
            programs::verify(p, &echo, 16 << 20);
        }
        if p.kind != Kind::Smoltcp {
            p.serve(&p.far_line(&format!("iperf3 -s -p {PORT}")));
        }
    }
    let mut rows = Vec::new();
    for (dir, what) in [(Dir::Send, "sends"), (Dir::Receive, "receives")] {
        let mut runs: Vec<Runs> = kinds.iter().map(|_| Runs::default()).collect();
        // Taken in turns, so that a disturbance of the machine meets all.
        for _ in 0..o.runs {
            for (p, r) in paths.iter().zip(&mut runs) {
                match p.kind {
                    Kind::Smoltcp => smoltcp(p, dir, o.seconds, r),
                    _ => once(p, dir, o.seconds, r),
                }
            }
        }
        let of = |k: Kind| kinds.iter().position(|x| *x == k).map(|i| &runs[i]);
        for (ours, peers) in OURS {
            let Some(r) = of(ours) else { continue };
            let mut note = format!(
                "io-pkt: {:.0}% of a core, {:.0} ns/KiB, {:.1} switches/MiB",
                Stat::new(r.core.clone()).median() * 100.0,
                Stat::new(r.ns_per_kib.clone()).median(),
                Stat::new(r.switches.clone()).median()
            );
            for k in peers {
                let Some(peer) = of(*k) else { continue };
                let what = format!("{} {what}", ours.name());
                let row =
                    Row::beside(what, Stat::new(r.gbit.clone()), k.name(), Stat::new(peer.gbit.clone()));
                rows.push(row.note(std::mem::take(&mut note)));
            }
        }
    }
    let mut conditions = vec![
        format!("{} s a run, {} runs taken in turns, median (min..max)", o.seconds, o.runs),
        "MTU 1500 on every link but slirp4netns's TAP (65520, as its manual advises); veth with the kernel's offloads but where it says otherwise".into(),
        "iperf3 unmodified, 128 KiB writes; smoltcp as in its benchmark: the application in its own process, buffers of 64 KiB".into(),
        o.pin.words("the stack (io-pkt, runsc, slirp4netns, smoltcp, the carrier of frames)"),
        "before: 16 MiB of random bytes echoed over ours, SHA-256 compared".into(),
    ];
    conditions.append(&mut without);
    Ok(Table {
        title: "iperf3, one TCP connection, TAP with and without offloads".into(),
        unit: "Gbit/s",
        better: Better::Higher,
        conditions,
        rows,
    })
}

fn smoltcp(p: &Path, dir: Dir, seconds: u64, r: &mut Runs) {
    let me = std::env::current_exe().expect("path of this program");
    let port = match dir {
        Dir::Send => smol_tap::SENDS,
        Dir::Receive => smol_tap::RECEIVES,
    };
    let line = format!("{} {} {NEAR} {port} {seconds}", me.display(), smol_tap::CLIENT);
    let out = p.run(&p.far_line(&line));
    r.gbit.push(out.trim().parse().unwrap_or_else(|e| panic!("smoltcp's client printed {out:?}: {e}")));
}
