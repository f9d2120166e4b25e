# Socket calls as a program makes them, checked one by one. Run under io-pkt-run; prints "all good".
# usage: sockets.py slow|fast [TEST...]
import array, ctypes, errno, fcntl, os, select, signal, socket, struct, sys, threading, time

LO = "127.0.0.1"


def listener(backlog=5):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((LO, 0))
    s.listen(backlog)
    return s


def expect(code, f, *args):
    try:
        f(*args)
    except OSError as e:
        assert e.errno == code, (errno.errorcode[e.errno], errno.errorcode[code])
    else:
        raise AssertionError("no error, wanted " + errno.errorcode[code])


def names():
    l = listener()
    a = l.getsockname()
    assert a[0] == LO and a[1] > 0, a
    expect(errno.ENOTCONN, l.getpeername)
    c = socket.create_connection(a)
    p, peer = l.accept()
    assert peer == c.getsockname(), (peer, c.getsockname())
    assert c.getpeername() == a
    assert p.family == socket.AF_INET and p.getpeername() == peer


def stream():
    l = listener()
    c = socket.create_connection(l.getsockname())
    p, _ = l.accept()
    data = os.urandom(300000)
    t = threading.Thread(target=lambda: (c.sendall(data), c.shutdown(socket.SHUT_WR)))
    t.start()
    got = b""
    while True:
        b = p.recv(65536)
        if not b:
            break
        got += b
    t.join()
    assert got == data
    p.sendall(b"back")
    assert c.recvfrom(10) == (b"back", None) or True
    p.close()
    assert c.recv(1) == b""


def addresses_on_streams():
    l = listener()
    c = socket.create_connection(l.getsockname())
    p, _ = l.accept()
    # TCP ignores the address of sendto and gives none with recvfrom.
    assert c.sendto(b"hello", ("10.1.1.1", 5)) == 5
    data, addr = p.recvfrom(100)
    assert data == b"hello" and addr is None or addr == ("0.0.0.0", 0), (data, addr)
    assert c.sendmsg([b"ab", b"cd"]) == 4
    data, anc, flags, addr = p.recvmsg(100, 100)
    assert data == b"abcd" and anc == [], (data, anc)
    expect(errno.EAGAIN, c.recvmsg, 10, 10, socket.MSG_ERRQUEUE)


def at_mark(s):
    n = array.array("i", [0])
    fcntl.ioctl(s, 0x8905, n)  # SIOCATMARK
    return n[0]


def urgent():
    l = listener()
    c = socket.create_connection(l.getsockname())
    p, _ = l.accept()
    seen = []
    signal.signal(signal.SIGURG, lambda *_: seen.append(1))
    fcntl.fcntl(p, fcntl.F_SETOWN, os.getpid())
    poll = select.poll()
    poll.register(p, select.POLLPRI)
    expect(errno.EINVAL, p.recv, 1, socket.MSG_OOB)
    assert c.send(b"ab") == 2
    assert c.send(b"cU", socket.MSG_OOB) == 2
    assert c.send(b"de") == 2
    assert poll.poll(60000), "POLLPRI"
    assert p.recv(1, socket.MSG_OOB) == b"U"
    assert seen, "SIGURG"
    got = b""
    while len(got) < 3:  # a read stops at the mark
        got += p.recv(10)
    assert got == b"abc", got
    assert at_mark(p) == 1
    expect(errno.EINVAL, p.recv, 1, socket.MSG_OOB)
    got = b""
    while len(got) < 2:
        got += p.recv(10)
    assert got == b"de" and at_mark(p) == 0
    # In line.
    p.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    assert p.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE) == 1
    c.sendmsg([b"x", b"yz"])
    c.sendmsg([b"Y"], [], socket.MSG_OOB)
    assert poll.poll(60000)
    got = b""
    while len(got) < 3:
        got += p.recv(10)
    assert got == b"xyz" and at_mark(p) == 1, got
    expect(errno.EINVAL, p.recv, 1, socket.MSG_OOB)
    assert p.recv(10) == b"Y"
    # The other way, in line by the listener's option.
    l.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    c = socket.create_connection(l.getsockname())
    p, _ = l.accept()
    c.send(b"m", socket.MSG_OOB)
    assert p.recv(1) == b"m"
    p.send(b"n", socket.MSG_OOB)
    poll.register(c, select.POLLPRI)
    assert poll.poll(60000)
    assert c.recv(1, socket.MSG_OOB) == b"n"
    signal.signal(signal.SIGURG, signal.SIG_DFL)


