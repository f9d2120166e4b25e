//! slogger: the log ring and its readers.
