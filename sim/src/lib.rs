//! The simulator: virtual clock, seeds, faulty links, invariants.
