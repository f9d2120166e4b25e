//! Media words: NetBSD's numbers (`<net/if_media.h>`) and ifconfig's names for them.
//!
//! A word holds the kind of link (Ethernet), a subtype (100baseTX), options (full-duplex) and an instance. A
//! driver offers a list of words; one of them is selected. Of 802.11 nothing is here, so there are no modes but
//! autoselect.

use crate::tool::Failure;
use iopkt_ctl::{
    IFM_ETHER as ETHER, IFM_FDX as FULL, IFM_HDX as HALF, IFM_SUBTYPE as SUBTYPE, Ifconf, LinkState,
};

const NONE: u32 = 2;
const OPTIONS: u32 = 0x0fff_0000 | 0xff00;
const INSTANCE_SHIFT: u32 = 28;

/// Subtypes by number, the name that is printed first.
const SUBTYPES: &[(u32, &[&str])] = &[
    (0, &["autoselect", "auto"]),
    (1, &["manual"]),
    (NONE, &["none"]),
    (3, &["10baseT", "10baseT/UTP", "UTP", "10UTP"]),
    (4, &["10base2", "10base2/BNC", "BNC", "10BNC"]),
    (5, &["10base5", "10base5/AUI", "AUI", "10AUI"]),
    (6, &["100baseTX", "100TX"]),
    (7, &["100baseFX", "100FX"]),
    (8, &["100baseT4", "100T4"]),
    (9, &["100baseVG", "100VG"]),
    (10, &["100baseT2", "100T2"]),
    (11, &["1000baseSX", "1000SX"]),
    (12, &["10baseSTP", "STP", "10STP"]),
    (13, &["10baseFL", "FL", "10FL"]),
    (14, &["1000baseLX", "1000LX"]),
    (15, &["1000baseCX", "1000CX"]),
    (16, &["1000baseT", "1000baseTX", "1000T"]),
    (17, &["HomePNA1", "HPNA1"]),
    (18, &["10GbaseLR", "10GLR"]),
];

/// Options by bit, the name that is printed first.
const OPTION_NAMES: &[(u32, &[&str])] = &[
    (FULL, &["full-duplex", "fdx"]),
    (HALF, &["half-duplex", "hdx"]),
    (0x0040_0000, &["flowcontrol", "flow"]),
    (0x0100_0000, &["flag0"]),
    (0x0200_0000, &["flag1"]),
    (0x0400_0000, &["flag2"]),
    (0x0800_0000, &["loopback", "hw-loopback", "loop"]),
    (0x0000_0100, &["master"]),
    (0x0000_0200, &["rxpause"]),
    (0x0000_0400, &["txpause"]),
];

/// What a command line asks of the media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    subtype: Option<u32>,
    set: u32,
    clear: u32,
    instance: Option<u32>,
}

impl Change {
    /// `media NAME`.
    ///
    /// # Errors
    /// Ethernet has no such medium.
    pub fn media(&mut self, v: &str) -> Result<(), Failure> {
        let found = SUBTYPES.iter().find(|s| s.1.iter().any(|n| n.eq_ignore_ascii_case(v)));
        self.subtype =
            Some(found.ok_or_else(|| Failure::new(format!("media {v}: unknown Ethernet medium")))?.0);
        Ok(())
    }

    /// `mediaopt A,B` and `-mediaopt A,B`.
    ///
    /// # Errors
    /// Ethernet has no such option.
    pub fn options(&mut self, v: &str, on: bool) -> Result<(), Failure> {
        let word = if on { "mediaopt" } else { "-mediaopt" };
        for o in v.split(',') {
            if ["hostap", "adhoc", "monitor", "ibss"].contains(&o) {
                return Err(Failure::new(format!("{word} {o}: 802.11 is not in this build")));
            }
            let found = OPTION_NAMES.iter().find(|x| x.1.iter().any(|n| n.eq_ignore_ascii_case(o)));
            let bit =
                found.ok_or_else(|| Failure::new(format!("{word} {o}: unknown Ethernet media option")))?.0;
            if on {
                (self.set, self.clear) = (self.set | bit, self.clear & !bit);
            } else {
                (self.set, self.clear) = (self.set & !bit, self.clear | bit);
            }
        }
        Ok(())
    }

    /// `mode NAME`: Ethernet has only autoselect.
    ///
    /// # Errors
    /// Another one.
    pub fn mode(&mut self, v: &str) -> Result<(), Failure> {
        if ["autoselect", "auto"].iter().any(|n| n.eq_ignore_ascii_case(v)) {
            return Ok(());
        }
        Err(Failure::new(format!("mode {v}: modes are of 802.11, which is not in this build")))
    }

