//! The option list. io-pkt has already checked that every option is one that the driver takes, and has taken
//! `name=` and `unit=` out.

use crate::{Fail, errno};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The options of a load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    words: Vec<(String, Option<String>)>,
    list: String,
}

impl Options {
    /// Takes a comma-separated list apart.
    pub fn parse(list: &str) -> Options {
        let word = |w: &str| match w.split_once('=') {
            Some((n, v)) => (n.to_owned(), Some(v.to_owned())),
            None => (w.to_owned(), None),
        };
        let words = list.split(',').filter(|w| !w.is_empty()).map(word).collect();
        Options { words, list: list.to_owned() }
    }

    /// The list as it stands.
    pub fn list(&self) -> &str {
        &self.list
    }

    /// Whether the option is there, with or without value.
    pub fn has(&self, name: &str) -> bool {
        self.words.iter().any(|o| o.0 == name)
    }

    /// Its value; of several the last.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.words.iter().rev().find(|o| o.0 == name).and_then(|o| o.1.as_deref())
    }

    /// Its value as a number in `range`: decimal, or hexadecimal with 0x.
    ///
    /// # Errors
    /// EINVAL with a text that names the option and the range.
    pub fn number<T>(&self, name: &str, range: RangeInclusive<T>) -> Result<Option<T>, Fail>
    where
        T: FromStr + TryFrom<u64> + PartialOrd + std::fmt::Display,
    {
        let Some(v) = self.get(name) else { return Ok(None) };
        let n = match v.strip_prefix("0x").or(v.strip_prefix("0X")) {
            Some(hex) if !hex.starts_with('+') => {
                u64::from_str_radix(hex, 16).ok().and_then(|n| T::try_from(n).ok())
            }
            _ => v.parse().ok(),
        };
        match n.filter(|n| range.contains(n)) {
            Some(n) => Ok(Some(n)),
            None => Err(Fail::new(
                errno::EINVAL,
                format!("option {name}={v}: give a number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// Its value as a MAC address: 12 hexadecimal digits, or six pairs with colons or dashes.
    ///
    /// # Errors
    /// EINVAL with a text that names the option; zero and multicast addresses are refused too.
    pub fn mac(&self, name: &str) -> Result<Option<[u8; 6]>, Fail> {
        let Some(v) = self.get(name) else { return Ok(None) };
        let bad = |why: &str| Err(Fail::new(errno::EINVAL, format!("option {name}={v}: {why}")));
        let Some(mac) = parse_mac(v) else { return bad("give 12 hexadecimal digits") };
        if mac == [0; 6] || mac[0] & 1 != 0 {
            return bad("zero and multicast addresses are no good for a device");
        }
        Ok(Some(mac))
    }
}

fn parse_mac(v: &str) -> Option<[u8; 6]> {
    let mut out = [0; 6];
    let digits: Vec<u8> = match v.split([':', '-']).collect::<Vec<_>>().as_slice() {
        [all] if all.len() == 12 => all.bytes().collect(),
        parts if parts.len() == 6 && parts.iter().all(|p| p.len() == 2) => {
            parts.iter().flat_map(|p| p.bytes()).collect()
        }
        _ => return None,
    };
    for (o, d) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let hex = |c: u8| (c as char).to_digit(16);
        *o = (hex(d[0])? * 16 + hex(d[1])?) as u8;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_flags_and_repeats() {
        let o = Options::parse("verbose,,wait=3,wait=0x10,path=/dev/usb,empty=");
        assert!(o.has("verbose") && o.get("verbose").is_none());
        assert_eq!(o.number("wait", 0..=60u32), Ok(Some(16)));
        assert_eq!(o.get("path"), Some("/dev/usb"));
        assert_eq!(o.get("empty"), Some(""));
        assert_eq!(o.number::<u32>("none", 0..=1), Ok(None));
        let e = o.number("wait", 0..=9u8).unwrap_err();
        assert!(e.errno == errno::EINVAL && e.why.contains("wait=0x10") && e.why.contains("0 to 9"), "{e}");
        assert!(Options::parse("n=-1").number("n", 0..=9u32).is_err());
        assert!(Options::parse("n=").number("n", 0..=9u32).is_err());
    }

    #[test]
    fn mac_addresses() {
        let m = |s: &str| Options::parse(&format!("mac={s}")).mac("mac");
        assert_eq!(m("0200aBcDef01"), Ok(Some([2, 0, 0xab, 0xcd, 0xef, 1])));
        assert_eq!(m("02:00:ab:cd:ef:01"), m("02-00-ab-cd-ef-01"));
        for bad in [
            "",
            "0200abcdef0",
            "0200abcdef011",
            "zz00abcdef01",
            "000000000000",
            "0100abcdef01",
            "2:0:0:0:0:1",
        ] {
            assert!(m(bad).is_err(), "{bad}");
        }
    }
}
