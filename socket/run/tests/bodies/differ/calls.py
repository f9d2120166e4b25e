"""Socket calls in every state a socket can be in: what each returns, or its errno.

Prints a line a call; run on the kernel's sockets and on a stack's, the outputs are compared. Ports and times are not printed.
"""
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import sys
import threading

L = ctypes.CDLL(None, use_errno=True)
LO = "127.0.0.1"
section = "?"


def err(e):
    return errno.errorcode.get(e, str(e))


def say(what, value):
    print("%s %s: %s" % (section, what, value), flush=True)


def call(what, f, *args):
    """A function of libc: its result or errno."""
    ctypes.set_errno(0)
    r = f(*args)
    say(what, err(ctypes.get_errno()) if r < 0 else r)
    return r


def py(what, f, *args):
    """A function of Python's socket module: its result or errno."""
    try:
        r = f(*args)
    except OSError as e:
        say(what, err(e.errno) if e.errno else type(e).__name__)
        return None
    if isinstance(r, socket.socket) or isinstance(r, tuple) and r and isinstance(r[0], socket.socket):
        say(what, "socket")
    else:
        say(what, show(r))
    return r


def show(r):
    """Ports are not told, addresses are."""
    if isinstance(r, tuple) and len(r) == 2 and isinstance(r[0], str) and isinstance(r[1], int):
        return "%s:%s" % (r[0], "0" if r[1] == 0 else "port")
    if isinstance(r, tuple):
        return "(" + ", ".join(str(show(x)) for x in r) + ")"
    if isinstance(r, list):
        return "[" + ", ".join(str(show(x)) for x in r) + "]"
    return r


def sin(host, port, family=socket.AF_INET):
    return struct.pack("=H", family) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)


def tcp(kind=0):
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM | kind)


def udp(kind=0):
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | kind)


def events(s, wanted=None, timeout=0):
    p = select.poll()
    p.register(s, (select.POLLIN | select.POLLOUT | select.POLLRDHUP | select.POLLPRI) if wanted is None else wanted)
    r = p.poll(timeout)
    n = r[0][1] if r else 0
    names = ["IN", "PRI", "OUT", "ERR", "HUP", "NVAL"]
    out = [x for i, x in enumerate(names) if n & (1 << i)]
    if n & select.POLLRDHUP:
        out.append("RDHUP")
    return "|".join(out) or "none"


def settle(s, wanted):
    """Waits until an event is there that must come. An error of a datagram socket may show as something to read, or not at all."""
    if wanted == select.POLLERR:
        events(s, wanted | select.POLLIN, 1000)
    else:
        events(s, wanted, 60000)


def pair():
    l = tcp()
    l.bind((LO, 0))
    l.listen(8)
    a = tcp()
    a.connect(l.getsockname())
    b, _ = l.accept()
    l.close()
    return a, b


def soerr(s):
    e = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return err(e) if e else 0


def begin(name):
    global section
    section = name


def creation():
    begin("socket")
    for d, t, p in [
        (2, 1, 0), (2, 1, 6), (2, 1, 17), (2, 1, 1), (2, 2, 0), (2, 2, 17), (2, 2, 6), (2, 2, 136), (2, 3, 0), (2, 3, 255),
        (2, 3, 256), (2, 3, 6), (2, 4, 0), (2, 5, 0), (2, 6, 0), (2, 10, 0), (2, 11, 0), (2, 0, 0), (2, -1, 0), (2, 1, -1), (2, 1, 300),
        (2, 1, 132), (2, 2, 1), (2, 3, 1), (2, 0o4000, 0), (2, 0o4001, 0), (2, 0o2000001, 0), (2, 0x101, 0), (2, 0x41, 0),
        (-1, 1, 0), (999, 1, 0), (0, 1, 0), (45, 1, 0), (2, 1, 262),
    ]:
        fd = L.socket(d, t, p)
        e = ctypes.get_errno()
        say("socket(%d, %#x, %d)" % (d, t, p), "ok" if fd >= 0 else err(e))
        if fd >= 0:
            os.close(fd)


