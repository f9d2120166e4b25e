//! `usb -t`: what hangs on what.

use super::decode::{class_name, controller, parent, ports, product, speed_name, vendor};
use super::ids::Names;
use super::stack::Device;
use std::fmt::Write;

/// One line a device, indented below its hub or bus. A device whose hub is not shown hangs on the bus.
pub fn tree(shown: &[&Device], all: &[Device], names: &Names, more: bool) -> String {
    let mut o = String::new();
    let mut buses: Vec<u32> = shown.iter().map(|d| d.info.busnum).collect();
    buses.sort_unstable();
    buses.dedup();
    for bus in buses {
        let here: Vec<&Device> = shown.iter().copied().filter(|d| d.info.busnum == bus).collect();
        let _ = writeln!(o, "USB {bus} ({})", here.first().map(|d| controller(d)).unwrap_or_default());
        let up = |d: &Device| {
            parent(d, all).map(|p| p.info.busid.clone()).filter(|b| here.iter().any(|h| h.info.busid == *b))
        };
        let mut roots: Vec<&Device> = here.iter().copied().filter(|d| up(d).is_none()).collect();
        roots.sort_by_key(|d| key(d));
        for d in roots {
            branch(&mut o, d, &here, &up, names, more, 1);
        }
    }
    if shown.is_empty() {
        o.push_str("no devices\n");
    }
    o
}

/// Ports as numbers, so that 10 comes behind 2.
fn key(d: &Device) -> Vec<u32> {
    ports(&d.info.busid).0.split('.').map(|p| p.parse().unwrap_or(u32::MAX)).collect()
}

fn branch(
    o: &mut String,
    d: &Device,
    here: &[&Device],
    up: &dyn Fn(&Device) -> Option<String>,
    names: &Names,
    more: bool,
    depth: usize,
) {
    let i = &d.info;
    let name = [vendor(d, names).filter(|_| more), product(d, names)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ");
    let _ = writeln!(
        o,
        "{:indent$}+- {} {:04x}:{:04x} port {}, {} speed, {}{}{name}",
        "",
        i.devnum,
        i.vendor,
        i.product,
        ports(&i.busid).1,
        speed_name(i.speed),
        class_name(i.class[0]),
        if name.is_empty() { "" } else { ", " },
        indent = depth * 2,
    );
    // Sixteen hubs behind each other cannot be: USB allows five.
    let mut below: Vec<&Device> =
        here.iter().copied().filter(|x| depth < 16 && up(x).as_ref() == Some(&i.busid)).collect();
    below.sort_by_key(|d| key(d));
    for x in below {
        branch(o, x, here, up, names, more, depth + 1);
    }
}
