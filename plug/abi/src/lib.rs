//! repr(C) mirror of include/iopkt/*.h.
#![no_std]