def arguments():
    begin("args")
    s, u = tcp(), udp()
    a = sin(LO, 0)
    for name, fd in (("tcp", s.fileno()), ("udp", u.fileno()), ("bad", 9999), ("file", 0)):
        if name == "file":
            fd = os.open("/dev/null", os.O_RDWR)
        buf, n = ctypes.create_string_buffer(128), ctypes.c_int(128)
        for f, args in [
            ("bind", (a, 0)), ("bind", (a, 2)), ("bind", (a, 15)), ("bind", (a, -1)), ("bind", (a, 200)), ("bind", (None, 16)), ("bind", (ctypes.c_void_p(8), 16)),
            ("connect", (a, 0)), ("connect", (a, 1)), ("connect", (a, 15)), ("connect", (a, -1)), ("connect", (a, 200)),
            ("connect", (ctypes.c_void_p(8), 16)),
            ("getpeername", (buf, ctypes.byref(n))), ("getsockname", (None, None)), ("getsockname", (buf, None)),
            ("getsockname", (ctypes.c_void_p(8), ctypes.byref(n))),
            ("getpeername", (None, ctypes.byref(n))),
            ("accept", (None, None)), ("accept4", (None, None, 0)), ("accept4", (None, None, -1)), ("accept4", (None, None, 0x1)),
            ("shutdown", (3,)), ("shutdown", (-1,)),
            ("send", (b"x", 1, 0x4000)), ("send", (None, 0, 0x4000)), ("recv", (buf, 0, 0x40)), ("recv", (buf, 8, 0x40)),
            ("sendto", (b"x", 1, 0x4000, a, 15)), ("sendto", (b"x", 1, 0x4000, a, -1)), ("sendto", (b"x", 1, 0x4000, a, 200)), ("sendto", (b"x", 1, 0x4000, None, 16)),
            ("setsockopt", (1, 2, None, 4)), ("setsockopt", (1, 2, b"\1\0\0\0", -1)), ("setsockopt", (1, 2, ctypes.c_void_p(8), 4)), ("setsockopt", (1, 2, b"\1\0\0\0", 3)),
            ("setsockopt", (77, 2, b"\1\0\0\0", 4)), ("setsockopt", (1, 4000, b"\1\0\0\0", 4)),
            ("getsockopt", (1, 2, None, ctypes.byref(n))), ("getsockopt", (1, 2, buf, None)), ("getsockopt", (77, 2, buf, ctypes.byref(n))),
            ("listen", (5,)) if name != "tcp" else ("listen", (-1,)),
            ("sockatmark", ()),
        ]:
            shown = ", ".join("addr" if x is a else "buf" if x is buf else "&n" if not isinstance(x, (int, bytes, type(None), ctypes.c_void_p)) else "8" if isinstance(x, ctypes.c_void_p) else repr(x) for x in args)
            n.value = 128
            call("%s %s(%s)" % (name, f, shown), getattr(L, f), fd, *args)
        n.value = -1
        call(name + " getsockname(len -1)", L.getsockname, fd, buf, ctypes.byref(n))
        call(name + " getsockopt(len -1)", L.getsockopt, fd, 1, 2, buf, ctypes.byref(n))
    s.close()
    u.close()
    for room in (0, 1, 2, 8, 15, 16, 17, 128):
        with udp() as u:
            u.bind((LO, 0))
            buf, n = ctypes.create_string_buffer(b"\xee" * 128, 128), ctypes.c_int(room)
            call("getsockname(%d)" % room, L.getsockname, u.fileno(), buf, ctypes.byref(n))
            say("getsockname(%d) gives" % room, "%d %s" % (n.value, (buf.raw[:2] + buf.raw[4:room]).hex() if room >= 4 else buf.raw[:2].hex()))


def binding():
    begin("bind")
    for kind, make in (("tcp", tcp), ("udp", udp)):
        with make() as s:
            py(kind + " family 99", lambda: call(kind + " bind family 99", L.bind, s.fileno(), sin(LO, 0, 99), 16))
            call(kind + " bind family 10", L.bind, s.fileno(), sin(LO, 0, 10), 16)
            call(kind + " bind family 0 any", L.bind, s.fileno(), sin("0.0.0.0", 0, 0), 16)
        with make() as s:
            call(kind + " bind family 0 lo", L.bind, s.fileno(), sin(LO, 0, 0), 16)
        for host in ("192.0.2.1", "224.0.0.5", "255.255.255.255", "127.255.255.255", "127.0.0.2", "0.0.0.0", "240.0.0.1"):
            with make() as s:
                py("%s bind %s" % (kind, host), s.bind, (host, 0))
                py("%s name after %s" % (kind, host), s.getsockname)
        with make() as s:
            s.bind((LO, 0))
            py(kind + " bind twice", s.bind, (LO, 0))
            if kind == "tcp":
                s.listen()
            with make() as t:
                py(kind + " bind in use", t.bind, s.getsockname())
                py(kind + " bind in use by any", t.bind, ("0.0.0.0", s.getsockname()[1]))
                py(kind + " bind other address", t.bind, ("127.0.0.3", s.getsockname()[1]))
        with make() as s:
            py(kind + " freebind", s.setsockopt, 0, 15, 1)
            py(kind + " bind foreign with it", s.bind, ("192.0.2.1", 0))
    R, P = socket.SO_REUSEADDR, socket.SO_REUSEPORT
    opts = {"-": [], "R": [R], "P": [P], "RP": [R, P]}
    for kind, make in (("tcp", tcp), ("udp", udp)):
        for state in ("bound", "listening") if kind == "tcp" else ("bound",):
            for a in opts:
                for b in opts:
                    for ha, hb in ((LO, LO), (LO, "0.0.0.0"), ("0.0.0.0", LO), ("0.0.0.0", "0.0.0.0"), (LO, "127.0.0.2")):
                        with make() as s, make() as t:
                            for o in opts[a]:
                                s.setsockopt(1, o, 1)
                            for o in opts[b]:
                                t.setsockopt(1, o, 1)
                            s.bind((ha, 0))
                            if state == "listening":
                                s.listen()
                            what = "%s %s %s %s then %s %s" % (kind, state, ha, a, hb, b)
                            if py(what, lambda: t.bind((hb, s.getsockname()[1])) or "ok") and kind == "tcp":
                                py(what + " listen", lambda: t.listen() or "ok")


