//! What the machine is told of its device.

use iopkt_usbip::cdc::Function;

/// How the machine is set up.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The ECM function.
    pub ecm: Function,
    /// A serial function beside it.
    pub acm: Option<Function>,
    /// MAC address of the interface.
    pub mac: [u8; 6],
    /// Longest frame, bytes.
    pub max_segment: u16,
    /// Addresses that the multicast filter holds; 0: it has none.
    pub mc_filters: u16,
    /// The filter is a hash table: frames of other groups come too.
    pub mc_imperfect: bool,
    /// Statistics that the device has, a bit each (`bmEthernetStatistics`).
    pub statistics: u32,
    /// Wake-up patterns that it holds.
    pub power_filters: u8,
    /// Receive URBs.
    pub receive: usize,
    /// Transmit URBs.
    pub transmit: usize,
    /// Bytes of the AT channel each way.
    pub bufsz: usize,
    /// How long a control request may take, nanoseconds.
    pub control_timeout: u64,
    /// Longest encapsulated response to ask for, bytes (`ctrlbufsz=`).
    pub response_len: u16,
    /// Encapsulated responses that may be asked for in a row (`ctrlrxurb=`).
    pub responses: usize,
    /// The device gets no packet filter requests.
    pub no_filter: bool,
    /// The device takes no zero-length packets: a byte of padding ends a frame that fills its last packet.
    pub pad: bool,
    /// Each frame carries its FCS, both ways (Sharp Zaurus and relatives).
    pub fcs: bool,
    /// Frames may come with a made-up destination address (ZTE): it is replaced by ours.
    pub fix_dst: bool,
}

impl Setting {
    /// What follows from the descriptors, with the documented defaults.
    pub fn new(ecm: Function, acm: Option<Function>) -> Setting {
        let e = ecm.ethernet;
        let filters = e.map_or(0, |e| e.mc_filters);
        Setting {
            ecm,
            acm,
            mac: [0; 6],
            max_segment: 1514,
            mc_filters: filters & 0x7fff,
            mc_imperfect: filters & 0x8000 != 0,
            statistics: e.map_or(0, |e| e.statistics),
            power_filters: e.map_or(0, |e| e.power_filters),
            receive: 64,
            transmit: 64,
            bufsz: 2048,
            control_timeout: 2_000_000_000,
            response_len: 1024,
            responses: 16,
            no_filter: false,
            pad: false,
            fcs: false,
            fix_dst: false,
        }
    }

    /// The setting of the data interface in which it does nothing.
    pub(super) fn off(&self) -> u8 {
        u8::from(self.ecm.data_alt == 0)
    }

    /// Longest transfer from the device that can be a frame.
    pub(super) fn longest(&self) -> usize {
        usize::from(self.max_segment) + if self.fcs { 4 } else { 0 }
    }
}
