/*
 * iopkt/route.h: routing sockets.
 *
 * A program under io-pkt-run opens one with
 *
 *     int s = socket(IOPKT_AF_ROUTE, SOCK_RAW, 0);
 *
 * and reads and writes messages in NetBSD's layout, one a call of read(2), write(2), recv(2) or send(2). The number
 * 17, which AF_ROUTE has on QNX, is AF_PACKET on Linux, so a routing socket has a number of its own; Linux's AF_NETLINK
 * is served too (ip(8), getifaddrs(3)). The third argument selects a family: 0 all, AF_INET, AF_INET6.
 *
 * Every message begins with its length, version and type. Behind the header of its type come socket addresses, one for
 * each bit of its `addrs` field, in the order of the bits, each padded to a multiple of 8 bytes. Numbers are in the
 * byte order of the machine, addresses and ports in network order. What BSD calls u_long has 64 bits here.
 *
 * A link-local address of IPv6 has the index of its interface inside, in bytes 2 and 3 (network order), as in NetBSD's
 * messages (KAME's form); sin6_scope_id is 0 in messages, and is understood in requests.
 *
 * Requests (RTM_ADD, RTM_DELETE, RTM_CHANGE, RTM_GET, RTM_LOCK) are answered by a message to all routing sockets, the
 * sender's included, with rtm_pid and rtm_seq of the request. RTF_DONE says that it was carried out; otherwise
 * rtm_errno says why not (write(2) itself cannot). Changes are for root and the user of io-pkt (EACCES).
 * A program that does not read loses messages; SO_ERROR is then ENOBUFS.
 */
#ifndef IOPKT_ROUTE_H
#define IOPKT_ROUTE_H

#include <stdint.h>

#define IOPKT_AF_ROUTE 0x4011
#define IOPKT_RTM_VERSION 3

/* Types of messages. */
#define IOPKT_RTM_ADD 0x1        /* struct iopkt_rt_msghdr */
#define IOPKT_RTM_DELETE 0x2     /* struct iopkt_rt_msghdr */
#define IOPKT_RTM_CHANGE 0x3     /* struct iopkt_rt_msghdr */
#define IOPKT_RTM_GET 0x4        /* struct iopkt_rt_msghdr */
#define IOPKT_RTM_LOSING 0x5     /* struct iopkt_rt_msghdr: a connection gets no answers */
#define IOPKT_RTM_REDIRECT 0x6   /* struct iopkt_rt_msghdr: an ICMP redirect was believed */
#define IOPKT_RTM_MISS 0x7       /* struct iopkt_rt_msghdr: no route to this destination */
#define IOPKT_RTM_LOCK 0x8       /* struct iopkt_rt_msghdr */
#define IOPKT_RTM_NEWADDR 0xc    /* struct iopkt_ifa_msghdr */
#define IOPKT_RTM_DELADDR 0xd    /* struct iopkt_ifa_msghdr */
#define IOPKT_RTM_IFINFO 0xf     /* struct iopkt_if_msghdr: flags, link state, MTU or metric changed */
#define IOPKT_RTM_IFANNOUNCE 0x10 /* struct iopkt_if_announcemsghdr */

/* Addresses that follow a header. */
#define IOPKT_RTA_DST 0x1
#define IOPKT_RTA_GATEWAY 0x2
#define IOPKT_RTA_NETMASK 0x4
#define IOPKT_RTA_GENMASK 0x8
#define IOPKT_RTA_IFP 0x10
#define IOPKT_RTA_IFA 0x20
#define IOPKT_RTA_AUTHOR 0x40
#define IOPKT_RTA_BRD 0x80 /* broadcast address, or peer */

/* Flags of a route. */
#define IOPKT_RTF_UP 0x1
#define IOPKT_RTF_GATEWAY 0x2
#define IOPKT_RTF_HOST 0x4
#define IOPKT_RTF_REJECT 0x8
#define IOPKT_RTF_DYNAMIC 0x10
#define IOPKT_RTF_MODIFIED 0x20
#define IOPKT_RTF_DONE 0x40
#define IOPKT_RTF_CLONING 0x100
#define IOPKT_RTF_LLINFO 0x400
#define IOPKT_RTF_STATIC 0x800
#define IOPKT_RTF_BLACKHOLE 0x1000
#define IOPKT_RTF_CLONED 0x2000
#define IOPKT_RTF_PROTO2 0x4000
#define IOPKT_RTF_PROTO1 0x8000

/* Metrics, in rtm_inits and rmx_locks. This stack keeps the MTU and ignores the others. */
#define IOPKT_RTV_MTU 0x1

/* Families inside messages (BSD's numbers). */
#define IOPKT_BSD_AF_INET 2
#define IOPKT_BSD_AF_LINK 18
#define IOPKT_BSD_AF_INET6 24