def stream_states():
    begin("fresh")
    s = tcp()
    say("poll", events(s))
    py("getpeername", s.getpeername)
    py("getsockname", s.getsockname)
    py("accept", s.accept)
    py("shutdown", s.shutdown, 2)
    say("SO_ERROR", soerr(s))
    s.setblocking(False)
    py("recv", s.recv, 10)
    py("recvmsg", s.recvmsg, 10)
    py("recvfrom", s.recvfrom, 10)
    s.close()

    begin("bound")
    s = tcp()
    s.bind((LO, 0))
    say("poll", events(s))
    py("accept", s.accept)
    py("shutdown", s.shutdown, 0)
    py("getpeername", s.getpeername)
    s.close()

    begin("listening")
    l = tcp()
    l.setblocking(False)
    py("listen unbound", l.listen, 0)
    py("getsockname", l.getsockname)
    l.close()
    l = tcp()
    l.setblocking(False)
    l.bind((LO, 0))
    l.listen(1)
    say("poll", events(l))
    py("accept", l.accept)
    py("connect", l.connect, (LO, 9))
    py("recv", l.recv, 1)
    py("getpeername", l.getpeername)
    py("listen again", l.listen, 5)
    py("bind", l.bind, (LO, 0))
    say("ACCEPTCONN", l.getsockopt(1, 30))
    c = tcp()
    c.connect(l.getsockname())
    settle(l, select.POLLIN)
    say("poll with one", events(l))
    b, who = l.accept()
    say("accepted", show(who) if who == c.getsockname() else who)
    say("accepted blocks", os.get_blocking(b.fileno()))
    b.close()
    c.close()
    py("shutdown wr", l.shutdown, 1)
    py("shutdown rd", l.shutdown, 0)
    say("poll after", events(l))
    py("accept after", l.accept)
    py("listen after", l.listen, 5)
    say("poll listening again", events(l))
    l.close()
    for flags in (0, 0o4000, 0o2000000, 0o2004000):
        l = tcp()
        l.bind((LO, 0))
        l.listen()
        c = tcp()
        c.connect(l.getsockname())
        fd = L.accept4(l.fileno(), None, None, flags)
        say("accept4(%o)" % flags, (os.get_blocking(fd), os.get_inheritable(fd)))
        os.close(fd)
        c.close()
        l.close()

    begin("refused")
    s = tcp()
    py("connect", s.connect, (LO, 1))
    say("SO_ERROR", soerr(s))
    py("getpeername", s.getpeername)
    py("connect again", s.connect, (LO, 1))
    s.close()
    s = tcp()
    s.setblocking(False)
    py("connect nonblocking", s.connect, (LO, 1))
    settle(s, select.POLLOUT)
    say("poll", events(s))
    say("SO_ERROR", soerr(s))
    say("SO_ERROR again", soerr(s))
    say("poll after", events(s))
    s.close()
    s = tcp()
    s.setblocking(False)
    py("connect nonblocking", s.connect, (LO, 1))
    settle(s, select.POLLOUT)
    py("connect again", s.connect, (LO, 1))
    s.close()
    s = tcp()
    s.setblocking(False)
    py("connect nonblocking", s.connect, (LO, 1))
    settle(s, select.POLLOUT)
    py("recv", s.recv, 1)
    py("recv again", s.recv, 1)
    s.close()

    begin("connect")
    for host, port in (("0.0.0.0", 1), ("255.255.255.255", 9), ("224.0.0.5", 9), ("192.0.2.77", 9), ("240.0.0.1", 9), (LO, 0)):
        with tcp() as s:
            py("%s %d" % (host, port), s.connect, (host, port))
    with tcp() as s:
        call("AF_UNSPEC", L.connect, s.fileno(), bytes(16), 16)
        call("family 77", L.connect, s.fileno(), sin(LO, 1, 77), 16)
        call("family 10", L.connect, s.fileno(), sin(LO, 1, 10), 16)
    l = tcp()
    l.bind(("0.0.0.0", 0))
    l.listen()
    with tcp() as s:
        py("to any", s.connect, ("0.0.0.0", l.getsockname()[1]))
        py("is", s.getpeername)
        py("again", s.connect, ("0.0.0.0", l.getsockname()[1]))
        py("bind after", s.bind, (LO, 0))
        py("listen after", s.listen)
        py("accept after", s.accept)
        call("AF_UNSPEC", L.connect, s.fileno(), bytes(16), 16)
        py("getpeername after", s.getpeername)
        py("getsockname after", s.getsockname)
        py("connect after", s.connect, (LO, l.getsockname()[1]))
        py("peer", s.getpeername)
    with tcp() as s:
        s.setblocking(False)
        py("nonblocking", s.connect, (LO, l.getsockname()[1]))
        settle(s, select.POLLOUT)
        say("poll", events(s))
        say("SO_ERROR", soerr(s))
        py("second call", s.connect, (LO, l.getsockname()[1]))
        py("third call", s.connect, (LO, l.getsockname()[1]))
    l.close()

    begin("established")
    a, b = pair()
    say("poll", events(a))
    py("recv DONTWAIT", a.recv, 1, socket.MSG_DONTWAIT)
    py("recv OOB", a.recv, 1, socket.MSG_OOB)
    py("recv ERRQUEUE", a.recv, 1, socket.MSG_ERRQUEUE)
    py("send 0", a.send, b"")
    py("sendto", a.sendto, b"abc", (LO, 1))
    settle(b, select.POLLIN)
    py("recvfrom", b.recvfrom, 10)
    py("sendmsg", a.sendmsg, [b"ab", b"", b"cd"])
    settle(b, select.POLLIN)
    py("recv PEEK", b.recv, 10, socket.MSG_PEEK)
    py("recvmsg PEEK", b.recvmsg, 3, 100, socket.MSG_PEEK)
    py("recv TRUNC", b.recv, 2, socket.MSG_TRUNC)
    py("recvmsg", b.recvmsg, 100, 100)
    a.sendall(b"x" * 100)
    py("recv WAITALL", lambda: len(b.recv(100, socket.MSG_WAITALL)))
    py("sendmsg with TTL", a.sendmsg, [b"x"], [(0, 2, struct.pack("i", 9))])
    py("sendmsg with name", a.sendmsg, [b"y"], [], 0, (LO, 9))
    a.shutdown(socket.SHUT_WR)
    settle(b, select.POLLRDHUP)
    say("poll after the peer's FIN", events(b))
    py("WAITALL to the end", b.recv, 100, socket.MSG_WAITALL)
    py("recv at the end", b.recv, 100)
    say("poll at the end", events(b))
    say("poll of who shut", events(a))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    py("send after SHUT_WR", a.send, b"x")
    py("shutdown twice", a.shutdown, 1)
    py("peer's send", b.send, b"back")
    settle(a, select.POLLIN)
    py("recv", a.recv, 10)
    b.close()
    settle(a, select.POLLRDHUP)
    say("poll after both", events(a))
    py("recv after both", a.recv, 10)
    py("getpeername after both", a.getpeername)
    py("shutdown after both", a.shutdown, 2)
    a.close()

    begin("SHUT_RD")
    a, b = pair()
    py("shutdown", a.shutdown, 0)
    say("poll", events(a))
    py("recv", a.recv, 10)
    py("send", a.send, b"x")
    a.close()
    b.close()

    begin("SHUT_RDWR")
    a, b = pair()
    py("shutdown", a.shutdown, 2)
    say("poll", events(a, None, 0))
    py("recv", a.recv, 10)
    py("send", a.send, b"x")
    say("SO_ERROR", soerr(a))
    py("SO_SNDBUF", lambda: a.getsockopt(1, 7) > 0)
    py("NODELAY", a.getsockopt, 6, 1)
    settle(b, select.POLLRDHUP)
    say("peer's poll", events(b))
    a.close()
    b.close()

    begin("reset")
    a, b = pair()
    b.setsockopt(1, 13, struct.pack("ii", 1, 0))
    b.close()
    settle(a, select.POLLERR)
    say("poll", events(a))
    say("SO_ERROR", soerr(a))
    say("poll after", events(a))
    py("recv", a.recv, 10)
    py("recv again", a.recv, 10)
    py("send", a.send, b"x")
    py("getpeername", a.getpeername)
    py("getsockname", a.getsockname)
    py("shutdown", a.shutdown, 2)
    a.close()
    a, b = pair()
    b.setsockopt(1, 13, struct.pack("ii", 1, 0))
    b.close()
    settle(a, select.POLLERR)
    py("send first", a.send, b"x")
    py("send second", a.send, b"x")
    a.close()
    a, b = pair()
    a.sendall(b"unread")
    settle(b, select.POLLIN)
    b.close()
    settle(a, select.POLLERR)
    say("poll, closed unread", events(a))
    py("recv, closed unread", a.recv, 10)
    a.close()
    a, b = pair()
    b.close()
    settle(a, select.POLLRDHUP)
    py("first send after close", a.send, b"x")
    settle(a, select.POLLERR)
    say("poll", events(a))
    py("second send", a.send, b"x")
    py("third send", a.send, b"x")
    a.close()

    begin("SIGPIPE")
    for flags in (0, socket.MSG_NOSIGNAL):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            a, b = pair()
            a.shutdown(1)
            try:
                a.send(b"x", flags)
            except OSError:
                pass
            os._exit(0)
        _, st = os.waitpid(pid, 0)
        say("flags %#x" % flags, "signal %d" % os.WTERMSIG(st) if os.WIFSIGNALED(st) else "exit %d" % os.WEXITSTATUS(st))


