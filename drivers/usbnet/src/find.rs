//! Finding the Ethernet function in a configuration, also in one that is wrong.
//!
//! By the book a function is a control interface with functional descriptors behind it, of which the union names
//! the data interface and the Ethernet one the address. In the field any of that is missing, elsewhere or
//! wrong (Linux's cdc_ether and NetBSD's cdce have met all of it): the descriptors may stand behind the
//! configuration's (Motorola SB4100) or behind the endpoint (2Wire); the union may be missing, interchanged
//! (Ambit) or name what is not there; the Ethernet descriptor may be missing; and some functions have their bulk
//! pair on the control interface itself (RMNET). What is unusual is said in words, for the log.

use iopkt_usbip::cdc::{self, CLASS_COMM, CLASS_DATA, Ethernet, Function};
use iopkt_usbip::desc::{self, Endpoint, Setting, Transfer};

/// Subclass of a control interface: mobile direct line model, as WMC 1.1 has it.
const SUBCLASS_MDLM: u8 = 0x0a;
/// Subtype of its functional descriptor.
const MDLM: u8 = 0x12;
/// The one kind of it that is Ethernet as in ECM: Ericsson's mobile broadband modules. Others (BLAN, SAFE) frame
/// differently.
const MBM_GUID: [u8; 16] =
    [0xa3, 0x17, 0xa8, 0x8b, 0x04, 0x5e, 0x4f, 0x01, 0xa6, 0x07, 0xc0, 0xff, 0xcb, 0x7e, 0x39, 0x2a];

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Class and subclass of the control interface.
    pub class: (u8, u8),
    /// Lowest number of the control interface (`intf=`).
    pub lowest: u8,
    /// Its number (`iface=`).
    pub exact: Option<u8>,
}

impl Want {
    /// Any function of this subclass of communication devices.
    pub fn cdc(subclass: u8) -> Want {
        Want { class: (CLASS_COMM, subclass), lowest: 0, exact: None }
    }

    fn takes(&self, s: &Setting<'_>) -> bool {
        let i = &s.interface;
        let number = i.number >= self.lowest && self.exact.is_none_or(|n| n == i.number);
        let class = (i.class, i.subclass) == self.class;
        let mbm = self.class == (CLASS_COMM, cdc::SUBCLASS_ECM)
            && (i.class, i.subclass) == (CLASS_COMM, SUBCLASS_MDLM)
            && desc::iter(s.body)
                .any(|d| d.len() >= 21 && d[1..3] == [desc::CS_INTERFACE, MDLM] && d[5..21] == MBM_GUID);
        number && (class || mbm)
    }
}

/// A function, and what is odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The function.
    pub function: Function,
    /// In words.
    pub odd: Vec<String>,
}

/// The first usable function of this kind in a configuration. `Err` when there is one that cannot be used.
///
/// # Errors
/// Why it cannot.
pub fn function(config: &[u8], want: &Want) -> Result<Option<Found>, String> {
    let mut why = None;
    for s in desc::settings(config).filter(|s| s.interface.alt == 0 && want.takes(s)) {
        match at(config, &s) {
            Ok(f) => return Ok(Some(f)),
            Err(e) => why = Some(e),
        }
    }
    why.map_or(Ok(None), Err)
}

fn at(config: &[u8], s: &Setting<'_>) -> Result<Found, String> {
    let value = desc::Config::parse(config).map_or(0, |c| c.value);
    let control = s.interface.number;
    let mut odd = Vec::new();
    let mut functional: Vec<&[u8]> = desc::iter(s.body).filter(|d| d[1] == desc::CS_INTERFACE).collect();
    if functional.is_empty() {
        let early = desc::iter(config).skip(1).take_while(|d| d[1] != desc::INTERFACE);
        functional = early.filter(|d| d[1] == desc::CS_INTERFACE).collect();
        if !functional.is_empty() {
            odd.push("its functional descriptors stand behind the configuration's".to_string());
        }
    }
    let ethernet = functional.iter().find_map(|d| Ethernet::parse(d));
    if ethernet.is_none() && s.interface.class == CLASS_COMM {
        odd.push("it has no Ethernet descriptor".to_string());
    }
    let (number, pair) = data(config, control, &functional, &mut odd)
        .ok_or_else(|| format!("control interface {control} has no data interface with a bulk pair"))?;
    let notify = s.endpoint(Transfer::Interrupt, true);
    let usable =
        notify.filter(|e| e.max_packet() >= 8).map(|e| Endpoint { interval: e.interval.max(1), ..e });
    if notify.is_some() && usable.is_none() {
        odd.push("its notification endpoint is too small".to_string());
    }
    let function = Function {
        config: value,
        control,
        data: number,
        data_alt: pair.alt,
        has_alts: pair.alts > 1,
        notify: usable,
        bulk_in: pair.bulk_in,
        bulk_out: pair.bulk_out,
        ethernet,
    };
    Ok(Found { function, odd })
}

