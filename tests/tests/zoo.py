# Extension headers and fragments by scapy, sent to io-pkt by the interface k0: what RFC 8200, 4443, 5722, 6946 and 7112 say comes back.
# Behind each packet goes an echo request: what arrives before its reply is the answer. Prints "ok N" or what was wrong.
import logging, random, sys, time
logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.all import *
from scapy.layers.inet6 import *

mac, us, them = sys.argv[1:4]
sock = conf.L2socket(iface="k0")
count = 0

def frame(p):
    return Ether(dst=mac) / p

def ip(**k):
    return IPv6(src=us, dst=them, **k)

def echo(n, data=b"x" * 8):
    return ICMPv6EchoRequest(id=0x7a7a, seq=n, data=data)

def answers(packets):
    """Sends them and a sentinel; the ICMPv6 messages that come before its reply, as (type, code, pointer or sequence)."""
    global count
    count += 1
    n = count & 0xffff
    for p in packets:
        sock.send(frame(p))
    got, end = [], time.time() + 50
    sock.send(frame(ip() / ICMPv6EchoRequest(id=0x5e5e, seq=n)))
    while time.time() < end:
        r = sock.recv(65535)
        if r is None or not r.haslayer(IPv6) or r[IPv6].src != them:
            continue
        if r.haslayer(ICMPv6EchoReply):
            if r[ICMPv6EchoReply].id == 0x5e5e and r[ICMPv6EchoReply].seq == n:
                return got
            got.append((129, 0, r[ICMPv6EchoReply].seq))
        elif r.haslayer(ICMPv6ParamProblem):
            got.append((4, r[ICMPv6ParamProblem].code, r[ICMPv6ParamProblem].ptr))
        elif r.haslayer(ICMPv6DestUnreach):
            got.append((1, r[ICMPv6DestUnreach].code, 0))
    raise SystemExit("no reply to the sentinel behind %s" % [p.summary() for p in packets])