def datagram_states():
    begin("udp")
    s = udp()
    say("poll fresh", events(s))
    py("getpeername", s.getpeername)
    py("getsockname", s.getsockname)
    py("send", s.send, b"x")
    py("recv DONTWAIT", s.recv, 1, socket.MSG_DONTWAIT)
    py("recv ERRQUEUE", s.recv, 1, socket.MSG_ERRQUEUE)
    py("recv OOB", s.recv, 1, socket.MSG_OOB | socket.MSG_DONTWAIT)
    py("send OOB", s.sendto, b"x", socket.MSG_OOB, (LO, 9))
    py("listen", s.listen)
    py("accept", s.accept)
    py("shutdown", s.shutdown, 2)
    py("to port 0", s.sendto, b"x", (LO, 0))
    py("to broadcast", s.sendto, b"x", ("255.255.255.255", 9))
    py("to nowhere", s.sendto, b"x", ("192.0.2.1", 9))
    py("65508 bytes", s.sendto, bytes(65508), (LO, 9))
    call("family 0", L.sendto, s.fileno(), b"x", 1, 0, sin(LO, 9, 0), 16)
    call("family 10", L.sendto, s.fileno(), b"x", 1, 0, sin(LO, 9, 10), 16)
    s.close()

    a, b = udp(), udp()
    a.bind((LO, 0))
    b.bind((LO, 0))
    py("65507 bytes", a.sendto, bytes(65507), b.getsockname())
    settle(b, select.POLLIN)
    py("of which", lambda: len(b.recv(70000)))
    py("empty", a.sendto, b"", b.getsockname())
    settle(b, select.POLLIN)
    say("poll with an empty one", events(b))
    py("recvfrom empty", b.recvfrom, 10)
    for flags in (0, socket.MSG_TRUNC, socket.MSG_PEEK, socket.MSG_PEEK | socket.MSG_TRUNC):
        a.sendto(b"0123456789", b.getsockname())
        settle(b, select.POLLIN)
        buf = ctypes.create_string_buffer(64)
        say("recv(4, %#x)" % flags, "%d %r" % (L.recv(b.fileno(), buf, 4, flags), buf.value))
        if flags & socket.MSG_PEEK:
            b.recv(10)
    a.sendto(b"0123456789", b.getsockname())
    settle(b, select.POLLIN)
    py("recvmsg(4)", b.recvmsg, 4, 100)
    a.sendto(b"0123456789", b.getsockname())
    settle(b, select.POLLIN)
    py("read(4)", os.read, b.fileno(), 4)
    py("second read", b.recv, 4, socket.MSG_DONTWAIT)
    a.sendto(b"0123456789", b.getsockname())
    settle(b, select.POLLIN)
    py("recv_into plain", b.recv, 100)

    begin("udp connected")
    py("connect", a.connect, b.getsockname())
    py("getpeername", a.getpeername)
    py("getsockname", a.getsockname)
    py("connect again", a.connect, b.getsockname())
    py("send", a.send, b"abc")
    py("sendto other", a.sendto, b"d", b.getsockname())
    for _ in range(2):
        settle(b, select.POLLIN)
        py("recv", b.recvfrom, 10)
    c = udp()
    c.bind((LO, 0))
    c.sendto(b"stranger", a.getsockname())
    b.sendto(b"friend", a.getsockname())
    settle(a, select.POLLIN)
    py("hears", a.recv, 100)
    py("and no more", a.recv, 100, socket.MSG_DONTWAIT)
    call("AF_UNSPEC", L.connect, a.fileno(), bytes(16), 16)
    py("getpeername after", a.getpeername)
    py("getsockname after", a.getsockname)
    py("send after", a.send, b"x")
    py("shutdown after", a.shutdown, 2)
    d = udp()
    d.connect(b.getsockname())
    py("shutdown", d.shutdown, 2)
    py("send", d.send, b"x")
    py("recv", d.recv, 1)
    say("poll", events(d))
    d.close()
    e = udp()
    call("AF_UNSPEC unbound", L.connect, e.fileno(), bytes(16), 16)
    py("connect broadcast", e.connect, ("255.255.255.255", 9))
    py("connect nowhere", e.connect, ("192.0.2.9", 9))
    py("connect port 0", e.connect, (LO, 0))
    py("send to port 0", e.send, b"x")
    e.close()

    begin("udp refused")
    e = udp()
    e.connect((LO, 1))
    py("send", e.send, b"x")
    settle(e, select.POLLERR)
    say("SO_ERROR", soerr(e))
    say("SO_ERROR again", soerr(e))
    py("send", e.send, b"x")
    settle(e, select.POLLERR)
    py("recv", e.recv, 10, socket.MSG_DONTWAIT)
    py("recv again", e.recv, 10, socket.MSG_DONTWAIT)
    py("send", e.send, b"x")
    settle(e, select.POLLERR)
    py("send again", e.send, b"x")
    e.close()

    begin("IP_RECVERR")
    e = udp()
    e.setsockopt(0, 11, 1)
    py("sendto", e.sendto, b"hello", (LO, 1))
    settle(e, select.POLLERR)
    r = py("recvmsg ERRQUEUE", lambda: e.recvmsg(100, 512, socket.MSG_ERRQUEUE))
    say("SO_ERROR after", soerr(e))
    py("empty", lambda: e.recvmsg(100, 512, socket.MSG_ERRQUEUE))
    py("sendto", e.sendto, b"hello", (LO, 1))
    settle(e, select.POLLERR)
    py("recv", e.recv, 10, socket.MSG_DONTWAIT)
    r = py("recvmsg(3) ERRQUEUE", lambda: e.recvmsg(3, 512, socket.MSG_ERRQUEUE))
    py("sendto", e.sendto, b"hello", (LO, 1))
    settle(e, select.POLLERR)
    say("SO_ERROR", soerr(e))
    r = py("recvmsg ERRQUEUE, no room", lambda: e.recvmsg(100, 0, socket.MSG_ERRQUEUE))
    e.setsockopt(0, 10, 2)
    py("too long", e.sendto, bytes(65507), (LO, 1))
    e.close()

    begin("cork")
    a, b = udp(), udp()
    b.bind((LO, 0))
    a.connect(b.getsockname())
    py("MORE", a.send, b"ab", socket.MSG_MORE)
    py("rest", a.send, b"cd")
    settle(b, select.POLLIN)
    py("one datagram", b.recv, 10)
    a.setsockopt(17, 1, 1)
    py("corked", a.send, b"12")
    py("corked", a.send, b"34")
    py("nothing yet", b.recv, 10, socket.MSG_DONTWAIT)
    py("uncork", a.setsockopt, 17, 1, 0)
    settle(b, select.POLLIN)
    py("one datagram", b.recv, 10)
    py("UDP_SEGMENT", a.sendmsg, [b"aaabbbc"], [(17, 103, struct.pack("H", 3))])
    for _ in range(3):
        settle(b, select.POLLIN)
        py("a segment", b.recv, 10)
    py("too many", a.sendmsg, [bytes(200)], [(17, 103, struct.pack("H", 1))])
    py("unknown control message", a.sendmsg, [b"x"], [(0, 77, b"")])
    py("short control message", a.sendmsg, [b"x"], [(0, 2, b"")])
    py("TTL 0", a.sendmsg, [b"x"], [(0, 2, struct.pack("i", 0))])
    py("TTL 256", a.sendmsg, [b"x"], [(0, 2, struct.pack("i", 256))])
    py("TOS 256", a.sendmsg, [b"x"], [(0, 1, struct.pack("i", 256))])
    a.close()
    b.close()


