//! `--help` and `--version`.

use super::{MAX_PRIORITY, MAX_THREADS, Variant, tcpip};

pub(super) fn version(v: &Variant) -> String {
    format!("{} {}\n", v.name, env!("CARGO_PKG_VERSION"))
}

pub(super) fn text(v: &Variant) -> String {
    let note = if v.note.is_empty() { String::new() } else { format!("{}\n", v.note) };
    format!(
        "\
usage: {name} [-DISv] [-d driver [opts]]... [-i instance] [-P priority] [-p protocol [opts]]...
       {pad} [-t threads] [-U user] [--foreground] [--no-confine] [--help] [--version]
{about}
{note}
  -D                  the stack has a packet thread of its own, which runs no devices
  -d driver [opts]    load a driver: a name (ecm means devnp-ecm.so) or a path; opts is one word, comma
                      separated; name=PREFIX, unit=N and priority=N are understood for every driver
  -I                  without the right to raw input and output (CAP_SYS_RAWIO)
  -i instance         instance number N; mount then knows this stack as type io-pktN
  -P priority         priority of the main thread, QNX scale (1 to {MAX_PRIORITY}; above 10 real time, if permitted)
  -p protocol [opts]  load a stack module: a name (autoip means lsm-autoip.so) or a path; or pass options
                      to tcpip, which is built in
  -S                  no handler for SIGSEGV (for a clean core file)
  -t threads          packet threads (1 to {MAX_THREADS}, default one per processor)
  -U user             who to become when qnx.kern.droproot is written: uid[:gid[,gid]...] or name[,gid]...
  -v                  load errors and limits to the console too (they always go to the log, see sloginfo)
  --foreground        stay in the foreground (default: into the background once start-up is done)
  --no-confine        keep every capability, no landlock, no seccomp filter (for drivers that need it)

  -p tcpip options:
{options}
Names: $IO_PKT_ROOT, else /run/io-pkt (root), else $XDG_RUNTIME_DIR/io-pkt, else /tmp/io-pkt-UID holds
dev/socket, dev/slog, proc/io-pktN, and PREFIX/dev/socket for prefix=PREFIX (clients: SOCK=PREFIX).
Exit status: 0 started (or ended in good order with --foreground), 1 start failed, 2 command line refused.
",
        name = v.name,
        pad = " ".repeat(v.name.len()),
        about = v.about,
        options = tcpip::help(v),
    )
}