/// The data interface of a control interface, in the order of credibility.
fn data(config: &[u8], control: u8, functional: &[&[u8]], odd: &mut Vec<String>) -> Option<(u8, Pair)> {
    let union = functional.iter().find_map(|d| cdc::union(d));
    let named = match union {
        Some((c, d)) if c == control => Some(d),
        Some((c, d)) if d == control => {
            odd.push("its union descriptor is interchanged".to_string());
            Some(c)
        }
        Some(_) => {
            odd.push("its union descriptor is about another interface".to_string());
            None
        }
        None => None,
    };
    if let Some((n, p)) = named.and_then(|n| Some((n, pair(config, n)?))) {
        return Some((n, p));
    }
    let is_data = |s: &Setting<'_>| s.interface.class == CLASS_DATA;
    let numbers = || desc::settings(config).filter(is_data).map(|s| s.interface.number);
    let after = numbers().filter(|n| *n > control);
    let guess = after.chain(numbers().filter(|n| *n < control)).chain([control]);
    let (n, p) = guess.into_iter().find_map(|n| Some((n, pair(config, n)?)))?;
    match named {
        Some(w) => {
            odd.push(format!("its union descriptor names interface {w}, which has no bulk pair; using {n}"))
        }
        None if union.is_none() && n != control => {
            odd.push(format!("it has no union descriptor; using data interface {n}"));
        }
        None => {}
    }
    Some((n, p))
}

struct Pair {
    alt: u8,
    alts: usize,
    bulk_in: Endpoint,
    bulk_out: Endpoint,
}

/// The bulk pair of an interface and the setting that has it.
fn pair(config: &[u8], number: u8) -> Option<Pair> {
    let of = || desc::settings(config).filter(move |s| s.interface.number == number);
    let alts = of().count();
    of().find_map(|s| {
        let (bulk_in, bulk_out) = s.endpoint(Transfer::Bulk, true).zip(s.endpoint(Transfer::Bulk, false))?;
        let usable = bulk_in.max_packet() > 0 && bulk_out.max_packet() > 0;
        usable.then_some(Pair { alt: s.interface.alt, alts, bulk_in, bulk_out })
    })
}

/// What a configuration has instead, for a message: a function that is another driver's, or nobody's.
pub fn instead(config: &[u8]) -> Option<&'static str> {
    desc::settings(config).find_map(|s| {
        let i = s.interface;
        other_kind([i.class, i.subclass, i.protocol])
    })
}

