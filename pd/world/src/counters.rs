//! The stack's counters by the names that Linux's nstat(8) shows.

use crate::stack::World;

/// Linux's name, and the stack's words (`netstat -s`).
const NAMES: &[(&str, &str)] = &[
    ("TcpActiveOpens", "{} connection requests"),
    ("TcpPassiveOpens", "{} connection accepts"),
    ("TcpInSegs", "{} packets received"),
    ("TcpOutSegs", "{} packets sent"),
    ("TcpRetransSegs", "{} data packets retransmitted"),
    ("TcpInErrs", "{} discarded for bad checksums"),
    ("TcpOutRsts", "{} resets sent for segments without a connection"),
    ("TcpExtSyncookiesSent", "{} SYN cookies sent"),
    ("TcpExtSyncookiesRecv", "{} SYN cookies accepted"),
    ("TcpExtSyncookiesFailed", "{} bad SYN cookies"),
    ("TcpExtOutOfWindowIcmps", "{} ICMP errors about what is not in flight"),
    ("TcpExtPAWSEstab", "{} old duplicate packets (timestamps)"),
    ("TcpExtListenOverflows", "{} listen queue overflows"),
    ("TcpExtTCPTimeouts", "{} retransmit timeouts"),
    ("TcpExtTCPOFOQueue", "{} out-of-order packets"),
    ("TcpExtTCPChallengeACK", "{} challenge acks"),
    ("TcpExtTCPFastOpenActive", "{} connections opened with data in the SYN"),
    ("TcpExtTCPFastOpenActiveFail", "{} SYNs whose data was not taken"),
    ("TcpExtTCPFastOpenPassive", "{} connections accepted with data in the SYN"),
    ("TcpExtTCPFastOpenPassiveFail", "{} bad Fast Open cookies"),
    ("TcpExtTCPFastOpenListenOverflow", "{} Fast Opens refused by a full queue"),
    ("TcpExtTCPFastOpenCookieReqd", "{} Fast Open cookies asked for"),
];

impl World {
    /// Counters with Linux's names, those that the stack has.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let all = self.shard.sockets.stats();
        // Linux counts both versions of IP as one.
        let value = |text: &str| {
            let of = all.iter().filter(|c| c.group.starts_with("tcp") && c.text == text);
            of.map(|c| c.value).reduce(|a, b| a + b)
        };
        NAMES.iter().filter_map(|(name, text)| Some((*name, value(text)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Setup;

    #[test]
    fn every_name_has_a_counter() {
        assert_eq!(World::new(&Setup::default()).expect("a world").counters().len(), NAMES.len());
    }
}
