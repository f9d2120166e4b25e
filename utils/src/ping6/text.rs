//! ICMPv6 messages in ping6's words (-v).

use iopkt_wire::icmp6::{Header, param, timxceed, ty, unreach};

/// What a message says; `None` for an echo, which is somebody's request or the answer to it.
pub fn message(p: &[u8]) -> Option<String> {
    let h = Header::parse_unchecked(p)?;
    let text = match (h.ty, h.code) {
        (ty::ECHO | ty::ECHO_REPLY, _) => return None,
        (ty::UNREACHABLE, c) => match c {
            unreach::NO_ROUTE => "No Route to Destination",
            unreach::PROHIBITED => "Destination Administratively Unreachable",
            unreach::SCOPE => "Destination Unreachable Beyond Scope",
            unreach::ADDRESS => "Destination Host Unreachable",
            unreach::PORT => "Destination Port Unreachable",
            unreach::POLICY => "Source Address Failed Ingress/Egress Policy",
            unreach::REJECT => "Reject Route to Destination",
            _ => return Some(format!("Destination Unreachable, Bad Code: {c}")),
        },
        (ty::TOO_BIG, _) => return Some(format!("Packet too big mtu = {}", h.word())),
        (ty::TIME_EXCEEDED, timxceed::HOP_LIMIT) => "Time to live exceeded",
        (ty::TIME_EXCEEDED, timxceed::REASSEMBLY) => "Frag reassembly time exceeded",
        (ty::TIME_EXCEEDED, c) => return Some(format!("Time exceeded, Bad Code: {c}")),
        (ty::PARAM_PROBLEM, c) => {
            let what = match c {
                param::HEADER => "Erroneous Header",
                param::NEXT_HEADER => "Unknown Nextheader",
                param::OPTION => "Unrecognized Option",
                param::FIRST_FRAGMENT => "First Fragment Without All Headers",
                _ => return Some(format!("Parameter problem, Bad Code: {c}")),
            };
            return Some(format!("Parameter problem: {what} at {}", h.word()));
        }
        (ty::MLD_QUERY, _) => "Multicast Listener Query",
        (ty::MLD_REPORT, _) => "Multicast Listener Report",
        (ty::MLD2_REPORT, _) => "Multicast Listener Report (v2)",
        (ty::MLD_DONE, _) => "Multicast Listener Done",
        (ty::ROUTER_SOLICIT, _) => "Router Solicitation",
        (ty::ROUTER_ADVERT, _) => "Router Advertisement",
        (ty::NEIGHBOR_SOLICIT, _) => "Neighbor Solicitation",
        (ty::NEIGHBOR_ADVERT, _) => "Neighbor Advertisement",
        (ty::REDIRECT, _) => "Redirect",
        (ty::NODE_QUERY, _) => "Node Information Query",
        (ty::NODE_REPLY, _) => "Node Information Reply",
        (t, _) => return Some(format!("ICMPv6 type {t}")),
    };
    Some(text.into())
}
