//! Threads, epoll, clock, command line: what turns the pure stack into a process.

pub mod cmdline;