def frag(p, size, overlap=0, order=None):
    """The payload of a packet in pieces of this size."""
    body, head = bytes(p.payload), p.nh
    out, at, ident = [], 0, random.getrandbits(32)
    while at < len(body):
        part = body[at:at + size + (overlap if at + size < len(body) else 0)]
        more = 1 if at + size < len(body) else 0
        out.append(ip() / IPv6ExtHdrFragment(nh=head, offset=at // 8, m=more, id=ident) / Raw(part))
        at += size
    return order(out) if order else out

def opt(t, data=b""):
    return HBHOptUnknown(otype=t, optlen=len(data), optdata=data)

pad = PadN(optdata=b"\0" * 4)
whole = IPv6(bytes(ip() / echo(9, b"y" * 200)))
zoo = [
    ("plain", [ip() / echo(1)], [(129, 0, 1)]),
    ("hop-by-hop, destination, routing without segments left",
     [ip() / IPv6ExtHdrHopByHop(options=[pad]) / IPv6ExtHdrDestOpt(options=[pad]) /
      IPv6ExtHdrRouting(type=0, segleft=0, addresses=[]) / IPv6ExtHdrDestOpt(options=[pad]) / echo(2)], [(129, 0, 2)]),
    ("an option to be skipped", [ip() / IPv6ExtHdrDestOpt(options=[opt(0x1e, b"ab")]) / echo(3)], [(129, 0, 3)]),
    ("an option to be discarded", [ip() / IPv6ExtHdrDestOpt(options=[opt(0x5e, b"ab")]) / echo(3)], []),
    ("an option to be told", [ip() / IPv6ExtHdrDestOpt(options=[opt(0x9e, b"ab")]) / echo(3)], [(4, 2, 42)]),
    ("an option to be told unless to a group", [ip() / IPv6ExtHdrHopByHop(options=[opt(0xde, b"ab")]) / echo(3)], [(4, 2, 42)]),
    ("hop-by-hop that is not first", [ip() / IPv6ExtHdrDestOpt(options=[pad]) / IPv6ExtHdrHopByHop(options=[pad]) / echo(3)], [(4, 1, 40)]),
    ("routing type 0", [ip() / IPv6ExtHdrRouting(type=0, segleft=1, addresses=[us]) / echo(3)], [(4, 0, 42)]),
    ("routing of an unknown type", [ip() / IPv6ExtHdrRouting(type=77, segleft=1, addresses=[us]) / echo(3)], [(4, 0, 42)]),
    ("a next header that nobody knows", [ip(nh=200) / Raw(b"z" * 8)], [(4, 1, 6)]),
    ("nothing behind", [ip(nh=59)], []),
    ("nothing behind, but something there", [ip(nh=59) / Raw(b"z" * 20)], []),
    ("twenty destination options", [IPv6(src=us, dst=them, nh=60) / Raw(b"".join(bytes([60, 0, 1, 4, 0, 0, 0, 0]) for _ in range(20)))], []),
    ("a header that is longer than the packet", [ip(nh=60) / Raw(bytes([58, 9, 1, 4, 0, 0, 0, 0]))], [(4, 0, 41)]),
    ("pieces", frag(whole, 64), [(129, 0, 9)]),
    ("pieces from behind", frag(whole, 64, order=lambda l: l[::-1]), [(129, 0, 9)]),
    ("pieces, some twice", frag(whole, 64, order=lambda l: l + l[:1]), [(129, 0, 9)]),
    ("an atomic fragment", frag(whole, 4096), [(129, 0, 9)]),
    ("overlapping pieces", frag(whole, 64, overlap=8), []),
    ("a piece that is no multiple of eight", [ip() / IPv6ExtHdrFragment(nh=17, offset=0, m=1, id=1) / Raw(b"q" * 61)], [(4, 0, 4)]),
    ("a piece beyond 65535", [ip() / IPv6ExtHdrFragment(nh=17, offset=8190, m=0, id=2) / Raw(b"q" * 64)], [(4, 0, 42)]),
    ("a first piece without its headers",
     [ip() / IPv6ExtHdrFragment(nh=60, offset=0, m=1, id=3) / Raw(bytes([58, 1, 1, 4, 0, 0, 0, 0]))], [(4, 3, 0)]),
]
bad = 0
for name, packets, want in zoo:
    got = answers(packets)
    if got != want:
        print("%s: %s, not %s" % (name, got, want))
        bad += 1

# Whatever chains there are: no harm. The seed is fixed, so that a run can be had again.
random.seed(int(sys.argv[4]))
kinds = [
    lambda: IPv6ExtHdrHopByHop(options=[opt(random.getrandbits(8), bytes(random.getrandbits(3)))]),
    lambda: IPv6ExtHdrDestOpt(options=[opt(random.getrandbits(8), bytes(random.getrandbits(4)))]),
    lambda: IPv6ExtHdrRouting(type=random.getrandbits(8), segleft=random.getrandbits(2), addresses=[us] * random.getrandbits(2)),
    lambda: IPv6ExtHdrFragment(offset=random.getrandbits(13) >> random.getrandbits(4), m=random.getrandbits(1), id=random.getrandbits(4)),
    lambda: Raw(bytes(random.getrandbits(8) for _ in range(random.getrandbits(5)))),
]
for _ in range(int(sys.argv[5])):
    batch = []
    for _ in range(20):
        p = ip()
        for _ in range(random.randint(1, 6)):
            p = p / random.choice(kinds)()
        b = bytearray(bytes(p / echo(5)))
        for _ in range(random.getrandbits(2)):
            b[random.randrange(4, len(b))] = random.getrandbits(8)
        # The addresses stay, else it is not for us.
        b[8:40] = bytes(ip())[8:40]
        batch.append(IPv6(bytes(b)))
    answers(batch)
print("ok %d" % len(zoo) if not bad else "%d were wrong" % bad)
