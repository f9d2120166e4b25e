"""Answers pings on a TUN node: echo.py NODE."""
import socket
import sys

s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
print("open", flush=True)
while True:
    p = bytearray(s.recv(65536))
    if not p:
        break
    if p[0] == 0x45 and p[9] == 1 and p[20] == 8:
        p[12:16], p[16:20] = p[16:20], p[12:16]
        p[20] = 0
        c = (p[22] << 8 | p[23]) + 0x0800
        c = (c & 0xFFFF) + (c >> 16)
        p[22], p[23] = c >> 8, c & 255
        s.send(p)
print("gone", flush=True)