    /// `instance N`.
    ///
    /// # Errors
    /// Not a number from 0 to 15.
    pub fn instance(&mut self, v: &str) -> Result<(), Failure> {
        let n = v.parse().ok().filter(|n| *n < 16);
        self.instance = Some(n.ok_or_else(|| Failure::new(format!("instance {v}: bad value")))?);
        Ok(())
    }

    /// The word that is asked for, starting from what is selected: a new medium begins without options.
    ///
    /// # Errors
    /// The driver does not offer it; the message lists what it does.
    pub fn apply(&self, i: &Ifconf) -> Result<u32, Failure> {
        if !i.media {
            return Err(Failure::new(format!("{}: the driver has no media to select", i.name)));
        }
        let (now, list) = (now(i), words(i));
        let options = if self.subtype.is_some() { 0 } else { now & OPTIONS };
        let subtype = self.subtype.unwrap_or(now & SUBTYPE);
        let instance = self.instance.unwrap_or(now >> INSTANCE_SHIFT);
        let word = ETHER | subtype | ((options | self.set) & !self.clear) | instance << INSTANCE_SHIFT;
        if list.contains(&word) {
            return Ok(word);
        }
        let offers: Vec<String> = list.iter().map(|w| selection(*w)).collect();
        Err(Failure::new(format!(
            "{}: {}: the driver does not offer it; it offers: {}",
            i.name,
            selection(word),
            offers.join("; ")
        )))
    }
}

/// The selected word.
pub fn now(i: &Ifconf) -> u32 {
    i.media_now
}

/// The words that a driver offers; one that says nothing of them selects by itself.
pub fn words(i: &Ifconf) -> Vec<u32> {
    if i.media_words.is_empty() { vec![ETHER] } else { i.media_words.clone() }
}

/// Name of a word's subtype.
fn subtype(word: u32) -> String {
    let n = word & SUBTYPE;
    SUBTYPES.iter().find(|s| s.0 == n).map_or_else(|| format!("{n:#x}"), |s| s.1[0].to_string())
}

/// Names of a word's options.
fn options(word: u32) -> Vec<&'static str> {
    OPTION_NAMES.iter().filter(|o| word & o.0 != 0).map(|o| o.1[0]).collect()
}

/// `100baseTX full-duplex,flowcontrol`, as in the media: line.
pub fn name(word: u32) -> String {
    let o = options(word);
    if o.is_empty() { subtype(word) } else { format!("{} {}", subtype(word), o.join(",")) }
}

/// `media 100baseTX mediaopt full-duplex instance 1`, as -m lists it and as it can be typed.
pub fn selection(word: u32) -> String {
    let mut s = format!("media {}", subtype(word));
    let o = options(word);
    if !o.is_empty() {
        s += &format!(" mediaopt {}", o.join(","));
    }
    match word >> INSTANCE_SHIFT {
        0 => s,
        n => s + &format!(" instance {n}"),
    }
}

/// What the link runs at now, in the media: line's words; `None` when nobody knows.
pub fn active(i: &Ifconf) -> Option<String> {
    let mbit = i.speed_rx.max(i.speed_tx) / 1_000_000;
    let subtype = match (i.link, mbit) {
        (LinkState::Down, _) => return Some("none".into()),
        (LinkState::Unknown, _) | (_, 0) => return None,
        (_, 10) => "10baseT".into(),
        (_, 100) => "100baseTX".into(),
        (_, 1000) => "1000baseT".into(),
        // What a modem reports is no Ethernet medium; printed as it is.
        (_, n) => format!("{n}Mbps"),
    };
    Some(if i.full_duplex { format!("{subtype} full-duplex") } else { subtype })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names() {
        assert_eq!(name(ETHER), "autoselect");
        assert_eq!(name(ETHER | 6 | FULL), "100baseTX full-duplex");
        assert_eq!(
            selection(ETHER | 16 | FULL | 0x0040_0000),
            "media 1000baseT mediaopt full-duplex,flowcontrol"
        );
        assert_eq!(selection(ETHER | 3 | 1 << INSTANCE_SHIFT), "media 10baseT instance 1");
        assert_eq!(name(ETHER | 30), "0x1e");
    }

    #[test]
    fn a_new_medium_begins_without_options() {
        let mut c = Change::default();
        c.media("100TX").expect("known");
        c.options("fdx,flow", true).expect("known");
        c.options("flowcontrol", false).expect("known");
        assert_eq!(c, Change { subtype: Some(6), set: FULL, clear: 0x0040_0000, instance: None });
        assert!(c.mode("11b").is_err() && c.mode("auto").is_ok());
        assert!(c.instance("16").is_err() && c.instance("x").is_err() && c.instance("15").is_ok());
        assert!(
            c.media("token").is_err() && c.options("hostap", true).is_err() && c.options("x", true).is_err()
        );
    }
}
