//! End-to-end tests against programs and kernels nobody here wrote.
