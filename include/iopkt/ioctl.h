/*
 * iopkt/ioctl.h: requests about interfaces that BSD has and Linux lacks, for programs under io-pkt-run.
 *
 * The argument is a struct ifreq of Linux (netdevice(7)): the name, and a union of 24 bytes, which holds what the texts say.
 * SIOCGIFFLAGS, SIOCSIFADDR and the others that Linux has are used by Linux's names and numbers. Requests that set
 * something are for root and the user of io-pkt (EPERM).
 */
#ifndef IOPKT_IOCTL_H
#define IOPKT_IOCTL_H

#define IOPKT_SIOCIFCREATE 0x89e0  /* make the pseudo-interface of this name */
#define IOPKT_SIOCIFDESTROY 0x89e1 /* remove it; EOPNOTSUPP for a driver's, which ifconfig destroys */
#define IOPKT_SIOCGIFCAP 0x89e2    /* uint32_t[4]: capabilities receive, transmit; enabled receive, transmit */
#define IOPKT_SIOCSIFCAP 0x89e3    /* the same; the last two count */
#define IOPKT_SIOCZIFDATA 0x89e4   /* zero the counters */
#define IOPKT_SIOCAIFADDR 0x89e5   /* add an alias: struct sockaddr_in, its prefix length in sin_zero[0] (0: by class) */
#define IOPKT_SIOCGIFMEDIA 0x89e6  /* uint32_t[3]: media word, status (1 valid, 2 active), number of words */
#define IOPKT_SIOCSIFMEDIA 0x89e7  /* uint32_t: media word */
#define IOPKT_SIOCGIFALIAS 0x89e8  /* in: uint32_t n; out: struct sockaddr_in, the n-th address beyond the primary one */

#endif
