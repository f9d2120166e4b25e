//! What modems call their data call. The rest is TS 27.007 and the same for all.
//!
//! A modem with an Ethernet function connects it to the network by a command of its maker's; AT+CGACT, which only
//! activates the context, is enough for some. The maker is taken from AT+CGMI; a command that the modem refuses
//! is followed by the common one.

/// Commands of a family of modems; `{cid}` stands for the context's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Part of what AT+CGMI says, lower case; empty fits all.
    pub maker: &'static str,
    /// Connects.
    pub on: &'static [&'static str],
    /// Disconnects.
    pub off: &'static [&'static str],
}

/// The families, the common one last.
pub const FAMILIES: &[Family] = &[
    Family { maker: "huawei", on: &["AT^NDISDUP={cid},1"], off: &["AT^NDISDUP={cid},0"] },
    Family { maker: "zte", on: &["AT+ZGACT=1,{cid}"], off: &["AT+ZGACT=0,{cid}"] },
    Family { maker: "sierra", on: &["AT!SCACT=1,{cid}"], off: &["AT!SCACT=0,{cid}"] },
    Family { maker: "ericsson", on: &["AT*ENAP=1,{cid}"], off: &["AT*ENAP=0"] },
    Family { maker: "telit", on: &["AT#ECM={cid},0"], off: &["AT#ECMD=0"] },
    Family { maker: "quectel", on: &["AT+QNETDEVCTL={cid},1,1"], off: &["AT+QNETDEVCTL={cid},0,1"] },
    Family { maker: "cinterion", on: &["AT^SWWAN=1,{cid}"], off: &["AT^SWWAN=0,{cid}"] },
    Family { maker: "gemalto", on: &["AT^SWWAN=1,{cid}"], off: &["AT^SWWAN=0,{cid}"] },
    Family { maker: "thales", on: &["AT^SWWAN=1,{cid}"], off: &["AT^SWWAN=0,{cid}"] },
    Family { maker: "option", on: &["AT_OWANCALL={cid},1,1"], off: &["AT_OWANCALL={cid},0,1"] },
    Family { maker: "simcom", on: &["AT$QCRMCALL=1,{cid}"], off: &["AT$QCRMCALL=0,{cid}"] },
    COMMON,
];

/// TS 27.007 alone.
pub const COMMON: Family =
    Family { maker: "", on: &["AT+CGATT=1", "AT+CGACT=1,{cid}"], off: &["AT+CGACT=0,{cid}"] };

/// The family of a maker.
pub fn family(maker: &str) -> Family {
    let m = maker.to_lowercase();
    FAMILIES.iter().copied().find(|f| m.contains(f.maker)).unwrap_or(COMMON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_are_known_by_a_part_of_their_name() {
        assert_eq!(family("Huawei Technologies Co., Ltd.").on, ["AT^NDISDUP={cid},1"]);
        assert_eq!(family("ZTE CORPORATION").maker, "zte");
        assert_eq!(family("io-pkt"), COMMON);
        assert!(
            FAMILIES
                .iter()
                .all(|f| !f.on.is_empty() && !f.off.is_empty() && f.maker == f.maker.to_lowercase())
        );
    }
}
