"""A packet socket, as scapy and its like use it: packet.py IFNAME. Hears an ARP request that it sent itself, and the answer."""
import ctypes
import socket
import struct
import sys
import time

name = sys.argv[1]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.settimeout(30)
s.bind((name, 0))
ours = s.getsockname()
assert ours[0] == name and ours[1] == 3 and ours[3] == 1, ours
mac = ours[4]
ask = b"\xff" * 6 + mac + struct.pack(">HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
ask += mac + socket.inet_aton("10.8.0.1") + b"\0" * 6 + socket.inet_aton("10.8.0.2")
assert s.send(ask) == len(ask)
seen = []
while len(seen) < 2:
    frame, (ifname, proto, kind, hatype, sender) = s.recvfrom(4096)
    # Requests of the other stack are broadcasts (1).
    if proto == 0x0806 and kind != 1:
        seen.append((kind, frame[21]))
        assert ifname == name and hatype == 1 and sender == frame[6:12], (ifname, hatype, sender)
print(sorted(seen))
# PACKET_OUTGOING request, PACKET_HOST reply.
assert sorted(seen) == [(0, 2), (4, 1)], seen
# A filter that wants nothing, then one that takes four bytes.
for k, want in ((0, None), (4, 4)):
    insns = struct.pack("HBBI", 6, 0, 0, k)
    buf = ctypes.create_string_buffer(insns)
    s.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxQ", 1, ctypes.addressof(buf)))
    s.setblocking(False)
    try:
        while True:
            s.recvfrom(4096)
    except BlockingIOError:
        pass
    s.settimeout(1 if want is None else 30)
    s.send(ask)
    try:
        got = s.recvfrom(4096)[0]
    except socket.timeout:
        got = None
    assert (got and len(got)) == want, (k, got)
# What is told beside a frame: when it came, and whether its checksum is still to be made.
s.setsockopt(socket.SOL_SOCKET, 27, 0)
s.setsockopt(socket.SOL_SOCKET, socket.SO_TIMESTAMPNS if hasattr(socket, "SO_TIMESTAMPNS") else 35, 1)
s.setsockopt(263, 8, 1)
s.settimeout(30)
s.send(ask)
frame, told, flags, _ = s.recvmsg(4096, 256)
told = {(level, kind): data for level, kind, data in told}
sec, ns = struct.unpack("qq", told[1, 35])
assert abs(sec - time.time()) < 1000 and 0 <= ns < 10**9, told
status, length, snap, mac_at, net_at = struct.unpack("IIIHH", told[263, 8][:16])
assert status & 1 and length >= 42 and snap == len(frame) and (mac_at, net_at) == (0, 14), (told, len(frame))
print("filtered")
