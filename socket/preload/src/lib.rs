//! The preload library: control calls of dynamic programs.
