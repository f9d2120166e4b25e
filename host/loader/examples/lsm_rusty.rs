//! A stack module in Rust for the tests: hears frames of type 0x88b6 on one interface and answers each from its own
//! address; can panic where it is told to.

use iopkt_sdk::{Addr, Changed, Fail, Mbuf, Module, Options, Stack, iopkt_module};

const TYPE: u16 = 0x88b6;

struct Rusty {
    mac: [u8; 6],
    index: u32,
    panic: String,
}

impl Rusty {
    fn trip(&self, place: &str) {
        assert!(self.panic != place, "told to panic in {place}");
    }
}

impl Module for Rusty {
    fn load(stack: &Stack<'_>, options: &Options) -> Result<Self, Fail> {
        let name = options.get("if").unwrap_or("en0");
        let i =
            stack.interface(name).map_err(|f| Fail::new(f.errno, format!("if={name}: {f}; name another")))?;
        let m = Rusty { mac: i.mac, index: i.index, panic: options.get("panic").unwrap_or("").into() };
        m.trip("load");
        stack.listen(i.index, TYPE)?;
        stack.set_addr(i.index, &Addr::new([10, 9, 8, 7], 24))?;
        stack.timer(Some(stack.now()));
        Ok(m)
    }

    fn timer(&mut self, stack: &Stack<'_>, _now: u64) {
        self.trip("timer");
        let all = stack.interfaces().unwrap_or_default();
        let names: Vec<_> = all.iter().map(|i| format!("{} {:?}", i.name, i.addrs)).collect();
        stack.info(&format!("interfaces: {}", names.join("; ")));
    }

    fn input(&mut self, stack: &Stack<'_>, mut frame: Mbuf) {
        self.trip("input");
        let from = frame.ifindex();
        let f = frame.as_mut_slice();
        f.copy_within(6..12, 0);
        f[6..12].copy_from_slice(&self.mac);
        if let Err(e) = stack.output(from, frame) {
            stack.warn(&format!("output: {e}"));
        }
    }

    fn changed(&mut self, stack: &Stack<'_>, ifindex: u32, what: Changed) {
        self.trip("changed");
        stack.info(&format!("interface {ifindex}: {what:?}"));
    }

    fn unload(&mut self, stack: &Stack<'_>) {
        self.trip("unload");
        let r = stack.del_addr(self.index, [10, 9, 8, 7].into());
        stack.info(&format!("address taken away: {r:?}"));
    }
}

iopkt_module! {
    module: Rusty,
    name: "rusty",
    version: "1.0",
    description: "a module for tests",
    options: ["if=IF" => "interface (en0)", "panic=PLACE" => "panic in load, timer, input, changed or unload"],
}
