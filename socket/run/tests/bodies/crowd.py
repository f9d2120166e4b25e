# Crowds of clients on one stack. Run under io-pkt-run; prints "all good" when every one that should have got its answer.
# usage: crowd.py short|killed|stopped COUNT
import os, random, select, signal, socket, struct, sys, time

LO = "127.0.0.1"
mode, count = sys.argv[1], int(sys.argv[2])
# How many run at a time.
CROWD = 32
BULK = 4 << 20


def child(f, *a):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            f(*a)
            code = 0
        finally:
            os._exit(code)
    return pid


def server(l, u):
    """Answers everybody: a line on streams, the same bytes on datagrams. Never waits for one client alone."""
    poll = select.epoll()
    poll.register(l, select.EPOLLIN)
    poll.register(u, select.EPOLLIN)
    l.setblocking(False)
    u.setblocking(False)
    conns = {}
    while True:
        for fd, _ in poll.poll():
            try:
                if fd == l.fileno():
                    c, _ = l.accept()
                    c.setblocking(False)
                    conns[c.fileno()] = c
                    poll.register(c, select.EPOLLIN)
                elif fd == u.fileno():
                    data, peer = u.recvfrom(2048)
                    u.sendto(data, peer)
                else:
                    data = conns[fd].recv(4096)
                    if data:
                        conns[fd].send(data)
                    else:
                        raise ConnectionError
            except BlockingIOError:
                pass
            except OSError:
                if fd in conns:
                    poll.unregister(fd)
                    conns.pop(fd).close()


def client(i, to, uto):
    s = socket.create_connection(to)
    d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    d.settimeout(1)
    word = b"%08d" % i
    s.sendall(word)
    got = b""
    while len(got) < 8:
        got += s.recv(8 - len(got))
    assert got == word
    # A datagram may be lost in the crowd.
    for _ in range(60):
        d.sendto(word, uto)
        try:
            if d.recvfrom(100)[0] == word:
                break
        except TimeoutError:
            pass
    else:
        raise AssertionError("no datagram came back")
    # One in four leaves with a reset, one in four without a word.
    if i % 4 == 1:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if i % 4 != 2:
        s.close()
        d.close()


def endless(to, uto):
    while True:
        client(random.randrange(10**8), to, uto)


def bulk(l, to):
    """A transfer of its own beside the crowd."""

    def send():
        c = socket.create_connection(to)
        c.sendall(bytes(BULK))
        c.close()

    pid = child(send)
    p, _ = l.accept()
    n = 0
    while data := p.recv(65536):
        n += len(data)
    assert n == BULK, n
    assert os.waitpid(pid, 0)[1] == 0


l, u, b = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
for s in (l, u, b):
    s.bind((LO, 0))
l.listen(128)
b.listen(8)
to, uto = l.getsockname(), u.getsockname()
serving = child(server, l, u)
try:
    if mode == "short":
        alive, i = set(), 0
        while i < count or alive:
            while i < count and len(alive) < CROWD:
                alive.add(child(client, i, to, uto))
                i += 1
            pid, status = os.wait()
            assert pid in alive and status == 0, (pid, status)
            alive.remove(pid)
    elif mode == "killed":
        for _ in range(count):
            pids = [child(endless, to, uto) for _ in range(8)]
            time.sleep(random.random() / 10)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        client(1, to, uto)
    elif mode == "stopped":
        for n in range(count):
            pids = [child(endless, to, uto) for _ in range(8)]
            # One of them holds a full connection and does not read.
            c = socket.create_connection(b.getsockname())
            p, _ = b.accept()

            def pour():
                p.sendall(bytes(64 << 20))

            pids.append(child(pour))
            time.sleep(random.random() / 20)
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            for i in range(20):
                client(i, to, uto)
            bulk(b, b.getsockname())
            if n % 2:
                for pid in pids[:4]:
                    os.kill(pid, signal.SIGCONT)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                os.waitpid(pid, 0)
            c.close()
            p.close()
        client(1, to, uto)
    print("all good", flush=True)
finally:
    os.kill(serving, signal.SIGKILL)
    os.waitpid(serving, 0)