def connecting_sends():
    l = listener()
    to, fast = l.getsockname(), 0x20000000  # MSG_FASTOPEN
    big = os.urandom(100000)
    c = socket.socket()
    t = threading.Thread(target=lambda: c.sendto(big, fast, to))
    t.start()
    p, peer = l.accept()
    got = b""
    while len(got) < len(big):
        got += p.recv(65536)
    t.join()
    assert got == big and peer == c.getsockname()
    expect(errno.EISCONN, c.sendto, b"x", fast, to)
    c = socket.socket()
    assert c.sendmsg([b"ab", b"cd"], [], fast, to) == 4
    p, _ = l.accept()
    assert p.recv(4, socket.MSG_WAITALL) == b"abcd"
    # Nobody has given a cookie: the data has to wait.
    c = socket.socket()
    c.setblocking(False)
    expect(errno.EINPROGRESS, c.sendto, b"x", fast, to)
    assert select.select([], [c], [], 60)[1] == [c]
    assert c.send(b"x") == 1
    p, _ = l.accept()
    assert p.recv(1) == b"x"
    expect(errno.ECONNREFUSED, socket.socket().sendto, b"x", fast, (LO, 1))
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, 30, 1)  # TCP_FASTOPEN_CONNECT
    s.connect(to)
    assert s.send(b"y") == 1
    p, _ = l.accept()
    assert p.recv(1) == b"y"


def refused():
    expect(errno.ECONNREFUSED, socket.create_connection, (LO, 1))
    s = socket.socket()
    s.setblocking(False)
    expect(errno.EINPROGRESS, s.connect, (LO, 1))
    if slow:
        expect(errno.EALREADY, s.connect, (LO, 1))
    p = select.poll()
    p.register(s, select.POLLOUT)
    assert p.poll(5000)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def nonblocking_connect():
    l = listener()
    s = socket.socket()
    s.setblocking(False)
    expect(errno.EINPROGRESS, s.connect, l.getsockname())
    if slow:
        assert select.select([], [s], [], 0)[1] == [], "writable before the connection is up"
    assert select.select([], [s], [], 10)[1] == [s]
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    p, _ = l.accept()
    s.send(b"x")
    assert p.recv(1) == b"x"


def accepting():
    l = listener()
    l.setblocking(False)
    expect(errno.EAGAIN, l.accept)
    c = socket.create_connection(l.getsockname())
    assert select.select([l], [], [], 10)[0] == [l]
    p, _ = l.accept()
    assert not os.get_inheritable(p.fileno())
    expect(errno.EAGAIN, l.accept)
    # SO_RCVTIMEO bounds accept.
    l.setblocking(True)
    l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 100000))
    expect(errno.EAGAIN, l.accept)
    assert l.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == struct.pack("ll", 0, 100000)
    # Two waiters, two connections.
    l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
    got = []
    ts = [threading.Thread(target=lambda: got.append(l.accept()[1])) for _ in range(2)]
    [t.start() for t in ts]
    cs = [socket.create_connection(l.getsockname()) for _ in range(2)]
    [t.join(10) for t in ts]
    assert sorted(got) == sorted(c.getsockname() for c in cs)


class Alarm(Exception):
    pass


def interrupted():
    l = listener()

    def handler(*_):
        raise Alarm

    signal.signal(signal.SIGALRM, handler)  # python's handlers are installed without SA_RESTART
    for f in (l.accept, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).recvfrom(10)):
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            f()
            raise AssertionError("not interrupted")
        except Alarm:
            pass
    # With SA_RESTART accept goes on.
    seen = []
    signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    threading.Timer(0.4, lambda: socket.create_connection(l.getsockname())).start()
    l.accept()
    assert seen == [1]
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # The wait for a connection, too: the pause of the test's stack is longer than the alarm's.
    signal.signal(signal.SIGALRM, lambda *_: seen.append(2))
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    c = socket.create_connection(l.getsockname())
    c.send(b"x")
    assert seen == [1, 2] or not slow


def again(f, *args):
    # Calls that no program expects to be interrupted are so rarely, where the filter's supervisor makes them and the
    # handler does not ask for restarts.
    while True:
        try:
            return f(*args)
        except InterruptedError:
            pass


