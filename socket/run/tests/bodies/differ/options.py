"""Every option of Linux's headers, on each kind of socket: what is read, what a set of values answers, what is read then.

Prints one line a probe, "SOCKET LEVEL NAME PROBE: RESULT"; run on the kernel's sockets and on a stack's, the outputs are compared.
"""
import ctypes
import errno
import os
import re
import socket
import struct
import sys

INCLUDE = "/usr/include"
HEADERS = {
    "SOL_SOCKET": (socket.SOL_SOCKET, ["asm-generic/socket.h"], r"SO_"),
    "IPPROTO_IP": (0, ["linux/in.h"], r"IP_|MCAST_"),
    "IPPROTO_TCP": (6, ["linux/tcp.h"], r"TCP_"),
    "IPPROTO_UDP": (17, ["linux/udp.h"], r"UDP_"),
    "SOL_RAW": (255, ["linux/icmp.h"], r"ICMP_FILTER"),
    "IPPROTO_IPV6": (41, ["linux/in6.h", "linux/in.h"], r"IPV6_|MCAST_"),
    "IPPROTO_ICMPV6": (58, ["linux/icmpv6.h"], r"ICMPV6_FILTER"),
}
# Constants beside the options that share their prefix.
NOT_OPTIONS = re.compile(
    r"IP_(PMTUDISC|DEFAULT)_|IPV6_(PMTUDISC|PREFER_|FL_|PRIORITY|TLV|SRCRT|MIN_MTU)|MCAST_(EXCLUDE|INCLUDE)$|TCP_(MSS_|REPAIR_(ON|OFF)|CM_|MD5SIG_(MAX|FLAG)|RECEIVE_)"
    r"|UDP_ENCAP_|TCP_ENCAP_|SO_(TIMESTAMP|TIMESTAMPNS|TIMESTAMPING|RCVTIMEO|SNDTIMEO)$"
)

libc = ctypes.CDLL(None, use_errno=True)


def names():
    for level, (number, headers, prefix) in HEADERS.items():
        seen = {}
        for h in headers:
            text = open(os.path.join(INCLUDE, h)).read()
            for name, value in re.findall(r"^\s*#\s*define\s+((?:%s)\w*)\s+(\w+)" % prefix, text, re.M):
                if NOT_OPTIONS.match(name):
                    continue
                v = seen.get(value) if not value[0].isdigit() else int(value, 0)
                if v is not None:
                    seen[name] = v
        for name, v in seen.items():
            yield level, number, name, v


def err(e):
    return errno.errorcode.get(e, str(e))


def get(s, level, name, room):
    buf = ctypes.create_string_buffer(room or 1)
    length = ctypes.c_uint(room)
    if libc.getsockopt(s.fileno(), level, name, buf, ctypes.byref(length)) < 0:
        return err(ctypes.get_errno())
    b = buf.raw[: min(length.value, room)]
    text = str(struct.unpack("i", b)[0]) if len(b) == 4 else b.hex()
    return "%d:%s" % (length.value, text)


def put(s, level, name, value):
    if libc.setsockopt(s.fileno(), level, name, value, len(value)) < 0:
        return err(ctypes.get_errno())
    return "0"


KINDS = {
    "tcp": (socket.AF_INET, socket.SOCK_STREAM, 0),
    "udp": (socket.AF_INET, socket.SOCK_DGRAM, 0),
    "udplite": (socket.AF_INET, socket.SOCK_DGRAM, 136),
    "icmp": (socket.AF_INET, socket.SOCK_RAW, 1),
    "raw": (socket.AF_INET, socket.SOCK_RAW, 99),
    "ping": (socket.AF_INET, socket.SOCK_DGRAM, 1),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, 0),
    "udp6": (socket.AF_INET6, socket.SOCK_DGRAM, 0),
    "icmp6": (socket.AF_INET6, socket.SOCK_RAW, 58),
    "raw6": (socket.AF_INET6, socket.SOCK_RAW, 99),
    "ping6": (socket.AF_INET6, socket.SOCK_DGRAM, 58),
}
VALUES = [0, 1, 2, 3, -1, 255, 256, 4096, 65535, 65536, 2147483647, -2147483648]
# Structures, random or different by nature: read for errors and length only.
VAGUE = {"SO_COOKIE", "TCP_INFO", "TCP_CC_INFO", "SO_PEERCRED", "SO_NETNS_COOKIE", "SO_MEMINFO", "TCP_TIMESTAMP"}


def vague(r):
    return re.sub(r":.*", ":...", r)


def main():
    kinds = sys.argv[1:] or list(KINDS)
    for kind in kinds:
        family, ty, proto = KINDS[kind]
        for level, number, name, v in names():
            def show(what, result):
                print("%s %s %s %s: %s" % (kind, level, name, what, vague(result) if name in VAGUE else result))

            def fresh():
                return socket.socket(family, ty, proto)

            try:
                s = fresh()
            except OSError as e:
                print(kind, "socket:", err(e.errno))
                break
            with s:
                for room in (4, 0, 1, 256):
                    show("get(%d)" % room, get(s, number, v, room))
                for value in (b"", b"\1", b"\0" * 8, b"\0" * 16, b"lo\0", b"\1\0\0\0" * 2):
                    with fresh() as t:
                        show("set(%s)" % value.hex(), put(t, number, v, value))
            for value in VALUES:
                with fresh() as s:
                    r = put(s, number, v, struct.pack("i", value))
                    show("set(%d)" % value, r)
                    if r == "0":
                        show("set(%d) then get" % value, get(s, number, v, 4))


main()