struct iopkt_rt_metrics {
    uint64_t rmx_locks;
    uint64_t rmx_mtu;
    uint64_t rmx_hopcount;
    uint64_t rmx_expire; /* seconds since 1970 */
    uint64_t rmx_recvpipe;
    uint64_t rmx_sendpipe;
    uint64_t rmx_ssthresh;
    uint64_t rmx_rtt;
    uint64_t rmx_rttvar;
    uint64_t rmx_pksent;
};

struct iopkt_rt_msghdr {
    uint16_t rtm_msglen;
    uint8_t rtm_version;
    uint8_t rtm_type;
    uint16_t rtm_index;
    uint16_t rtm_pad;
    int32_t rtm_flags;
    int32_t rtm_addrs;
    int32_t rtm_pid;
    int32_t rtm_seq;
    int32_t rtm_errno;
    int32_t rtm_use;
    uint64_t rtm_inits;
    struct iopkt_rt_metrics rtm_rmx;
};

#define IOPKT_LINK_STATE_UNKNOWN 0
#define IOPKT_LINK_STATE_DOWN 1
#define IOPKT_LINK_STATE_UP 2

struct iopkt_if_data {
    uint8_t ifi_type; /* 6 Ethernet, 23 point to point, 24 loopback */
    uint8_t ifi_addrlen;
    uint8_t ifi_hdrlen;
    uint8_t ifi_pad;
    int32_t ifi_link_state;
    uint64_t ifi_mtu;
    uint64_t ifi_metric;
    uint64_t ifi_baudrate;
    uint64_t ifi_ipackets;
    uint64_t ifi_ierrors;
    uint64_t ifi_opackets;
    uint64_t ifi_oerrors;
    uint64_t ifi_collisions;
    uint64_t ifi_ibytes;
    uint64_t ifi_obytes;
    uint64_t ifi_imcasts;
    uint64_t ifi_omcasts;
    uint64_t ifi_iqdrops;
    uint64_t ifi_noproto;
    int64_t ifi_lastchange[2]; /* seconds and microseconds; 0: not kept */
};

struct iopkt_if_msghdr {
    uint16_t ifm_msglen;
    uint8_t ifm_version;
    uint8_t ifm_type;
    int32_t ifm_addrs;
    int32_t ifm_flags; /* BSD's IFF_* */
    uint16_t ifm_index;
    uint16_t ifm_pad;
    struct iopkt_if_data ifm_data;
};

/* Of an IPv6 address. RTM_NEWADDR comes when it is new, tentative where duplicate detection runs, and again when that has ended. */
#define IOPKT_IN6_IFF_ANYCAST 0x1
#define IOPKT_IN6_IFF_TENTATIVE 0x2
#define IOPKT_IN6_IFF_DUPLICATED 0x4
#define IOPKT_IN6_IFF_DETACHED 0x8
#define IOPKT_IN6_IFF_DEPRECATED 0x10
#define IOPKT_IN6_IFF_NODAD 0x20
#define IOPKT_IN6_IFF_AUTOCONF 0x40
#define IOPKT_IN6_IFF_TEMPORARY 0x80

struct iopkt_ifa_msghdr {
    uint16_t ifam_msglen;
    uint8_t ifam_version;
    uint8_t ifam_type;
    int32_t ifam_addrs;
    int32_t ifam_flags;
    uint16_t ifam_index;
    uint16_t ifam_pad;
    int32_t ifam_metric;
    int32_t ifam_addrflags; /* of an IPv6 address: IOPKT_IN6_IFF_* */
};

#define IOPKT_IFAN_ARRIVAL 0
#define IOPKT_IFAN_DEPARTURE 1

struct iopkt_if_announcemsghdr {
    uint16_t ifan_msglen;
    uint8_t ifan_version;
    uint8_t ifan_type;
    uint16_t ifan_index;
    char ifan_name[16];
    uint16_t ifan_what;
};

struct iopkt_bsd_sockaddr_in {
    uint8_t sin_len; /* 16 */
    uint8_t sin_family;
    uint16_t sin_port;
    uint8_t sin_addr[4];
    uint8_t sin_zero[8];
};

struct iopkt_bsd_sockaddr_in6 {
    uint8_t sin6_len; /* 28 */
    uint8_t sin6_family;
    uint16_t sin6_port;
    uint32_t sin6_flowinfo;
    uint8_t sin6_addr[16];
    uint32_t sin6_scope_id;
};

struct iopkt_sockaddr_dl {
    uint8_t sdl_len;
    uint8_t sdl_family;
    uint16_t sdl_index;
    uint8_t sdl_type;
    uint8_t sdl_nlen; /* length of the name, which stands first in sdl_data, without a zero at its end */
    uint8_t sdl_alen; /* length of the link-level address behind it */
    uint8_t sdl_slen;
    uint8_t sdl_data[24];
};

/* The address behind `sa` (the first one is behind the header). */
#define IOPKT_RT_NEXT(sa) \
    ((const uint8_t *)(sa) + (*(const uint8_t *)(sa) ? (*(const uint8_t *)(sa) + 7) / 8 * 8 : 8))

#endif
