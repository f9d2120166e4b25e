//! `netstat -s`, `-m`: counters.

use iopkt_ctl::ProtoStats;
use std::fmt::Write;

/// Title of a histogram and what stands below it, of a text like `input histogram: echo: {}` or `histogram of errors: no route: {}`.
fn histogram_of(text: &str) -> Option<(&str, &str)> {
    let (title, rest) = text.split_once(": ")?;
    (title.ends_with(" histogram") || title.starts_with("histogram ")).then_some((title, rest))
}

/// `netstat -s`: a title per protocol, an indented line per counter; a histogram (counters whose text begins
/// `... histogram: ` or `histogram of ...: `) is a title of its own with a line per kind that occurred, as BSD has it.
pub fn stats(st: &ProtoStats) -> String {
    let mut groups: Vec<&str> = Vec::new();
    for c in &st.counters {
        if !groups.contains(&c.group.as_str()) {
            groups.push(&c.group);
        }
    }
    let mut o = String::new();
    for group in groups {
        let _ = writeln!(o, "{group}:");
        let mut histogram = "";
        for c in st.counters.iter().filter(|c| c.group == group) {
            let (title, text) = histogram_of(&c.text).unwrap_or(("", &c.text));
            if title != histogram {
                histogram = title;
                if !title.is_empty() {
                    let _ = writeln!(o, "\t{}:", capital(title));
                }
            }
            if title.is_empty() {
                let text = if c.value == 1 {
                    text.replace("packets", "packet").replace("datagrams", "datagram")
                } else {
                    text.to_string()
                };
                let _ = writeln!(o, "\t{}", text.replacen("{}", &c.value.to_string(), 1));
            } else {
                let _ = writeln!(o, "\t\t{}", text.replacen("{}", &c.value.to_string(), 1));
            }
        }
    }
    o
}

/// The first letter made a capital.
fn capital(s: &str) -> String {
    let mut c = s.chars();
    c.next().map_or_else(String::new, |f| f.to_uppercase().chain(c).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_ctl::Counter;

    #[test]
    fn counters_read_like_sentences() {
        let c = |g: &str, t: &str, v| Counter { group: g.into(), text: t.into(), value: v };
        let st = ProtoStats {
            counters: vec![c("ip", "{} packets received", 2), c("udp", "{} datagrams received", 1)],
        };
        assert_eq!(stats(&st), "ip:\n\t2 packets received\nudp:\n\t1 datagram received\n");
    }

    #[test]
    fn histograms_stand_in_their_protocols_block() {
        let c = |g: &str, t: &str, v| Counter { group: g.into(), text: t.into(), value: v };
        let st = ProtoStats {
            counters: vec![
                c("icmp", "{} bad checksums", 3),
                c("igmp", "{} messages received", 0),
                c("icmp", "output histogram: echo reply: {}", 2),
                c("icmp", "input histogram: echo: {}", 2),
                c("icmp", "input histogram: redirect: {}", 1),
            ],
        };
        assert_eq!(
            stats(&st),
            "icmp:\n\t3 bad checksums\n\tOutput histogram:\n\t\techo reply: 2\n\tInput histogram:\n\t\techo: 2\n\
             \t\tredirect: 1\nigmp:\n\t0 messages received\n"
        );
    }
}
