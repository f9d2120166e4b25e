"""A wire between the nodes of two interfaces: wire.py NODE NODE. Each message of one goes to the other."""
import select
import socket
import sys

ends = []
for path in sys.argv[1:3]:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(path)
    ends.append(s)
print("joined", flush=True)
while True:
    for s in select.select(ends, [], [])[0]:
        frame = s.recv(65536)
        if not frame:
            sys.exit(0)
        ends[1 - ends.index(s)].send(frame)
