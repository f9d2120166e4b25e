//! Finds, checks, loads and unloads drivers and modules.
