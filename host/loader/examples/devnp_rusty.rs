//! A driver in Rust for the loader's tests: echoes frames, and panics where it is told to.

use iopkt_sdk::{
    Control, Description, Device, Driver, Fail, Filter, NicInfo, Options, Port, Quiesce, Stay, TxQueue, abi,
    iopkt_driver,
};
use std::sync::atomic::{AtomicU64, Ordering};

struct Rusty;

/// Something to be dropped when its thread ends.
struct Heavy(Box<u8>);
impl Drop for Heavy {
    fn drop(&mut self) {
        *self.0 = 0;
    }
}
thread_local! {
    static HEAVY: Heavy = Heavy(Box::new(1));
}

static QUIETED: AtomicU64 = AtomicU64::new(0);

/// What a signal handler may do: one store.
fn say_quiet(arg: u64) {
    QUIETED.store(arg, Ordering::Relaxed);
}

struct Echo {
    panic_in: Option<String>,
    keep: bool,
    quiet: Option<u64>,
    pin: bool,
    sent: u64,
}

impl Echo {
    fn maybe(&self, place: &str) {
        assert!(self.panic_in.as_deref() != Some(place), "told to panic in {place}");
    }
}

impl Device for Echo {
    fn bind(&mut self, _port: &Port<'_>) -> Result<(), Fail> {
        self.maybe("bind");
        Ok(())
    }
    fn start(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        self.maybe("start");
        if self.pin {
            HEAVY.with(|h| assert_eq!(*h.0, 1));
        }
        port.timer(Some(port.now() + 1_000_000));
        Ok(())
    }
    fn stop(&mut self, _port: &Port<'_>) {
        self.maybe("stop");
    }
    fn transmit(&mut self, port: &Port<'_>, q: &mut TxQueue<'_>) {
        let mut back = port.batch();
        while let Some(mut m) = q.pop() {
            self.maybe("transmit"); // with a packet in hand
            self.sent += 1;
            m.as_mut_slice()[..1].copy_from_slice(&[2]);
            let _ = back.push(m);
        }
        port.receive(&mut back);
    }
    fn timer(&mut self, _port: &Port<'_>, _now: u64) {
        self.maybe("timer");
    }
    fn wake(&mut self, port: &Port<'_>) {
        self.maybe("wake");
        port.depart();
    }
    fn filter(&mut self, _port: &Port<'_>, f: &Filter<'_>) -> Result<(), Fail> {
        if f.groups.len() > 2 {
            return Err(Fail::new(28, "two groups at most"));
        }
        Ok(())
    }
    fn nicinfo(&mut self, _port: &Port<'_>, out: &mut NicInfo<'_>) -> Result<(), Fail> {
        out.line("Packets Transmitted OK", &self.sent.to_string());
        out.line("Quieted with", &QUIETED.load(Ordering::Relaxed).to_string());
        Ok(())
    }
    fn set_media(&mut self, port: &Port<'_>, media: u32) -> Result<(), Fail> {
        self.maybe("media");
        port.info(&format!("medium {media:#x}"));
        Ok(())
    }
    fn may_destroy(&mut self, _port: &Port<'_>) -> Result<(), Fail> {
        self.maybe("destroy");
        if self.keep { Err(Fail::new(16, "told to stay")) } else { Ok(()) }
    }
    fn quiesce(&self) -> Option<Quiesce> {
        self.quiet.map(|arg| Quiesce { call: say_quiet, arg })
    }
    fn detach(&mut self, _port: &Port<'_>) {
        self.maybe("detach");
    }
}

impl Driver for Rusty {
    fn load(ctl: &Control<'_>, options: &Options) -> Result<Self, Fail> {
        let panic_in = options.get("panic").map(str::to_owned);
        assert!(panic_in.as_deref() != Some("load"), "told to panic in load");
        if options.has("pnp") {
            ctl.stay(Stay { removed: true, destroyed: false });
        }
        if options.has("thread") {
            // Thread-local data with a destructor on the control thread: gone when that thread is.
            let name = std::thread::current().name().map(str::to_owned);
            std::thread::spawn(move || drop(name)).join().ok();
        }
        let d = Description {
            media_words: vec![abi::MEDIA_ETHER, abi::MEDIA_ETHER | abi::MEDIA_100_TX],
            ..Description::ether("echo", [2, 0, 0, 0x52, 0x55, 1])
        };
        let quiet = options.number("quiet", 1..=u64::MAX)?;
        let (pin, keep) = (options.has("pin"), options.has("keep"));
        let a = ctl.attach(d, Echo { panic_in, keep, quiet, pin, sent: 0 })?;
        if options.has("wake") {
            a.handle.wake();
        }
        Ok(Rusty)
    }

    fn gone(&mut self, ctl: &Control<'_>, _cookie: u64) {
        ctl.info("echo has gone");
    }
}

iopkt_driver! {
    driver: Rusty,
    name: "rusty",
    prefix: "rust",
    version: "1.0",
    description: "echo in Rust",
    options: [
        "panic=PLACE" => "panic in load, bind, start, stop, transmit, timer, wake, media, destroy or detach",
        "pnp" => "stay when the device departs",
        "pin" => "misbehave: thread-local data with a destructor on the packet thread",
        "thread" => "use a thread and thread-local data while loading",
        "keep" => "refuse to be destroyed",
        "quiet=N" => "remember N when told to be quiet",
        "wake" => "wake the device, which then departs",
    ],
}