def control():
    begin("cmsg")
    a, b = udp(), udp()
    a.bind((LO, 0))
    b.bind((LO, 0))
    to = b.getsockname()
    sets = {"PKTINFO": (0, 8), "RECVTTL": (0, 12), "RECVTOS": (0, 13), "ORIGDST": (0, 20), "TIMESTAMP": (1, 29), "TIMESTAMPNS": (1, 35)}

    def told(what, room=1024):
        settle(b, select.POLLIN)
        data, anc, flags, _ = b.recvmsg(100, room)
        out = []
        for level, kind, v in anc:
            text = "%d bytes" % len(v) if level == 1 else (v[:2] + v[4:]).hex() if kind == 20 else v.hex()
            out.append("%d/%d %s" % (level, kind, text))
        say(what, "%r %s flags %#x" % (data, out, flags))

    for name, (level, opt) in sets.items():
        b.setsockopt(level, opt, 1)
        a.sendto(b"x", to)
        told(name)
        b.setsockopt(level, opt, 0)
    for name, (level, opt) in sets.items():
        b.setsockopt(level, opt, 1)
    a.sendto(b"x", to)
    told("all")
    for room in (8, 20, 24, 32, 40, 56, 80):
        a.sendto(b"x", to)
        told("all in %d" % room, room)
    a.setsockopt(0, 2, 33)
    a.setsockopt(0, 1, 0x28)
    a.sendto(b"x", to)
    told("TTL 33, TOS 0x28")
    a.sendmsg([b"x"], [(0, 2, struct.pack("i", 44)), (0, 1, struct.pack("B", 4))], 0, to)
    told("TTL 44, TOS 4 by message")
    a.connect(to)
    b.connect(a.getsockname())
    a.send(b"x")
    told("connected")
    stamping = (1 << 3) | (1 << 4)
    b.setsockopt(1, 29, 0)
    b.setsockopt(1, 37, stamping)
    a.send(b"x")
    told("TIMESTAMPING")
    a.close()
    b.close()

    begin("mmsg")
    a, b = udp(), udp()
    b.bind((LO, 0))
    a.connect(b.getsockname())

    class iovec(ctypes.Structure):
        _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]

    class msghdr(ctypes.Structure):
        _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(iovec)), ("iovlen", ctypes.c_size_t),
                    ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int)]

    class mmsghdr(ctypes.Structure):
        _fields_ = [("hdr", msghdr), ("len", ctypes.c_uint)]

    iov = (iovec * 4)()
    mm = (mmsghdr * 4)()
    texts = [b"one", b"twotwo", b"", b"four"]
    for i, t in enumerate(texts):
        iov[i] = iovec(t, len(t))
        mm[i].hdr.iov = ctypes.pointer(iov[i])
        mm[i].hdr.iovlen = 1
    call("sendmmsg(4)", L.sendmmsg, a.fileno(), mm, 4, 0)
    say("lengths", [m.len for m in mm])
    call("sendmmsg(0)", L.sendmmsg, a.fileno(), mm, 0, 0)
    call("sendmmsg bad", L.sendmmsg, 9999, mm, 1, 0)
    bufs = [ctypes.create_string_buffer(5) for _ in range(4)]
    for i in range(4):
        iov[i] = iovec(ctypes.cast(bufs[i], ctypes.c_char_p), 5)
    settle(b, select.POLLIN)
    b.settimeout(20)
    os.set_blocking(b.fileno(), True)
    call("recvmmsg(4)", L.recvmmsg, b.fileno(), mm, 4, 0, None)
    say("got", [(m.len, bufs[i].raw[: min(m.len, 5)], m.hdr.flags) for i, m in enumerate(mm)])
    call("recvmmsg DONTWAIT", L.recvmmsg, b.fileno(), mm, 4, socket.MSG_DONTWAIT, None)
    a.send(b"z")
    settle(b, select.POLLIN)
    call("recvmmsg WAITFORONE", L.recvmmsg, b.fileno(), mm, 4, 0x10000, None)
    a.close()
    b.close()


