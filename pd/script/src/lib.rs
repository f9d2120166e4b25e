//! A runner for packetdrill's script language over [`iopkt_world`].
#![forbid(unsafe_code)]
