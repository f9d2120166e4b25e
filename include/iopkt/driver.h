/*
 * iopkt/driver.h: the ABI between io-pkt and a network driver.
 *
 * Threads. The host makes them all:
 *
 *   control thread   one per loaded object. Runs struct iopkt_driver_ops: load, driver-level events
 *                    (hot plug), unload. May block, but must look at host->stopping now and then.
 *   packet thread    owns devices. Runs struct iopkt_device_ops, never two calls for one device at a time.
 *                    Must never block. A thread that owns several devices runs their calls in turn.
 *
 * A driver that must start a thread of its own joins it before `unload` (or the device's `detach`) returns.
 *
 * Ports. A `struct iopkt_port` is a place where calls into the driver run: one for the object (given to
 * `load`; calls run on the control thread) and one for each attached device (given to `bind`; calls run on its
 * packet thread). The host's functions take a port as their first argument. Unless "any thread" is said
 * they may only be called from inside a call that the host made for that port. The port of a device stays
 * a valid argument until `unload` has returned; after `detach` calls on it do nothing.
 *
 * A device's life: attach (control thread) -> bind -> { start -> transmit, fd, timer, wake, filter ... -> stop }*
 * -> detach (packet thread) -> gone (control thread). When the last one has gone the object is unloaded,
 * unless it asked to stay (host->resident).
 */
#ifndef IOPKT_DRIVER_H
#define IOPKT_DRIVER_H

#include <iopkt/abi.h>
#include <iopkt/mbuf.h>