def limits():
    begin("ports")
    # The range of the system is not known here: two ports of it are.
    with udp() as s:
        s.bind((LO, 0))
        p = s.getsockname()[1]
    first = p - 1 if p % 2 else p
    want = struct.pack("I", first | (first + 1) << 16)
    held = []
    for i in range(3):
        s = udp()
        s.setsockopt(0, 51, want)
        r = py("bind %d in a range of two" % i, lambda: s.bind((LO, 0)) or s.getsockname()[1] in (first, first + 1))
        held.append(s)
    for s in held:
        s.close()
    s = tcp()
    py("bad range", s.setsockopt, 0, 51, struct.pack("I", 50000 << 16 | 50001))
    s.close()
    s = tcp()
    s.setsockopt(0, 24, 1)
    py("NO_PORT bind", s.bind, (LO, 0))
    py("NO_PORT name", s.getsockname)
    s.close()

    begin("raw")
    r = socket.socket(socket.AF_INET, socket.SOCK_RAW, 99)
    py("getsockname", r.getsockname)
    py("getpeername", r.getpeername)
    py("send", r.send, b"x")
    py("bind", r.bind, (LO, 77))
    py("getsockname", r.getsockname)
    py("bind foreign", r.bind, ("192.0.2.1", 0))
    py("connect", r.connect, (LO, 5))
    py("getpeername", r.getpeername)
    py("send", r.send, b"payload")
    settle(r, select.POLLIN)
    py("recv", lambda: r.recv(100)[20:])
    py("listen", r.listen)
    py("accept", r.accept)
    py("shutdown", r.shutdown, 1)
    r.close()
    i = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
    py("short with HDRINCL", lambda: (i.setsockopt(0, 3, 1), i.sendto(b"x", (LO, 0))))
    i.close()
    n = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)
    say("HDRINCL of RAW", n.getsockopt(0, 3))
    py("recv of RAW", n.recv, 1, socket.MSG_DONTWAIT)
    n.close()

    begin("ping")
    try:
        g = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)
    except OSError as e:
        say("socket", err(e.errno))
        return
    py("getsockname", g.getsockname)
    py("short", g.sendto, b"x", (LO, 0))
    py("a reply", g.sendto, bytes(8), (LO, 0))
    py("echo", g.sendto, b"\x08\0\0\0\0\0\0\1hello", (LO, 0))
    settle(g, select.POLLIN)
    data, who = g.recvfrom(100)
    say("answer", (data[:1], data[6:], who))
    say("identifier", int.from_bytes(data[4:6], "big") == g.getsockname()[1])
    g.close()

    begin("ioctl")
    import fcntl

    def ioctl(what, s, req, arg=b"\0" * 4):
        try:
            say(what, struct.unpack("i", fcntl.ioctl(s, req, arg)[:4])[0])
        except OSError as e:
            say(what, err(e.errno))

    a, b = pair()
    for what, req in (("FIONREAD", 0x541B), ("SIOCOUTQ", 0x5411), ("SIOCATMARK", 0x8905), ("SIOCOUTQNSD", 0x894B), ("SIOCGSTAMP", 0x8906), ("nonsense", 0x89FF)):
        ioctl("tcp " + what, b, req, b"\0" * 16)
    a.sendall(b"12345")
    settle(b, select.POLLIN)
    ioctl("tcp FIONREAD 5", b, 0x541B)
    a.close()
    b.close()
    l = tcp()
    l.listen()
    ioctl("listener FIONREAD", l, 0x541B)
    ioctl("listener SIOCOUTQ", l, 0x5411)
    ioctl("listener SIOCATMARK", l, 0x8905)
    l.close()
    a, b = udp(), udp()
    b.bind((LO, 0))
    ioctl("udp FIONREAD", b, 0x541B)
    a.sendto(b"123", b.getsockname())
    a.sendto(b"4567", b.getsockname())
    settle(b, select.POLLIN)
    ioctl("udp FIONREAD 3", b, 0x541B)
    ioctl("udp SIOCOUTQ", b, 0x5411)
    ioctl("udp SIOCATMARK", b, 0x8905)
    ioctl("udp SIOCGIFINDEX of none", b, 0x8933, b"nosuch0".ljust(40, b"\0"))
    ioctl("udp SIOCGIFNAME of none", b, 0x8910, bytes(16) + struct.pack("i", 4711) + bytes(20))
    a.close()
    b.close()


