//! Packetdrill's user-space interface over this stack (`packetdrill --so_filename=libiopkt_packetdrill.so`).
//!
//! packetdrill(1) loads a shared object, calls [`packetdrill_interface_init`] with `--so_flags` and a table of 32 function
//! pointers to fill in, and from then on makes every system call, packet and look at the clock of a script through
//! the table. Here stands behind it a [`iopkt_world::World`]: our whole stack in virtual time.
//!
//! **Threads.** Packetdrill makes calls that its script declares as blocking from a second thread, and goes on with the script in the first.
//! So a call that blocks waits on a condition variable (`drive`), and whoever moves the clock (usleep, netdev_send,
//! netdev_receive, on the first thread) stops at the instant at which such a call can return, until it has returned *and*
//! has looked at the clock: packetdrill checks that time. A call on the first thread that blocks moves the clock itself.
//!
//! **Descriptors** are real ones (of /dev/null), for packetdrill closes with close(2) what a script left open.
//!
//! **The variables of ip-sysctl.** Scripts run `sysctl net.ipv4.tcp_sack=0` in a shell. The values that the kernel has in this network
//! namespace are read before a call that depends on them, and taken over (`settings`); with `sysctl=off` in `--so_flags` they are not.
//!
//! **What packetdrill does not ask by the table**: TCP_INFO for `%{ }%` code and sendfile(2). Those two calls of the program that
//! loads us are led here (`hook`); descriptors that are not ours go on to the C library.
#![warn(missing_docs)]

mod drive;
mod flags;
mod hook;
mod io;
mod msg;
mod nstat;
mod settings;
mod table;
mod tun;

pub use table::packetdrill_interface_init;