#ifdef __cplusplus
extern "C" {
#endif

struct iopkt_port; /* the host's */

/* Severities of the log (slogger's). */
#define IOPKT_LOG_SHUTDOWN 0
#define IOPKT_LOG_CRITICAL 1
#define IOPKT_LOG_ERROR 2
#define IOPKT_LOG_WARNING 3
#define IOPKT_LOG_NOTICE 4
#define IOPKT_LOG_INFO 5
#define IOPKT_LOG_DEBUG1 6
#define IOPKT_LOG_DEBUG2 7

/* Interest in, and readiness of, a descriptor. ERROR and HANGUP are always reported. */
#define IOPKT_FD_READ 0x1u
#define IOPKT_FD_WRITE 0x2u
#define IOPKT_FD_ERROR 0x4u
#define IOPKT_FD_HANGUP 0x8u

#define IOPKT_NEVER UINT64_MAX /* a deadline that is not set */

/* Link types. */
#define IOPKT_LINK_ETHER 1 /* Ethernet frames without FCS */
#define IOPKT_LINK_RAWIP 2 /* IP packets, the family is in the first nibble */

/* Link states. */
#define IOPKT_LINK_UNKNOWN 0
#define IOPKT_LINK_DOWN 1
#define IOPKT_LINK_UP 2

/*
 * Capabilities, receive and transmit apart (ifconfig's ip4csum ...). What a packet carries of them stands in its
 * struct iopkt_mbuf.
 *
 * Transmit. A driver with one of the CSUM bits gets packets with IOPKT_M_CSUM_PARTIAL: the field behind csum_start holds
 * the sum of the pseudo-header, not complemented; the device adds the rest from csum_start to the packet's end and
 * stores the complement (for UDP 0xffff instead of 0). With a TSO or USO bit it also gets super-segments:
 * gso_type is not IOPKT_GSO_NONE, IOPKT_M_CSUM_PARTIAL is set, headers stand once in front of up to 64 KiB of
 * payload, which the device cuts into pieces of gso_size bytes with the headers before each. The host does all
 * of that itself for a device that has not declared, or has been told by set_caps not to use, the bit.
 *
 * Receive. IOPKT_M_CSUM_OK: the device has verified the transport checksum. IOPKT_M_CSUM_PARTIAL with csum_start and csum_offset: the
 * packet comes from the same machine, its checksum was never computed. Neither: the host verifies.
 * A super-segment (gso_type, gso_size) has one of the two. A packet whose marks contradict its bytes is dropped and
 * counted as an input error.
 */
#define IOPKT_CAP_IP4CSUM 0x1u
#define IOPKT_CAP_TCP4CSUM 0x2u
#define IOPKT_CAP_UDP4CSUM 0x4u
#define IOPKT_CAP_TCP6CSUM 0x8u
#define IOPKT_CAP_UDP6CSUM 0x10u
#define IOPKT_CAP_TSO4 0x20u
#define IOPKT_CAP_TSO6 0x40u
#define IOPKT_CAP_LRO 0x80u   /* receive: TCP super-segments (since 1.2) */
#define IOPKT_CAP_USO4 0x100u /* super-segments of UDP datagrams (since 1.2) */
#define IOPKT_CAP_USO6 0x200u

/* iopkt_device.flags */
#define IOPKT_DEV_MEDIA 0x1u       /* ifconfig prints a media line */
#define IOPKT_DEV_NOMULTICAST 0x2u /* cannot send or receive multicast */
#define IOPKT_DEV_LEGACY 0x4u      /* behind it is a driver for io-net: the flag SHIM, a node
                                    * /dev/io-net/NAME, umount (since 1.1) */
#define IOPKT_DEV_CAPSON 0x8u      /* all its capabilities are enabled at the start: set_caps is called
                                    * before the first start (since 1.2) */

/* Media words: kind, subtype and options of NetBSD's <net/if_media.h> (since 1.1). */
#define IOPKT_MEDIA_ETHER 0x20u
#define IOPKT_MEDIA_AUTO 0x0u
#define IOPKT_MEDIA_MANUAL 0x1u
#define IOPKT_MEDIA_NONE 0x2u
#define IOPKT_MEDIA_10_T 0x3u
#define IOPKT_MEDIA_100_TX 0x6u
#define IOPKT_MEDIA_1000_T 0x10u
#define IOPKT_MEDIA_FDX 0x00100000u
#define IOPKT_MEDIA_HDX 0x00200000u
#define IOPKT_MEDIA_MAX 16 /* words of a device */

/* set_flags: ifconfig's debug, link0, link1, link2 (since 1.1). */
#define IOPKT_FLAG_DEBUG 0x4u
#define IOPKT_FLAG_LINK0 0x1000u
#define IOPKT_FLAG_LINK1 0x2000u
#define IOPKT_FLAG_LINK2 0x4000u

/* iopkt_device.unit: next free number. */
#define IOPKT_UNIT_ANY UINT32_MAX

/* host->resident */
#define IOPKT_STAY_REMOVED 0x1u   /* stay loaded when the last device departs by itself (pnp) */
#define IOPKT_STAY_DESTROYED 0x2u /* ... and when the user destroys the last interface */

/* host->count */
#define IOPKT_COUNT_IERRORS 1
#define IOPKT_COUNT_IQDROPS 2
#define IOPKT_COUNT_OERRORS 3
#define IOPKT_COUNT_COLLISIONS 4

/* The link below a device. */
struct iopkt_link {
    struct iopkt_head head;
    uint32_t state;       /* IOPKT_LINK_UNKNOWN ... */
    uint32_t full_duplex; /* 0 or 1 */
    uint64_t speed_rx;    /* bits per second towards us, 0 for unknown */
    uint64_t speed_tx;    /* bits per second from us, 0 for unknown */
};

/* What frames to receive. */
struct iopkt_filter {
    struct iopkt_head head;
    uint32_t promisc;     /* everything */
    uint32_t allmulti;    /* all multicast */
    uint32_t ngroups;     /* else these */
    uint32_t pad;
    const uint8_t (*groups)[6];
};

/* Where nicinfo's lines go; `put` copies. An empty label is a blank line. */
struct iopkt_nicinfo {
    struct iopkt_head head;
    void *cookie;
    void (*put)(void *cookie, const char *label, const char *value);
};

/* The calls for a device. All on its packet thread. Null: not supported. */
struct iopkt_device_ops {
    struct iopkt_head head;
    /* Once, first: here is your port. Register descriptors here or in start. An error ends the attach: the
     * host forgets `dev`, which stays the driver's, and host->attach returns the error. */
    int (*bind)(void *dev, struct iopkt_port *port);
    /* The interface goes up: receive and transmit from now on. */
    int (*start)(void *dev);
    /* The interface goes down: no receive after it, drop what is queued, link down. */
    void (*stop)(void *dev);
    /* Takes packets v[0 .. k] and returns k; they are the driver's then, to free or to give to receive. k < n
     * says "full": the host keeps the rest and does not call again before host->tx_ready. n <= IOPKT_BATCH. */
    uint32_t (*transmit)(void *dev, struct iopkt_mbuf **v, uint32_t n);
    /* A descriptor is ready (level triggered). Handle at most `budget` packets; if more wait, it comes again. */
    void (*fd)(void *dev, uint64_t cookie, uint32_t ready, uint32_t budget);
    /* The deadline set by host->timer has passed (and is unset). `now` in ns. */
    void (*timer)(void *dev, uint64_t now);
    /* host->wake was called for this port, once or more. */
    void (*wake)(void *dev);
    /* Receive these. Null: the device always receives everything that concerns it. */
    int (*filter)(void *dev, const struct iopkt_filter *f);
    /* New MTU (bytes of network packet), already <= mtu_max. Null: any is fine. */
    int (*set_mtu)(void *dev, uint32_t mtu);
    /* Capabilities now enabled, subsets of those declared. */
    int (*set_caps)(void *dev, uint32_t rx, uint32_t tx);
    /* What is known of the hardware, for nicinfo. */
    int (*nicinfo)(void *dev, const struct iopkt_nicinfo *out);
    /* Last call: give everything back, free `dev`. The interface has been stopped. */
    void (*detach)(void *dev);
    /* The process is dying (crash or exit): only quiet the hardware. Any thread, maybe in a signal
     * handler: no host calls, no locks, no memory. */
    void (*quiesce)(void *dev);
    /* Use this medium from now on, one of those declared (since 1.1). */
    int (*set_media)(void *dev, uint32_t media);
    /* The user wants the interface destroyed: 0 to agree, else EBUSY (in use), EOPNOTSUPP (cannot be detached) or
     * the like; host->why says more. Not asked when the device departs or io-pkt ends. Null: agrees
     * (since 1.1). */
    int (*may_destroy)(void *dev);
    /* The interface's flags that a driver gives a meaning to, IOPKT_FLAG_...: told when one has changed; none is
     * set at the start. Null: they mean nothing to it (since 1.1). */
    void (*set_flags)(void *dev, uint32_t flags);
};

/* What a driver attaches. */
struct iopkt_device {
    struct iopkt_head head;
    void *dev;                          /* first argument of the calls */
    const struct iopkt_device_ops *ops; /* stays valid until unload */
    uint64_t cookie;                    /* the driver's, for gone() */
    char description[96];               /* one line: what it is ("Huawei E3372") */
    char prefix[16];                    /* empty: that of the object */
    uint32_t unit;                      /* IOPKT_UNIT_ANY, or the number wanted */
    uint32_t link_type;                 /* IOPKT_LINK_ETHER, IOPKT_LINK_RAWIP */
    uint8_t mac[6];                     /* IOPKT_LINK_ETHER */
    uint8_t pad[2];
    uint32_t mtu;                       /* at start, bytes of network packet */
    uint32_t mtu_max;                   /* largest; 0: as mtu */
    uint32_t flags;                     /* IOPKT_DEV_... */
    uint32_t caps_rx, caps_tx;          /* IOPKT_CAP_... of the hardware */
    struct iopkt_link link;             /* at start */
    uint32_t media[IOPKT_MEDIA_MAX];    /* what it can be set to, the one at start first; 0 ends (since 1.1) */
};

/* What attach gives back. */
struct iopkt_attached {
    struct iopkt_head head;
    struct iopkt_port *port;
    uint32_t ifindex;
    char name[16]; /* "ecm0" */
};

/* What the host offers. The table and everything behind it stay until unload has returned. */
struct iopkt_host {
    struct iopkt_head head;

    /* --- any port, any thread --- */

    /* One line for the log; the host adds the driver's or interface's name. */
    void (*log)(struct iopkt_port *port, int severity, const char *text, size_t len);
    /* Monotonic time in ns. */
    uint64_t (*now)(struct iopkt_port *port);
    /* Not 0 when the object is to end: return from load, end waits. */
    int (*stopping)(struct iopkt_port *port);
    /* `len` unpredictable bytes. */
    void (*random)(struct iopkt_port *port, void *buf, size_t len);
    /* Directory under which io-pkt's names live: "/dev/usb" means <root>/dev/usb. */
    const char *(*root)(struct iopkt_port *port);
    /* Runs `wake` soon on the port's thread. */
    void (*wake)(struct iopkt_port *port);
    /* n empty buffers with room for `len` bytes behind the usual headroom; returns how many there were. */
    uint32_t (*mbuf_alloc)(struct iopkt_port *port, uint32_t len, struct iopkt_mbuf **v, uint32_t n);
    /* Gives n buffers back. */
    void (*mbuf_free)(struct iopkt_port *port, struct iopkt_mbuf **v, uint32_t n);
    /* The device is no more (unplugged, failed for good): asks for its removal, which follows as
     * stop, detach, gone. Port of a device. */
    void (*depart)(struct iopkt_port *port);

    /* --- any port, its thread --- */

    /* Watches a descriptor, which stays the driver's. */
    int (*fd_add)(struct iopkt_port *port, int fd, uint32_t interest, uint64_t cookie);
    int (*fd_mod)(struct iopkt_port *port, int fd, uint32_t interest);
    /* Before the descriptor is closed. */
    int (*fd_del)(struct iopkt_port *port, int fd);
    /* Runs `timer` once at `deadline` (ns on the clock of now) or soon after; replaces the one before. */
    void (*timer)(struct iopkt_port *port, uint64_t deadline);

    /* --- port of the object, control thread --- */

    /* Makes an interface. Returns when it exists and `bind` has returned 0, or with the error. */
    int (*attach)(struct iopkt_port *port, const struct iopkt_device *d, struct iopkt_attached *out);
    /* Why load is about to fail: one line, "what: why; what to do". The last one counts. Since 1.1 also for
     * the port of a device, inside may_destroy, set_media, set_caps and set_mtu. */
    void (*why)(struct iopkt_port *port, const char *text, size_t len);
    /* IOPKT_STAY_...; 0 at start. */
    void (*resident)(struct iopkt_port *port, uint32_t stay);

    /* --- any port, its thread --- */

    /* Makes <root><name> ("/dev/serecm0") a symbolic link to `target`; taken away by name_del or unload. */
    int (*name_add)(struct iopkt_port *port, const char *name, const char *target);
    int (*name_del)(struct iopkt_port *port, const char *name);

    /* --- port of a device, its packet thread --- */

    /* Received packets, n <= IOPKT_BATCH. All are the host's afterwards, whatever happens to them. The
     * host counts packets and bytes. */
    void (*receive)(struct iopkt_port *port, struct iopkt_mbuf **v, uint32_t n);
    /* There is room again after transmit took less than it was given. */
    void (*tx_ready)(struct iopkt_port *port);
    /* The link changed. */
    void (*link)(struct iopkt_port *port, const struct iopkt_link *l);
    /* Adds to a counter that only the driver can know: IOPKT_COUNT_... */
    void (*count)(struct iopkt_port *port, uint32_t what, uint64_t n);
};

/* The calls for an object. All on its control thread. Null: not needed; load must be there. */
struct iopkt_driver_ops {
    struct iopkt_head head;
    /* Find devices, attach them. `options` is the option list without name= and unit=, each known to be in
     * the object's list; it stays until load returns. `*state` (null before) is handed to the other calls.
     * 0 with no device attached and not resident ends as ENODEV. An error ends the load: devices that were
     * attached are detached, then `unload` is called if `*state` is not null, nothing else. */
    int (*load)(const struct iopkt_host *host, struct iopkt_port *port, const char *options, void **state);
    void (*fd)(void *state, uint64_t cookie, uint32_t ready);
    void (*timer)(void *state, uint64_t now);
    void (*wake)(void *state);
    /* A device has been detached; `cookie` is that of its struct iopkt_device. */
    void (*gone)(void *state, uint64_t cookie);
    /* Last call, after a load that succeeded or left a state. All devices have gone. */
    void (*unload)(void *state);
};

#ifdef __cplusplus
}
#endif

#endif