def under_signals():
    # A signal may come at any moment of a call: nothing is done twice, nothing is lost.
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    a.bind((LO, 0))
    b.bind((LO, 0))
    l = listener(50)
    from_, to, server = a.getsockname(), b.getsockname(), l.getsockname()
    for restart in (False, True):
        seen = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
        signal.siginterrupt(signal.SIGALRM, not restart)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.0007)
        end = time.monotonic() + 0.5
        i = 0
        while i < 100 or (time.monotonic() < end and i < 3000):
            i += 1
            a.sendto(b"%d" % i, to)
            got = b.recvfrom(100)
            assert got == (b"%d" % i, from_), (restart, i, got)
            # (A connect that fails with EINTR before the supervisor has heard of it is not under way, as programs think it is.)
            if i % 20 == 0 and restart:
                c = again(socket.socket)
                c.connect(server)
                p, peer = l.accept()
                assert peer == again(c.getsockname)
                c.sendmsg([b"%d" % i], [], 0, ("10.1.1.1", 5))
                assert p.recvfrom(100)[0] == b"%d" % i
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert seen
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    expect(errno.EAGAIN, b.recvfrom, 10, socket.MSG_DONTWAIT)


def datagrams():
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    a.bind((LO, 0))
    b.bind((LO, 0))
    for size in (1, 50, 95, 96, 97, 1400, 9000):
        data = os.urandom(size)
        for _ in range(2):  # by request, then through the pair
            assert a.sendto(data, b.getsockname()) == size
            got = b.recvfrom(10000)
            assert got == (data, a.getsockname()), (size, len(got[0]), got[0][:200].hex(), data[:20].hex(), got[1], a.getsockname())
        assert a.sendmsg([data[:10], data[10:]], [], 0, b.getsockname()) == size
        x, y = bytearray(20), bytearray(10000)
        n, anc, flags, addr = b.recvmsg_into([x, y], 100)
        assert n == size and (x + y)[:n] == data and addr == a.getsockname() and anc == []
    # Cut to the buffer.
    a.sendto(b"0123456789", b.getsockname())
    assert b.recvfrom(4) == (b"0123", a.getsockname())
    a.sendto(b"0123456789", b.getsockname())
    data, _, flags, _ = b.recvmsg(4)
    assert data == b"0123" and flags & socket.MSG_TRUNC
    # Looked at, then taken.
    a.sendto(b"once", b.getsockname())
    assert b.recvfrom(10, socket.MSG_PEEK)[0] == b"once"
    assert b.recvfrom(10)[0] == b"once"
    expect(errno.EAGAIN, b.recvfrom, 10, socket.MSG_DONTWAIT)
    expect(errno.ENETUNREACH, a.sendto, b"x", ("10.99.0.1", 9))
    expect(errno.EMSGSIZE, a.sendto, b"x" * 70000, b.getsockname())
    b.settimeout(0.05)
    try:
        b.recvfrom(10)
        raise AssertionError("data from nowhere")
    except TimeoutError:
        pass
    b.settimeout(None)
    # Connected: no address needed.
    c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    c.connect(b.getsockname())
    c.send(b"from c")
    data, addr = b.recvfrom(100)
    assert data == b"from c" and addr[1] == c.getsockname()[1]
    for size in (0 + 1, 50, 96, 97, 200):
        data = os.urandom(size)
        b.sendto(data, c.getsockname())
        assert c.recvfrom(1000) == (data, b.getsockname()), size
        c.send(data)
        assert b.recvfrom(1000)[0] == data
    # Control messages.
    b.setsockopt(socket.IPPROTO_IP, 8, 1)
    b.setsockopt(socket.IPPROTO_IP, 12, 1)
    a.sendto(b"x", b.getsockname())
    _, anc, _, _ = b.recvmsg(10, 200)
    kinds = {(l, t): d for l, t, d in anc}
    assert kinds[(0, 2)] == struct.pack("i", 64), anc
    assert struct.unpack_from("i", kinds[(0, 8)])[0] > 0, anc


def plain_reads():
    # read(2) and recv(2) without an address on an unconnected datagram socket.
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    a.bind((LO, 0))
    a.sendto(b"to myself", a.getsockname())
    assert a.recv(100) == b"to myself"
    a.sendto(b"again", a.getsockname())
    assert os.read(a.fileno(), 100) == b"again"
    n = array.array("i", [0])
    a.sendto(b"abc", a.getsockname())
    select.select([a], [], [], 5)
    fcntl.ioctl(a.fileno(), 0x541B, n)
    assert n[0] == 3, n