/// What an interface of this class, subclass and protocol belongs to.
pub fn other_kind(class: [u8; 3]) -> Option<&'static str> {
    match class {
        [CLASS_COMM, 0x0d, _] => Some("CDC-NCM: use devnp-ncm.so"),
        [CLASS_COMM, cdc::SUBCLASS_ECM, _] => Some("CDC-ECM: use devnp-ecm.so"),
        [CLASS_COMM, 0x0e, _] => Some("MBIM, which has no driver here"),
        [CLASS_COMM, 0x02, 0xff] | [0xe0, 1, 3] | [0xef, 4, 1] | [0xef, 1, 1] => {
            Some("RNDIS, which has no driver here; look for an ECM mode of the device")
        }
        [CLASS_COMM, SUBCLASS_MDLM, _] => Some("MDLM of a kind that is not Ethernet as in ECM"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_gadget::Modem;
    use iopkt_gadget::modem::{ModemConfig, Odd};

    fn config(odd: &[Odd]) -> Vec<u8> {
        let d = Modem::device(ModemConfig { odd: odd.to_vec(), ..ModemConfig::default() });
        d.describe().configs().next().expect("a configuration").to_vec()
    }

    fn ecm(odd: &[Odd]) -> Result<Option<Found>, String> {
        function(&config(odd), &Want::cdc(cdc::SUBCLASS_ECM))
    }

    #[test]
    fn what_is_wrong_in_the_field_is_lived_with_and_said() {
        let plain = ecm(&[]).expect("good").expect("there");
        assert!(plain.odd.is_empty());
        for (odd, word) in [
            (Odd::NoUnion, "no union descriptor"),
            (Odd::SwappedUnion, "interchanged"),
            (Odd::WrongUnion, "names interface 9"),
            (Odd::EarlyDescriptors, "behind the configuration's"),
        ] {
            let f = ecm(&[odd]).expect("usable").expect("there");
            assert_eq!(f.function, plain.function, "{odd:?}");
            assert!(f.odd.len() == 1 && f.odd[0].contains(word), "{odd:?}: {:?}", f.odd);
        }
        for odd in [Odd::LateDescriptors, Odd::NoHeader, Odd::Torn, Odd::MacNone] {
            let f = ecm(&[odd]).expect("usable").expect("there");
            assert_eq!((f.function.data, f.function.data_alt), (1, 1), "{odd:?}");
        }
        let f = ecm(&[Odd::NoEthernet]).expect("usable").expect("there");
        assert!(f.function.ethernet.is_none() && f.odd[0].contains("Ethernet descriptor"));
        let f = ecm(&[Odd::OneSetting]).expect("usable").expect("there");
        assert!(!f.function.has_alts && f.function.data_alt == 0);
        assert!(ecm(&[Odd::NoNotify]).expect("usable").expect("there").function.notify.is_none());
    }

    #[test]
    fn what_cannot_work_is_refused_in_words() {
        for odd in [Odd::NoBulk, Odd::ZeroPacket, Odd::Loop] {
            let e = ecm(&[odd, Odd::NoAcm]).expect_err("unusable");
            assert!(e.contains("no data interface with a bulk pair"), "{odd:?}: {e}");
        }
    }

    #[test]
    fn options_choose_among_functions() {
        let c = config(&[Odd::Vendor, Odd::NoUnion]);
        let w = Want::cdc(cdc::SUBCLASS_ECM);
        assert_eq!(function(&c, &w), Ok(None));
        let vendor = Want { class: (0xff, 0x42), ..w };
        assert_eq!(function(&c, &vendor).expect("usable").expect("there").function.data, 1);
        assert_eq!(function(&c, &Want { lowest: 1, ..vendor }), Ok(None));
        assert_eq!(function(&c, &Want { exact: Some(2), ..vendor }), Ok(None));
        assert!(function(&c, &Want { exact: Some(0), ..vendor }).expect("usable").is_some());
    }

    #[test]
    fn others_are_named() {
        assert_eq!(instead(&config(&[])), Some("CDC-ECM: use devnp-ecm.so"));
        assert!(other_kind([2, 0x0d, 0]).is_some_and(|t| t.contains("devnp-ncm")));
        assert!(other_kind([0xef, 4, 1]).is_some_and(|t| t.contains("RNDIS")));
        assert_eq!(other_kind([3, 1, 1]), None);
    }

    #[test]
    fn noise_is_no_trouble() {
        let mut r = iopkt_base::Rng::new(11);
        let good = config(&[]);
        for _ in 0..20_000 {
            let mut c = good.clone();
            for _ in 0..1 + r.below(8) {
                let at = r.below(c.len() as u32) as usize;
                c[at] = r.next_u64() as u8;
            }
            c.truncate(r.below(c.len() as u32 + 1) as usize);
            for w in [
                Want::cdc(cdc::SUBCLASS_ECM),
                Want { class: (c.first().copied().unwrap_or(0), 0), ..Want::cdc(0) },
            ] {
                if let Ok(Some(f)) = function(&c, &w) {
                    assert!(f.function.bulk_in.max_packet() > 0 && f.function.bulk_out.max_packet() > 0);
                }
            }
            let _ = instead(&c);
        }
    }
}