def groups():
    begin("multicast")
    G = socket.inet_aton("239.1.2.3")
    ANY = bytes(4)
    LOA = socket.inet_aton(LO)
    IDX = struct.pack("i", 1)

    def req(index, group, source=None):
        b = struct.pack("Ixxxx", index) + sin(group, 0).ljust(128, b"\0")
        return b + sin(source, 0).ljust(128, b"\0") if source else b

    s = udp()
    py("join mreqn", s.setsockopt, 0, 35, G + ANY + IDX)
    py("join again", s.setsockopt, 0, 35, G + ANY + IDX)
    py("join mreq by address", s.setsockopt, 0, 35, socket.inet_aton("239.1.2.4") + LOA)
    py("join unicast", s.setsockopt, 0, 35, LOA + ANY + IDX)
    py("join no interface", s.setsockopt, 0, 35, G + ANY + struct.pack("i", 99))
    py("join bad address", s.setsockopt, 0, 35, G + socket.inet_aton("192.0.2.1"))
    py("block", s.setsockopt, 0, 38, G + LOA + socket.inet_aton("127.0.0.9"))
    py("block again", s.setsockopt, 0, 38, G + LOA + socket.inet_aton("127.0.0.9"))
    py("unblock", s.setsockopt, 0, 37, G + LOA + socket.inet_aton("127.0.0.9"))
    py("unblock again", s.setsockopt, 0, 37, G + LOA + socket.inet_aton("127.0.0.9"))
    py("block", s.setsockopt, 0, 38, G + LOA + socket.inet_aton("127.0.0.9"))
    py("source join of any-source", s.setsockopt, 0, 39, G + LOA + socket.inet_aton("127.0.0.9"))
    py("leave", s.setsockopt, 0, 36, G + ANY + IDX)
    py("leave again", s.setsockopt, 0, 36, G + ANY + IDX)
    py("source join", s.setsockopt, 0, 39, G + LOA + socket.inet_aton("127.0.0.9"))
    py("source join again", s.setsockopt, 0, 39, G + LOA + socket.inet_aton("127.0.0.9"))
    py("another source", s.setsockopt, 0, 39, G + LOA + socket.inet_aton("127.0.0.8"))
    py("block of an include", s.setsockopt, 0, 38, G + LOA + socket.inet_aton("127.0.0.7"))

    def filt():
        buf = ctypes.create_string_buffer(G + LOA + struct.pack("II", 0, 4) + bytes(16), 32)
        n = ctypes.c_int(32)
        if L.getsockopt(s.fileno(), 0, 41, buf, ctypes.byref(n)) < 0:
            return err(ctypes.get_errno())
        mode, count = struct.unpack("II", buf.raw[8:16])
        return n.value, mode, count, buf.raw[16 : n.value].hex()

    say("filter", filt())
    py("source leave", s.setsockopt, 0, 40, G + LOA + socket.inet_aton("127.0.0.8"))
    py("source leave last", s.setsockopt, 0, 40, G + LOA + socket.inet_aton("127.0.0.9"))
    say("filter", filt())
    py("source leave of none", s.setsockopt, 0, 40, G + LOA + socket.inet_aton("127.0.0.9"))
    py("MCAST_JOIN_GROUP", s.setsockopt, 0, 42, req(1, "239.1.2.3"))
    py("MCAST_JOIN_GROUP again", s.setsockopt, 0, 42, req(1, "239.1.2.3"))
    py("MCAST_BLOCK_SOURCE", s.setsockopt, 0, 43, req(1, "239.1.2.3", "127.0.0.9"))
    say("filter", filt())
    py("MCAST_UNBLOCK_SOURCE", s.setsockopt, 0, 44, req(1, "239.1.2.3", "127.0.0.9"))
    py("MCAST_LEAVE_GROUP", s.setsockopt, 0, 45, req(1, "239.1.2.3"))
    py("MCAST_LEAVE_GROUP again", s.setsockopt, 0, 45, req(1, "239.1.2.3"))
    py("MCAST_JOIN_SOURCE_GROUP", s.setsockopt, 0, 46, req(1, "239.1.2.3", "127.0.0.9"))
    py("MSFILTER", s.setsockopt, 0, 41, G + LOA + struct.pack("II", 0, 2) + socket.inet_aton("127.0.0.5") + socket.inet_aton("127.0.0.6"))
    say("filter", filt())
    py("MSFILTER too many", s.setsockopt, 0, 41, G + LOA + struct.pack("II", 0, 11) + bytes(44))
    py("MSFILTER short", s.setsockopt, 0, 41, G + LOA + struct.pack("II", 0, 3) + bytes(8))
    py("MSFILTER bad mode", s.setsockopt, 0, 41, G + LOA + struct.pack("II", 2, 0))
    py("MSFILTER include nobody", s.setsockopt, 0, 41, G + LOA + struct.pack("II", 1, 0))
    say("filter", filt())
    py("MCAST_LEAVE_SOURCE_GROUP", s.setsockopt, 0, 47, req(1, "239.1.2.3", "127.0.0.9"))
    for i in range(30):
        try:
            s.setsockopt(0, 35, socket.inet_aton("239.9.9.%d" % i) + ANY + IDX)
        except OSError as e:
            say("join too many", (i, err(e.errno)))
            break
    py("MULTICAST_IF", s.setsockopt, 0, 32, LOA)
    say("MULTICAST_IF", s.getsockopt(0, 32, 4))
    py("MULTICAST_IF of another", s.setsockopt, 0, 32, socket.inet_aton("192.0.2.1"))
    py("MULTICAST_IF index", s.setsockopt, 0, 32, ANY + ANY + IDX)
    py("MULTICAST_IF bad index", s.setsockopt, 0, 32, ANY + ANY + struct.pack("i", 99))
    s.close()
    r, w = udp(), udp()
    r.bind(("0.0.0.0", 0))
    to = ("239.5.5.5", r.getsockname()[1])
    w.setsockopt(0, 32, ANY + ANY + IDX)
    r.setsockopt(0, 35, socket.inet_aton(to[0]) + ANY + IDX)
    py("send", w.sendto, b"hello", to)
    settle(r, select.POLLIN)
    py("recv", r.recv, 10)
    r.setsockopt(0, 38, socket.inet_aton(to[0]) + LOA + LOA)
    w.sendto(b"blocked", to)
    w.sendto(b"marker", (LO, to[1]))
    settle(r, select.POLLIN)
    py("recv with the sender blocked", r.recv, 10)
    r.setsockopt(0, 37, socket.inet_aton(to[0]) + LOA + LOA)
    w.setsockopt(0, 34, 0)
    w.sendto(b"no loop", to)
    w.sendto(b"marker", (LO, to[1]))
    settle(r, select.POLLIN)
    py("recv without loop", r.recv, 10)
    r.close()
    w.close()


