"""Sends datagrams by programs that end at once, and counts what arrives: last_words.py FAMILY KIND HOW ROUNDS."""
import os
import select
import socket
import sys

family, kind, how, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
SENT = 4
six, raw = family == "6", kind == "raw"


def new():
    f = socket.AF_INET6 if six else socket.AF_INET
    s = socket.socket(f, socket.SOCK_RAW, 253) if raw else socket.socket(f, socket.SOCK_DGRAM)
    s.bind(("::1" if six else "127.0.0.1", 0))
    return s


def speak(r, to):
    s = new()
    if "unread" in how:
        # What a program has not read at its end must not cost what it has said.
        s.sendto(b"to myself", s.getsockname()[:2])
        select.select([s], [], [], 30)
    for i in range(SENT):
        s.sendto(b"%d %d" % (r, i), to)
    if "kill" in how:
        os.kill(os.getpid(), 9)
    os._exit(0)


ear = new()
ear.settimeout(30)
for r in range(rounds):
    pid = os.fork()
    if pid == 0:
        speak(r, ear.getsockname()[:2])
    got = set()
    try:
        while len(got) < SENT:
            m = ear.recvfrom(100)[0]
            m = m[20:] if raw and not six else m
            if m.startswith(b"%d " % r):
                got.add(m)
    except socket.timeout:
        sys.exit("round %d: %d of %d arrived" % (r, len(got), SENT))
    os.waitpid(pid, 0)
print("all of", rounds * SENT)
