/*
 * iopkt/module.h: the ABI between io-pkt and a stack module (lsm-NAME.so; since 1.1).
 *
 * A module is a protocol beside the stack: it sees interfaces come and go, hears frames of the Ethernet types
 * that it asks for, sends frames, sets addresses and flags. It lives on ONE thread, its control thread, which the
 * host makes; all calls of struct iopkt_module_ops run there, never two at a time. They may block (the packet
 * path never waits for a module: frames that it does not fetch in time are dropped and counted), but must look
 * at host->stopping now and then.
 *
 * A module's life: load -> { fd, timer, wake, input, changed }* -> unload. It stays loaded until the user unloads
 * it (umount lsm-NAME.so), io-pkt ends, or it asks for its end (host->depart).
 */
#ifndef IOPKT_MODULE_H
#define IOPKT_MODULE_H

#include <iopkt/driver.h>

#ifdef __cplusplus
extern "C" {
#endif

/* struct iopkt_addr.state */
#define IOPKT_ADDR_VALID 0
#define IOPKT_ADDR_TENTATIVE 1
#define IOPKT_ADDR_DUPLICATED 2

/* struct iopkt_addr.flags */
#define IOPKT_ADDR_BROADCAST 0x1u /* `broadcast` is set (addr_add without it: host part all ones) */
#define IOPKT_ADDR_PEER 0x2u      /* `peer` is set */
#define IOPKT_ADDR_PRIMARY 0x4u   /* addr_add: replaces the primary address instead of joining it */

/* An address of an interface. Numbers of the network stand in network byte order, IPv4 in the first 4 bytes. This
 * structure never grows. */
struct iopkt_addr {
    uint8_t family;     /* 4 or 6 */
    uint8_t prefix_len; /* bits */
    uint8_t state;      /* IOPKT_ADDR_VALID ...; read only */
    uint8_t flags;      /* IOPKT_ADDR_BROADCAST ... */
    uint8_t addr[16];
    uint8_t broadcast[16];
    uint8_t peer[16];
};

/* Flags of an interface that a module needs; the others are NetBSD's IFF_ values too. */
#define IOPKT_IF_UP 0x1u
#define IOPKT_IF_BROADCAST 0x2u
#define IOPKT_IF_LOOPBACK 0x8u
#define IOPKT_IF_POINTOPOINT 0x10u
#define IOPKT_IF_RUNNING 0x40u
#define IOPKT_IF_NOARP 0x80u
#define IOPKT_IF_PROMISC 0x100u
#define IOPKT_IF_ALLMULTI 0x200u
#define IOPKT_IF_MULTICAST 0x8000u

/* An interface. The text and the addresses last as long as the call that shows it. */
struct iopkt_if {
    struct iopkt_head head;
    uint32_t ifindex;
    uint32_t flags;      /* IOPKT_IF_... */
    uint32_t mtu;        /* bytes of network packet */
    uint32_t link_type;  /* IOPKT_LINK_ETHER, IOPKT_LINK_RAWIP (loopback too) */
    uint32_t link_state; /* IOPKT_LINK_UNKNOWN ... */
    uint8_t mac[6];      /* zero: none */
    uint8_t pad[2];
    char name[16];       /* "ecm0" */
    char alias[16];      /* "en0", or empty */
    char driver[32];     /* name of the driver, empty for built-in ones */
    uint32_t naddrs;
    uint32_t pad2;
    const struct iopkt_addr *addrs; /* primary first */
};

/* What changed about an interface (`changed`); several at once. */
#define IOPKT_CHANGED_ARRIVED 0x1u
#define IOPKT_CHANGED_DEPARTED 0x2u
#define IOPKT_CHANGED_STATE 0x4u /* flags or link */
#define IOPKT_CHANGED_ADDRS 0x8u

/* What the host offers a module. The table and everything behind it stay until unload has returned. All calls take
 * the module's port and, but for those of `host` that say otherwise, are made on its thread. Those that answer
 * wait for the stack, which never waits for a module. */
struct iopkt_module_host {
    struct iopkt_head head;

    /* Of this table a module may use log, now, stopping, random, root, wake, mbuf_alloc, mbuf_free, depart
     * (which asks for the module's own end), fd_add, fd_mod, fd_del, timer, why, name_add and name_del. The
     * rest is for devices. */
    const struct iopkt_host *host;

    /* Calls `put` for each interface, or for the one named (an alias will do): ENXIO when there is none. */
    int (*interfaces)(struct iopkt_port *port, const char *name, void *cookie,
                      void (*put)(void *cookie, const struct iopkt_if *i));
    /* Adds an address beside those that are there (see IOPKT_ADDR_PRIMARY). EEXIST, EADDRINUSE, EINVAL ... as
     * ifconfig would get. */
    int (*addr_add)(struct iopkt_port *port, uint32_t ifindex, const struct iopkt_addr *a);
    /* Removes an address; only family and addr are looked at. */
    int (*addr_del)(struct iopkt_port *port, uint32_t ifindex, const struct iopkt_addr *a);
    /* Sets and clears flags that a user may change. */
    int (*if_flags)(struct iopkt_port *port, uint32_t ifindex, uint32_t set, uint32_t clear);
    /* Hear frames of this Ethernet type (host byte order) that interface `ifindex` (0: any) receives and that are
     * for this host, a group or everybody. The stack gets them too if it knows the type. EEXIST. */
    int (*listen)(struct iopkt_port *port, uint32_t ifindex, uint16_t ethertype);
    int (*unlisten)(struct iopkt_port *port, uint32_t ifindex, uint16_t ethertype);
    /* Sends frames, complete with link-level header (none on IOPKT_LINK_RAWIP). n <= IOPKT_BATCH; all are the
     * host's afterwards, whatever happens to them. Does not wait: frames for an interface that is down or gone
     * are counted as drops there. ENOBUFS when too many wait. */
    int (*output)(struct iopkt_port *port, uint32_t ifindex, struct iopkt_mbuf **v, uint32_t n);
};

/* The calls for a module. Null: not needed; load must be there. */
struct iopkt_module_ops {
    struct iopkt_head head;
    /* Begin. `options` is the option list, each known to be in the object's list; it stays until load
     * returns. `*state` (null before) is handed to the other calls. After an error `unload` is called if `*state`
     * is not null, nothing else. */
    int (*load)(const struct iopkt_module_host *host, struct iopkt_port *port, const char *options, void **state);
    void (*fd)(void *state, uint64_t cookie, uint32_t ready);
    void (*timer)(void *state, uint64_t now);
    void (*wake)(void *state);
    /* Frames heard, n <= IOPKT_BATCH; they are the module's: to mbuf_free, to keep a while, or to send. `ifindex` of
     * the buffer says where each came from; it begins with its Ethernet header (with the IP header on
     * IOPKT_LINK_RAWIP). */
    void (*input)(void *state, struct iopkt_mbuf **v, uint32_t n);
    /* Something happened to an interface: IOPKT_CHANGED_... Changes since the last call come as one. */
    void (*changed)(void *state, uint32_t ifindex, uint32_t what);
    /* Last call, after a load that succeeded or left a state. */
    void (*unload)(void *state);
};

#ifdef __cplusplus
}
#endif

#endif