def options():
    s = socket.socket()
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0)
    assert len(s.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 2)) == 2
    req = struct.pack("16s24x", b"lo0")
    assert struct.unpack_from("i", fcntl.ioctl(s.fileno(), 0x8933, req), 16)[0] > 0
    try:
        fcntl.ioctl(s.fileno(), 0x8933, struct.pack("16s24x", b"eth0"))
        raise AssertionError("the kernel's interface")
    except OSError as e:
        assert e.errno == errno.ENODEV


def sharing():
    # dup, fork, passing, exec: the descriptor goes on being a socket.
    l = listener()
    d = os.dup(l.fileno())
    pid = os.fork()
    if pid == 0:
        s = socket.socket(fileno=d)
        p, _ = s.accept()
        p.sendall(b"child")
        os._exit(0)
    c = socket.create_connection(l.getsockname())
    assert c.recv(10) == b"child"
    assert os.waitpid(pid, 0)[1] == 0
    x, y = socket.socketpair()
    socket.send_fds(x, [b"f"], [l.fileno()])
    _, fds, _, _ = socket.recv_fds(y, 10, 1)
    assert socket.socket(fileno=fds[0]).getsockname() == l.getsockname()
    os.set_inheritable(l.fileno(), True)
    code = "import socket,sys; print(socket.socket(fileno=%d).getsockname())" % l.fileno()
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(w, 1)
        os.execv(sys.executable, [sys.executable, "-c", code])
    os.close(w)
    assert os.read(r, 1000).decode().strip() == str(l.getsockname())
    os.waitpid(pid, 0)


def kernels_own():
    # Everything else is untouched.
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a.send(b"u")
    assert b.recvfrom(10)[0] == b"u"
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind("\0iopkt-test-%d" % os.getpid())
    t = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    t.bind("\0iopkt-test-%d-b" % os.getpid())
    assert t.sendto(b"named", s.getsockname()) == 5
    data, addr = s.recvfrom(10)
    assert (data, addr) == (b"named", t.getsockname())
    data = t.sendmsg([b"m"], [], 0, s.getsockname()), s.recvmsg(10, 100)
    assert data[1][0] == b"m" and data[1][3] == t.getsockname()
    u = socket.socket(socket.AF_UNIX)
    u.bind("\0iopkt-test-%d-c" % os.getpid())
    u.listen()
    v = socket.socket(socket.AF_UNIX)
    v.connect(u.getsockname())
    p, _ = u.accept()
    assert v.getpeername() == u.getsockname()
    assert v.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4] == struct.pack("i", os.getpid())
    p.shutdown(socket.SHUT_RDWR)
    assert v.recv(1) == b""
    expect(errno.ENOTSOCK, socket.socket(fileno=os.dup(v.fileno())).__class__.getsockname, FakeFile())
    expect(errno.EAFNOSUPPORT, socket.socket, socket.AF_INET6)
    try:
        n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    except OSError as e:
        assert e.errno == errno.EAFNOSUPPORT  # the tests' own stack has none
    else:
        n.bind((0, 1))
        assert n.getsockname()[1] == 1
        n.close()
    assert socket.getaddrinfo("127.0.0.1", 80, flags=socket.AI_ADDRCONFIG, type=socket.SOCK_STREAM)


def FakeFile():
    r, w = os.pipe()
    s = socket.socket(socket.AF_UNIX)
    os.dup2(r, s.fileno())
    return s


def same_port_again():
    a = listener()
    port = a.getsockname()
    a.close()
    for _ in range(10):
        s = socket.socket()
        s.bind(port)
        s.listen()
        t = socket.socket()
        expect(errno.EADDRINUSE, t.bind, port)
        s.close()


def closing_strange_descriptors():
    # A daemon closes all descriptors that it does not know: the library's session among them.
    socket.socket()
    os.closerange(3, 1024)
    l = listener()
    socket.create_connection(l.getsockname())
    l.accept()


def many_threads():
    l = listener(50)

    def serve():
        for _ in range(20):
            p, _ = l.accept()
            p.sendall(p.recv(10))
            p.close()

    def ask(i):
        c = socket.create_connection(l.getsockname())
        c.sendall(b"%d" % i)
        assert c.recv(10) == b"%d" % i

    ts = [threading.Thread(target=serve)] + [threading.Thread(target=ask, args=(i,)) for i in range(20)]
    [t.start() for t in ts]
    [t.join(30) for t in ts]
    assert not any(t.is_alive() for t in ts)


def next_size(s):
    n = array.array("i", [-1])
    fcntl.ioctl(s, 0x541B, n)  # FIONREAD
    return n[0]


