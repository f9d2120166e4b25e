/*
 * iopkt/bpf.h: BPF devices of io-pkt, for programs that run under io-pkt-run.
 *
 *     int fd = open("/dev/bpf", O_RDWR);      each open is a device of its own; /dev/bpf0 ... mean the same
 *     ioctl(fd, BIOCSETIF, &ifreq);
 *     read(fd, buffer, length as BIOCGBLEN says it);
 *
 * Requests, their arguments and the layout of what is read are NetBSD's (bpf(4)); the numbers of the requests are built by this
 * system's _IOR and _IOW. Programs of instructions are those of every classic BPF: struct bpf_insn and Linux's struct
 * sock_filter are the same.
 *
 * read(2) gives one buffer: packets, each behind a struct bpf_hdr, at multiples of BPF_ALIGNMENT (BPF_WORDALIGN). Its
 * length must be the buffer's (EINVAL). It waits until the buffer is full, its time-out (BIOCSRTIMEOUT, counted from the first
 * packet in it) is over, or, in immediate mode (BIOCIMMEDIATE, or opened with O_NONBLOCK), a packet is there.
 * write(2) sends one packet with its link-level header. ENXIO: the interface is gone.
 */
#ifndef IOPKT_BPF_H
#define IOPKT_BPF_H

#include <net/if.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An instruction. */
struct bpf_insn {
    uint16_t code;
    uint8_t jt; /* instructions to skip when a condition holds */
    uint8_t jf; /* when it does not */
    uint32_t k;
};

/* A program: at most 4096 instructions; none removes the filter. */
struct bpf_program {
    unsigned int bf_len;
    struct bpf_insn *bf_insns;
};

/* Since BIOCSETIF or BIOCSETF. */
struct bpf_stat {
    uint64_t bs_recv; /* packets that passed the device */
    uint64_t bs_drop; /* packets that found no room */
    uint64_t bs_capt; /* packets that the filter wanted */
    uint64_t bs_padding[13];
};

struct bpf_version {
    uint16_t bv_major;
    uint16_t bv_minor;
};

struct bpf_timeval {
    long tv_sec; /* since 1970, UTC */
    long tv_usec;
};

/* In front of each packet. */
struct bpf_hdr {
    struct bpf_timeval bh_tstamp;
    uint32_t bh_caplen;  /* bytes that follow */
    uint32_t bh_datalen; /* bytes that the packet had */
    uint16_t bh_hdrlen;  /* length of this header with its padding */
};

/* Link types; without a list only their number is told. */
struct bpf_dltlist {
    unsigned int bfl_len;
    unsigned int *bfl_list;
};

#define BPF_ALIGNMENT sizeof(long)
#define BPF_WORDALIGN(x) (((x) + (BPF_ALIGNMENT - 1)) & ~(BPF_ALIGNMENT - 1))

#define BPF_MAJOR_VERSION 1
#define BPF_MINOR_VERSION 1

#define DLT_NULL 0   /* protocol family (2: IPv4, 24: IPv6) in 4 bytes of the machine's order, IP packet */
#define DLT_EN10MB 1 /* Ethernet */
#define DLT_RAW 12   /* IP packet */

#define BIOCGBLEN _IOR('B', 102, unsigned int)
#define BIOCSBLEN _IOWR('B', 102, unsigned int) /* before BIOCSETIF; 32 to 131072, at first 32768 */
#define BIOCSETF _IOW('B', 103, struct bpf_program)
#define BIOCFLUSH _IO('B', 104)
#define BIOCPROMISC _IO('B', 105)
#define BIOCGDLT _IOR('B', 106, unsigned int)
#define BIOCGETIF _IOR('B', 107, struct ifreq)
#define BIOCSETIF _IOW('B', 108, struct ifreq)
#define BIOCGSTATS _IOR('B', 111, struct bpf_stat)
#define BIOCIMMEDIATE _IOW('B', 112, unsigned int)
#define BIOCVERSION _IOR('B', 113, struct bpf_version)
#define BIOCGHDRCMPLT _IOR('B', 116, unsigned int)
#define BIOCSHDRCMPLT _IOW('B', 117, unsigned int) /* 0: the interface's address is put into what is written */
#define BIOCSDLT _IOW('B', 118, unsigned int)
#define BIOCGDLTLIST _IOWR('B', 119, struct bpf_dltlist)
#define BIOCGSEESENT _IOR('B', 120, unsigned int)
#define BIOCSSEESENT _IOW('B', 121, unsigned int) /* 0: only what is received */
#define BIOCSRTIMEOUT _IOW('B', 122, struct timeval)
#define BIOCGRTIMEOUT _IOR('B', 123, struct timeval)

#ifdef __cplusplus
}
#endif

#endif
