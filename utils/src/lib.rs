//! ifconfig, route, netstat, arp, ping, if_up, nicinfo, slogger, sloginfo, usb, mount, umount, waitfor.
//!
//! One program for all of them (`iopkt-utils`), called by their names. Each tool is a function of its words and
//! a [`tool::Stack`], so that its grammar and output are tested without one.

pub mod addr;
pub mod arp;
pub mod at;
pub mod conn;
pub mod dhcp;
pub mod dhcp6c;
pub mod dns;
pub mod dump;
pub mod getopt;
pub mod if_up;
pub mod ifconfig;
pub mod ifwatchd;
pub mod ip6addrctl;
pub mod mount;
pub mod names;
pub mod ndp;
pub mod netstat;
pub mod nicinfo;
pub mod ping;
pub mod ping6;
pub mod resolvconf;
pub mod resolve;
pub mod route;
pub mod rtadvd;
pub mod rtsol;
pub mod slogger;
pub mod sloginfo;
pub mod sockstat;
pub mod sysctl;
pub mod system;
pub mod tool;
pub mod tools;
pub mod traceroute;
pub mod traceroute6;
pub mod usb;
pub mod usblauncher;
pub mod waitfor;
