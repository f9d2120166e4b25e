/*
 * iopkt/if_tap.h, TAP interfaces of io-pkt: `ifconfig tap0 create`, then, under io-pkt-run,
 *
 *     int fd = open("/dev/tap0", O_RDWR);
 *
 * One Ethernet frame without its checksum a read(2) or write(2). open("/dev/tap") makes an interface that lives as long as the
 * descriptor. As tap(4) of NetBSD; what <iopkt/if_tun.h> says of errors and of programs without io-pkt-run holds here too.
 */
#ifndef IOPKT_IF_TAP_H
#define IOPKT_IF_TAP_H

#include <net/if.h>
#include <sys/ioctl.h>

/* The name of the interface, in ifr_name. */
#define TAPGIFNAME _IOR('e', 0, struct ifreq)

#endif
