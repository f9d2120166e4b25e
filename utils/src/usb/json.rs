//! `usb --json`: all that is known of a device.

use super::decode::{class_name, hex, parent, ports, product, speed_name, transfer_name, vendor};
use super::ids::Names;
use super::stack::Device;
use iopkt_usbip::desc;
use serde_json::{Value, json};

/// A device.
pub fn device(d: &Device, all: &[Device], names: &Names) -> Value {
    let (i, x) = (&d.info, &d.description);
    let serial = x.device().and_then(|v| x.string(v.serial_str));
    json!({
        "bus": i.busnum, "address": i.devnum, "busid": i.busid, "path": i.path,
        "upstream_address": parent(d, all).map_or(0, |p| p.info.devnum),
        "upstream_port": ports(&i.busid).1.parse::<u32>().ok(),
        "speed": speed_name(i.speed),
        "vendor": i.vendor, "product": i.product, "release": i.release,
        "manufacturer": vendor(d, names), "product_name": product(d, names), "serial": serial,
        "class": i.class, "class_name": class_name(i.class[0]),
        "max_packet0": x.device().map(|v| v.max_packet0),
        "configuration": i.config, "configurations": i.configs, "interfaces": i.interfaces,
        "descriptors": x.configs().filter_map(configuration).collect::<Vec<_>>(),
    })
}

fn configuration(bytes: &[u8]) -> Option<Value> {
    let c = desc::Config::parse(bytes)?;
    Some(json!({
        "configuration": c.value, "attributes": c.attributes, "self_powered": c.attributes & 0x40 != 0,
        "max_power_ma": u32::from(c.max_power) * 2,
        "settings": desc::settings(bytes).map(|s| setting(&s)).collect::<Vec<_>>(),
    }))
}

fn setting(s: &desc::Setting<'_>) -> Value {
    let n = s.interface;
    let endpoint = |e: desc::Endpoint| {
        json!({
            "endpoint": e.number(), "address": e.addr, "direction": if e.is_in() { "in" } else { "out" },
            "type": transfer_name(&e).to_lowercase(), "max_packet": e.max_packet(), "interval": e.interval,
        })
    };
    let other = desc::iter(s.body).filter(|b| desc::Endpoint::parse(b).is_none());
    json!({
        "interface": n.number, "alternate": n.alt, "class": [n.class, n.subclass, n.protocol],
        "class_name": class_name(n.class),
        "endpoints": s.endpoints().map(endpoint).collect::<Vec<_>>(),
        "functional": other.map(hex).collect::<Vec<_>>(),
    })
}
