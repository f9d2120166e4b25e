/*
 * iopkt/mbuf.h: a packet.
 *
 * A packet is one contiguous buffer: its bytes are buf[off .. off + len], `off` bytes in front of them are
 * headroom. It has exactly one owner at any time; calls say when ownership moves. Whoever owns it may
 * change everything but `pool`, `buf`, `cap` and the flag bits outside IOPKT_M_MASK.
 */
#ifndef IOPKT_MBUF_H
#define IOPKT_MBUF_H

#include <stdint.h>

/* Most buffers that one call carries. */
#define IOPKT_BATCH 32

struct iopkt_mbuf {
    struct iopkt_mbuf *next; /* the owner's, to make lists; has no meaning across a call */
    const void *pool;        /* the host's */
    uint8_t *buf;            /* storage, at least 64-byte aligned */
    uint32_t cap;            /* its size in bytes */
    uint32_t off;            /* offset of the packet's first byte */
    uint32_t len;            /* length of the packet; off + len <= cap */
    uint32_t ifindex;        /* set by the host */
    uint32_t flags;          /* IOPKT_M_... */
    uint16_t csum_start;     /* with IOPKT_M_CSUM_PARTIAL: sum from here (bytes from the packet's start) ... */
    uint16_t csum_offset;    /* ... to the end, store it this many bytes behind csum_start */
    uint16_t gso_size;       /* payload bytes per segment when gso_type is not 0 */
    uint8_t gso_type;        /* IOPKT_GSO_... */
    uint8_t priority;        /* in the queue of an interface: 0 (usual) to 7 */
};

#define IOPKT_M_BCAST 0x1u        /* link-level broadcast */
#define IOPKT_M_MCAST 0x2u        /* link-level multicast */
#define IOPKT_M_CSUM_OK 0x4u      /* received: the transport checksum has been verified */
#define IOPKT_M_CSUM_PARTIAL 0x8u /* see csum_start; only sent to devices with the capability */
#define IOPKT_M_LOOP 0x10u
#define IOPKT_M_PROMISC 0x20u     /* received although addressed to somebody else */
#define IOPKT_M_MASK 0x3fu

#define IOPKT_GSO_NONE 0
#define IOPKT_GSO_TCP4 1
#define IOPKT_GSO_TCP6 4
#define IOPKT_GSO_UDP 5
#define IOPKT_GSO_ECN 0x80 /* beside TCP4 or TCP6: CWR stands in the first segment only (since 1.2) */

static inline uint8_t *iopkt_mbuf_data(const struct iopkt_mbuf *m)
{
    return m->buf + m->off;
}

static inline uint32_t iopkt_mbuf_tailroom(const struct iopkt_mbuf *m)
{
    return m->cap - m->off - m->len;
}

#endif
