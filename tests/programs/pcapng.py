"""Reads a pcapng file as the draft has it, strictly, and prints it as JSON: pcapng.py FILE."""
import json
import struct
import sys

data = open(sys.argv[1], "rb").read()
out = {"interfaces": [], "packets": [], "statistics": []}


def options(b):
    found = {}
    while b:
        code, n = struct.unpack("=HH", b[:4])
        if code == 0:
            assert n == 0 and len(b) == 4, "opt_endofopt is last"
            return found
        found.setdefault(code, []).append(b[4 : 4 + n])
        b = b[4 + (n + 3) // 4 * 4 :]
    raise AssertionError("no opt_endofopt")


at = 0
while at < len(data):
    kind, n = struct.unpack("=II", data[at : at + 8])
    assert n % 4 == 0 and n >= 12 and at + n <= len(data), (at, n)
    assert struct.unpack("=I", data[at + n - 4 : at + n])[0] == n
    b = data[at + 8 : at + n - 4]
    if kind == 0x0A0D0D0A:
        assert at == 0 and struct.unpack("=IHHq", b[:16]) == (0x1A2B3C4D, 1, 0, -1)
        out["application"] = options(b[16:])[4][0].decode()
    elif kind == 1:
        link, _, snap = struct.unpack("=HHI", b[:8])
        o = options(b[8:])
        assert o[9] == [b"\x09"], "nanoseconds"
        out["interfaces"].append({"link": link, "snap": snap, "name": o[2][0].decode(), "mac": o.get(6, [b""])[0].hex()})
    elif kind == 6:
        i, hi, lo, cap, full = struct.unpack("=IIIII", b[:20])
        o = options(b[20 + (cap + 3) // 4 * 4 :])
        out["packets"].append(
            {
                "interface": i,
                "time": hi << 32 | lo,
                "data": b[20 : 20 + cap].hex(),
                "length": full,
                "flags": struct.unpack("=I", o[2][0])[0],
                "comments": [c.decode() for c in o.get(1, [])],
            }
        )
    elif kind == 5:
        o = options(b[12:])
        n64 = lambda c: struct.unpack("=Q", o[c][0])[0]
        out["statistics"].append({"accepted": n64(6), "lost": n64(7), "written": n64(8)})
    else:
        raise AssertionError(f"block {kind:#x}")
    at += n
print(json.dumps(out))
