//! System calls the project needs, made safe; names on disk.