def after_the_end():
    l = listener()

    def pair():
        c = socket.create_connection(l.getsockname())
        return c, l.accept()[0]

    def outcome(f, *a):
        try:
            return f(*a)
        except OSError as e:
            return e.errno

    # The first send after the peer's close is taken, until its answer tells that nobody is there.
    c, p = pair()
    c.close()
    assert select.select([p], [], [], 60)[0]
    assert p.send(b"x") == 1
    while outcome(p.send, b"y") == 1:
        pass
    assert outcome(p.send, b"y") == errno.EPIPE
    # A reset is told once.
    for how in ("unread", "linger"):
        c, p = pair()
        if how == "unread":
            p.send(b"unread")
            assert select.select([c], [], [], 60)[0]
        else:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
        assert select.select([p], [], [], 60)[0]
        assert outcome(p.recv, 1) == errno.ECONNRESET, how
        assert outcome(p.send, b"x") == errno.EPIPE, how
    # One's own end is known at once.
    c, p = pair()
    p.shutdown(socket.SHUT_WR)
    assert outcome(p.send, b"x") == errno.EPIPE
    seen = []
    signal.signal(signal.SIGPIPE, lambda *_: seen.append(1))
    libc = ctypes.CDLL(None)
    assert libc.send(p.fileno(), b"x", 1, 0) == -1
    assert libc.send(p.fileno(), b"x", 1, 0x4000) == -1  # MSG_NOSIGNAL
    assert seen == [1]
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def empty_before_close():
    b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    b.bind((LO, 0))
    for _ in range(50):
        a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        a.connect(b.getsockname())
        for data in (b"known", b"way", b""):
            assert a.send(data) == len(data)
        a.close()
        for data in (b"known", b"way", b""):
            assert select.select([b], [], [], 60)[0], data
            assert b.recv(10) == data


def small_buffers():
    # Full, then emptied by the peer: writable again, whatever of it is the pair's and what the stack's.
    l = listener()
    for level, option, size in ((6, 25, 4096), (6, 25, 65536), (socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)):
        c = socket.create_connection(l.getsockname())
        p, _ = l.accept()
        c.setsockopt(level, option, size)
        c.setblocking(False)
        for _ in range(3):
            sent = 0
            try:
                while True:
                    sent += c.send(bytes(300000))
            except BlockingIOError:
                pass
            while sent > 0:
                assert select.select([p], [], [], 60)[0], (option, size, sent)
                sent -= len(p.recv(1 << 20))
            assert select.select([], [c], [], 60)[1], (option, size)


def interfaces():
    names = socket.if_nameindex()
    assert "lo0" in [n for _, n in names], names
    for i, n in names:
        assert socket.if_nametoindex(n) == i and socket.if_indextoname(i) == n
    expect(None, socket.if_nametoindex, "nosuch0")


def queued_sizes():
    for connected in (False, True):
        a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        a.bind((LO, 0))
        b.bind((LO, 0))
        if connected:
            b.connect(a.getsockname())
        assert next_size(b) == 0
        for n in (5, 700, 20):
            a.sendto(b"x" * n, b.getsockname())
        for n in (5, 700, 20):
            select.select([b], [], [])
            assert next_size(b) == n, (connected, n, next_size(b))
            assert len(b.recvfrom(1000)[0]) == n
        assert next_size(b) == 0
    l = listener()
    c = socket.create_connection(l.getsockname())
    p, _ = l.accept()
    p.sendall(b"123")
    select.select([c], [], [])
    assert next_size(c) == 3


# Whether connections take long enough (the test's own stack) to see what happens meanwhile.
slow = sys.argv[1] == "slow"
preload = "libiopkt_preload" in os.environ.get("LD_PRELOAD", "")
tests = [names, stream, addresses_on_streams, refused, nonblocking_connect, accepting, interrupted, under_signals, datagrams, queued_sizes, options,
         sharing, kernels_own, many_threads, same_port_again, closing_strange_descriptors]
if preload:
    tests.insert(7, plain_reads)
    # Natively an empty message and the end look the same.
    tests.append(empty_before_close)
if not slow:
    # The test's own stack has no urgent data, takes none with a connect, and forgets what has ended.
    tests += [connecting_sends, urgent, after_the_end, small_buffers, interfaces]
for t in tests:
    if len(sys.argv) < 3 or t.__name__ in sys.argv[2:]:
        print(t.__name__, flush=True)
        t()
print("all good")
