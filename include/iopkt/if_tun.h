/*
 * iopkt/if_tun.h, TUN interfaces of io-pkt: `ifconfig tun0 create`, then, under io-pkt-run,
 *
 *     int fd = open("/dev/tun0", O_RDWR);
 *
 * One IP packet a read(2) or write(2). As tun(4) of NetBSD; the numbers of the requests are built by this system's macros.
 * A program without io-pkt-run connects a Unix SEQPACKET socket to dev/tun0 below the stack's root instead: one packet
 * a message, without requests.
 *
 * EBUSY: another program has it open. EHOSTDOWN: the interface is down. EIO: no packet, or one that is too long.
 * ENXIO: the interface was destroyed.
 */
#ifndef IOPKT_IF_TUN_H
#define IOPKT_IF_TUN_H

#include <sys/ioctl.h>

/* IFF_POINTOPOINT or IFF_BROADCAST, in BSD's numbers (0x10, 0x2), while the interface is down (else EBUSY). */
#define TUNSIFMODE _IOW('t', 88, int)
/* Messages in the log about packets that are not taken. */
#define TUNSDEBUG _IOW('t', 90, int)
#define TUNGDEBUG _IOR('t', 89, int)
/* In front of each packet: the protocol family (2: IPv4, 24: IPv6) in 4 bytes of network order. */
#define TUNSIFHEAD _IOW('t', 66, int)
#define TUNGIFHEAD _IOR('t', 65, int)

#endif
