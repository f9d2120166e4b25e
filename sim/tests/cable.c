/*
 * devnp-cable.so: two devices joined by a cable, for the simulator. It has no descriptor and no thread: what one
 * end sends, the other receives DELAY later, by its timer. A full end says so, and says when it has room again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <iopkt/driver.h>

#define RING 24
#define DELAY 2000000ull

struct end {
    const struct iopkt_host *host;
    struct iopkt_port *port;
    struct end *peer;
    /* Frames on their way to this end. */
    struct iopkt_mbuf *ring[RING];
    uint64_t due[RING];
    unsigned head, count;
    int up, refused;
};

struct cable {
    struct end ends[2];
};

static void arm(struct end *e)
{
    e->host->timer(e->port, e->count != 0 ? e->due[e->head] : IOPKT_NEVER);
}

static void empty(struct end *e)
{
    for (; e->count != 0; e->count--, e->head = (e->head + 1) % RING)
        e->host->mbuf_free(e->port, &e->ring[e->head], 1);
}

static int end_bind(void *p, struct iopkt_port *port)
{
    struct end *e = p;

    e->port = port;
    return 0;
}

static int end_start(void *p)
{
    struct end *e = p;
    struct iopkt_link l = { .head = IOPKT_HEAD(struct iopkt_link), .state = IOPKT_LINK_UP, .full_duplex = 1 };

    e->up = 1;
    e->host->link(e->port, &l);
    return 0;
}

static void end_stop(void *p)
{
    struct end *e = p;
    struct iopkt_link l = { .head = IOPKT_HEAD(struct iopkt_link), .state = IOPKT_LINK_DOWN };

    e->up = 0;
    empty(e);
    arm(e);
    e->host->link(e->port, &l);
    if (e->peer->refused)
        e->host->wake(e->peer->port);
}

static uint32_t end_transmit(void *p, struct iopkt_mbuf **v, uint32_t n)
{
    struct end *e = p, *to = e->peer;
    uint32_t i;

    if (!to->up) { /* nobody is there */
        e->host->mbuf_free(e->port, v, n);
        e->host->count(e->port, IOPKT_COUNT_OERRORS, n);
        return n;
    }
    for (i = 0; i < n && to->count < RING; i++) {
        unsigned at = (to->head + to->count++) % RING;
        to->ring[at] = v[i];
        to->due[at] = e->host->now(e->port) + DELAY;
    }
    e->refused = i < n;
    if (i != 0)
        e->host->wake(to->port);
    return i;
}

static void end_timer(void *p, uint64_t now)
{
    struct end *e = p;
    struct iopkt_mbuf *out[IOPKT_BATCH];
    uint32_t n = 0;

    while (n < IOPKT_BATCH && e->count != 0 && e->due[e->head] <= now) {
        out[n++] = e->ring[e->head];
        e->head = (e->head + 1) % RING;
        e->count--;
    }
    if (n != 0)
        e->host->receive(e->port, out, n);
    if (e->peer->refused)
        e->host->wake(e->peer->port);
    arm(e);
}

static void end_wake(void *p)
{
    struct end *e = p;

    if (e->refused && e->peer->count < RING) {
        e->refused = 0;
        e->host->tx_ready(e->port);
    }
    arm(e);
}

static void end_detach(void *p)
{
    (void)p; /* the cable goes as a whole, at unload */
}

static const struct iopkt_device_ops end_ops = {
    .head = IOPKT_HEAD(struct iopkt_device_ops),
    .bind = end_bind,
    .start = end_start,
    .stop = end_stop,
    .transmit = end_transmit,
    .timer = end_timer,
    .wake = end_wake,
    .detach = end_detach,
};

static int cable_load(const struct iopkt_host *host, struct iopkt_port *port, const char *options, void **state)
{
    struct cable *c = calloc(1, sizeof *c);
    int i, e = 0;

    (void)options;
    if (c == NULL)
        return ENOMEM;
    *state = c;
    for (i = 0; i < 2; i++) {
        c->ends[i].host = host;
        c->ends[i].peer = &c->ends[1 - i];
    }
    for (i = 0; i < 2 && e == 0; i++) {
        struct iopkt_attached out = { .head = IOPKT_HEAD(struct iopkt_attached) };
        struct iopkt_device d = {
            .head = IOPKT_HEAD(struct iopkt_device),
            .ops = &end_ops,
            .dev = &c->ends[i],
            .cookie = (uint64_t)i,
            .unit = IOPKT_UNIT_ANY,
            .link_type = IOPKT_LINK_ETHER,
            .mac = { 2, 0, 0, 0, 0, (uint8_t)(1 + i) },
            .mtu = 1500,
            .description = "an end of a cable",
            .link = { .head = IOPKT_HEAD(struct iopkt_link), .state = IOPKT_LINK_DOWN },
        };
        e = host->attach(port, &d, &out);
    }
    return e;
}

static void cable_unload(void *state)
{
    free(state);
}

static const struct iopkt_driver_ops driver_ops = {
    .head = IOPKT_HEAD(struct iopkt_driver_ops),
    .load = cable_load,
    .unload = cable_unload,
};

IOPKT_EXPORT const struct iopkt_object iopkt_object = {
    .magic = IOPKT_MAGIC,
    .head = IOPKT_HEAD(struct iopkt_object),
    .kind = IOPKT_KIND_DRIVER,
    .name = "cable",
    .prefix = "cbl",
    .version = "1.0",
    .description = "two ends of a cable",
    .options = "",
    .driver = &driver_ops,
};