def drained(socks, want):
    """What each has received, when all have together what is wanted, or nothing came for long."""
    n = [0] * len(socks)
    poll = select.poll()
    for s in socks:
        poll.register(s, select.POLLIN)
    while sum(n) < want and poll.poll(20000):
        for i, s in enumerate(socks):
            while events(s, select.POLLIN) == "IN":
                s.recv(10)
                n[i] += 1
    return n


def reuseport():
    begin("reuseport")
    got = {}
    socks = []
    first = None
    for i in range(4):
        s = udp()
        s.setsockopt(1, 15, 1)
        s.bind((LO, first or 0))
        first = s.getsockname()[1]
        socks.append(s)
    for _ in range(200):
        with udp() as c:
            c.sendto(b"x", (LO, first))
    n = drained(socks, 200)
    say("all of them", (sum(n), all(k > 10 for k in n)))
    # A program that always says 2: ret #2.
    prog = struct.pack("HBBI", 0x06, 0, 0, 2)
    buf = ctypes.create_string_buffer(prog)
    fprog = struct.pack("HxxxxxxP", 1, ctypes.addressof(buf))
    py("ATTACH_REUSEPORT_CBPF", socks[0].setsockopt, 1, 51, fprog)
    for _ in range(20):
        with udp() as c:
            c.sendto(b"x", (LO, first))
    n = drained(socks, 20)
    say("the program's choice", n)
    py("DETACH_REUSEPORT_BPF", socks[0].setsockopt, 1, 68, 0)
    for s in socks:
        s.close()
    s = udp()
    py("without SO_REUSEPORT", s.setsockopt, 1, 51, fprog)
    s.bind((LO, 0))
    # Keep what is longer than 20 bytes with its header: ld #len; jgt #20; ret #-1; ret #0.
    prog = struct.pack("HBBI", 0x80, 0, 0, 0) + struct.pack("HBBI", 0x25, 0, 1, 20) + struct.pack("HBBI", 6, 0, 0, 0xFFFFFFFF) + struct.pack("HBBI", 6, 0, 0, 0)
    buf = ctypes.create_string_buffer(prog)
    fprog = struct.pack("HxxxxxxP", 4, ctypes.addressof(buf))
    py("ATTACH_FILTER", s.setsockopt, 1, 26, fprog)
    with udp() as c:
        c.sendto(b"short", s.getsockname())
        c.sendto(b"a long datagram, this one", s.getsockname())
    settle(s, select.POLLIN)
    py("what passes", s.recv, 100)
    py("LOCK_FILTER", s.setsockopt, 1, 44, 1)
    py("DETACH_FILTER locked", s.setsockopt, 1, 27, 0)
    py("unlock", s.setsockopt, 1, 44, 0)
    py("ATTACH_FILTER locked", s.setsockopt, 1, 26, fprog)
    s.close()
    s = udp()
    bad = struct.pack("HxxxxxxP", 0, 0)
    py("empty program", s.setsockopt, 1, 26, bad)
    py("no end", s.setsockopt, 1, 26, struct.pack("HxxxxxxP", 1, ctypes.addressof(buf)))
    py("no pointer", s.setsockopt, 1, 26, struct.pack("HxxxxxxP", 4, 0))
    s.close()


PARTS = [creation, arguments, binding, stream_states, datagram_states, control, limits, groups, reuseport]
for part in PARTS:
    if len(sys.argv) < 2 or part.__name__ in sys.argv[1:]:
        part()
