# Answers every DNS question for an A record with 10.20.30.40, and all others with nothing.
import socket, struct, sys

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
open(sys.argv[1], "w").close()
while True:
    q, peer = s.recvfrom(2000)
    end = 12
    while q[end]:
        end += 1 + q[end]
    end += 5
    kind = struct.unpack_from("!H", q, end - 4)[0]
    answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([10, 20, 30, 40]) if kind == 1 else b""
    s.sendto(q[:2] + b"\x81\x80" + struct.pack("!HHHH", 1, int(kind == 1), 0, 0) + q[12:end] + answer, peer)
