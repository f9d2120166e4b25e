/*
 * iopkt/legacy.h: drivers of the older kind, devn-NAME.so, as devnp-shim.so runs them.
 *
 * io-net, the network manager before io-pkt, had drivers that knew nothing of the stack's buffers: they were handed a
 * frame and handed one up. This is that model in a small interface of its own (not QNX's <sys/io-net.h>, with which
 * it shares no layout). A driver exports ONE data symbol, `devn_entry`. The shim loads it, makes an Ethernet
 * interface enX for each registration, and copies every frame in both directions; the interface shows SHIM among
 * its flags, stands as /dev/io-net/enX below io-pkt's root, and can be unmounted. No media changes, no jumbo frames,
 * no name= and unit=.
 *
 * Threads. `init`, `shutdown` and nothing else run on the object's control thread. The calls of struct devn_if run on
 * a packet thread, one at a time for one interface, and must not block. A driver may have threads of its own (an
 * io-net driver has one for its interrupts); rx, tx_ready, link and log of struct devn_io_net may be called from any
 * thread, between `reg` and the return of `shutdown`, which has joined them all.
 */
#ifndef IOPKT_LEGACY_H
#define IOPKT_LEGACY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DEVN_VERSION 1

/* Longest frame: 1500 bytes behind an Ethernet header, without FCS. */
#define DEVN_FRAME_MAX 1514

/* An interface, as the driver registers it. */
struct devn_if {
    void *hdl;      /* first argument of the calls */
    uint8_t mac[6];
    uint16_t mtu;   /* 68 .. 1500 */
    char description[64];
    /* Goes up, goes down: frames flow between the two. Null: nothing to do. */
    int (*up)(void *hdl);
    void (*down)(void *hdl);
    /* Sends a frame, which is the caller's again when the call returns: copy it. 0, or EAGAIN: no room, it comes again
     * after tx_ready; any other errno counts as an output error. */
    int (*tx)(void *hdl, const void *frame, size_t len);
    /* Receive everything (1), or only what is for us, groups and everybody (0). Null: always everything needed. */
    int (*promisc)(void *hdl, int on);
    /* The interface has gone (destroyed or unmounted): last call for it. Null: nothing to do. */
    void (*close)(void *hdl);
};

struct devn_reg; /* the shim's */

/* What the shim offers. The table stays until shutdown has returned. */
struct devn_io_net {
    uint32_t version; /* DEVN_VERSION */
    uint32_t reserved;
    void *self;       /* first argument of reg and log */
    /* Makes an interface; inside init only. `i` is copied. */
    int (*reg)(void *self, const struct devn_if *i, struct devn_reg **out);
    /* A received frame; it is copied. */
    void (*rx)(struct devn_reg *reg, const void *frame, size_t len);
    /* There is room again after tx has said EAGAIN. */
    void (*tx_ready)(struct devn_reg *reg);
    /* The link went up (with its speed in Mbit/s, 0 for unknown) or down. */
    void (*link)(struct devn_reg *reg, int up, unsigned mbit);
    /* A line for the log; severity as slogger's, 2 error ... 5 info ... 7 debug. */
    void (*log)(void *self, int severity, const char *text);
};

/* What the object exports as `devn_entry`. */
struct devn_entry {
    uint32_t version;        /* DEVN_VERSION */
    uint32_t reserved;       /* 0 */
    /* The options that it takes, by name, comma separated ("verbose,mac="; a '=' wants a value). */
    const char *options;
    /* Finds its hardware and registers it. 0, or an errno; then nothing else is called. */
    int (*init)(const struct devn_io_net *ion, const char *options);
    /* All interfaces have gone: end threads, give everything back. */
    int (*shutdown)(void);
};

#ifdef __cplusplus
}
#endif

#endif
