//! Any words to ifconfig, route, arp, netstat, nicinfo, mount, on a stack that answers anything: they end, with an
//! exit code or a message. The input is a tool's number, words separated by NUL and ended by 0xff, then
//! answers as length and postcard.
#![no_main]

use iopkt_ctl::{Reply, Request};
use iopkt_utils::tool::Stack;
use iopkt_utils::{addr, arp, ifconfig, mount, netstat, nicinfo, route};
use libfuzzer_sys::fuzz_target;

struct Any<'a>(&'a [u8]);

impl Stack for Any<'_> {
    fn ask(&mut self, r: &Request) -> Result<Reply, String> {
        let bytes = postcard::to_allocvec(r).expect("a request encodes");
        assert_eq!(postcard::from_bytes::<Request>(&bytes).as_ref(), Ok(r));
        let [len, more @ ..] = self.0 else { return Err("gone".into()) };
        let (piece, next) = more.split_at(usize::from(*len).min(more.len()));
        self.0 = next;
        Ok(postcard::from_bytes(piece).unwrap_or(Reply::Ok))
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((tool, data)) = data.split_first() else { return };
    let end = data.iter().position(|b| *b == 0xff).unwrap_or(data.len());
    let words: Vec<String> =
        data[..end].split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    for w in &words {
        let _ = (addr::inet_aton(w), addr::inet_network(w), addr::netmask(w), addr::parse(w));
        if let Some(m) = addr::parse_mac(w) {
            assert_eq!(addr::parse_mac(&addr::mac(&m)), Some(m));
        }
    }
    let mut s = Any(data.get(end + 1..).unwrap_or(&[]));
    let r = match tool % 7 {
        0 => route::run(&mut s, &words),
        1 => arp::run(&mut s, &words),
        2 => netstat::run(&mut s, &words),
        3 => nicinfo::run(&mut s, &words),
        4 => match mount::parse(&words) {
            Ok(Some(m)) => mount::mount(&mut s, &m),
            Ok(None) => Ok(0),
            Err(e) => Err(e),
        },
        _ => ifconfig::run(&mut s, &words),
    };
    if let Err(e) = r {
        assert!(!e.message.is_empty() && e.code != 0);
    }
});
