# Echo server and client for TCP and UDP; the client compares what comes back and prints JSON.
#   echo.py serve ADDR PORT
#   echo.py bulk  ADDR PORT BYTES          random bytes there and back, digests compared
#   echo.py tcp|udp ADDR PORT SIZE COUNT   round trips of SIZE bytes: microseconds
import hashlib, json, os, socket, sys, threading, time


def family(addr):
    return socket.AF_INET6 if ":" in addr else socket.AF_INET


def serve(addr, port):
    u = socket.socket(family(addr), socket.SOCK_DGRAM)
    u.bind((addr, port))

    def datagrams():
        while True:
            d, a = u.recvfrom(65536)
            u.sendto(d, a)

    threading.Thread(target=datagrams, daemon=True).start()
    l = socket.socket(family(addr))
    l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    l.bind((addr, port))
    l.listen(8)
    while True:
        c, _ = l.accept()
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while d := c.recv(65536):
            c.sendall(d)
        c.close()


def bulk(addr, port, total):
    s = socket.create_connection((addr, port), 20)
    out, back, got = hashlib.sha256(), hashlib.sha256(), 0

    def send():
        left = total
        while left:
            d = os.urandom(min(left, 65536))
            out.update(d)
            s.sendall(d)
            left -= len(d)
        s.shutdown(socket.SHUT_WR)

    t = threading.Thread(target=send)
    t.start()
    while d := s.recv(65536):
        back.update(d)
        got += len(d)
    t.join()
    assert got == total, f"{got} bytes of {total} came back"
    assert out.digest() == back.digest(), "other bytes came back"
    print(json.dumps({"bytes": got, "sha256": back.hexdigest()}))


def trips(kind, addr, port, size, count):
    stream = kind == "tcp"
    s = socket.socket(family(addr), socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    s.settimeout(20)
    s.connect((addr, port))
    if stream:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times, warm = [], 100
    for i in range(warm + count):
        m = i.to_bytes(8, "big") * (size // 8)
        a = time.perf_counter_ns()
        s.send(m)
        d = s.recv(size)
        while stream and len(d) < size:
            d += s.recv(size - len(d))
        b = time.perf_counter_ns()
        assert d == m, f"round trip {i}: other bytes came back"
        if i >= warm:
            times.append((b - a) / 1000)
    times.sort()
    print(json.dumps({"median": times[count // 2], "p99": times[count * 99 // 100], "count": count}))


a = sys.argv
if a[1] == "serve":
    serve(a[2], int(a[3]))
elif a[1] == "bulk":
    bulk(a[2], int(a[3]), int(a[4]))
else:
    trips(a[1], a[2], int(a[3]), int(a[4]), int(a[5]))
