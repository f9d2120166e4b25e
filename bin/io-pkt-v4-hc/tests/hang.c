/* A driver that does not come back: at=load, bind, start, transmit, unload, for ms=N, in silence. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <iopkt/driver.h>

static char at[16];
static unsigned ms;

static void hang_if(const char *where)
{
    struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

    if (strcmp(at, where) == 0)
        nanosleep(&t, NULL);
}

static int d_bind(void *d, struct iopkt_port *p) { (void)d; (void)p; hang_if("bind"); return 0; }
static int d_start(void *d) { (void)d; hang_if("start"); return 0; }
static void d_detach(void *d) { (void)d; hang_if("detach"); }

static uint32_t d_transmit(void *d, struct iopkt_mbuf **v, uint32_t n)
{
    (void)d; (void)v; (void)n;
    hang_if("transmit");
    return 0;
}

static const struct iopkt_device_ops dev_ops = {
    .head = IOPKT_HEAD(struct iopkt_device_ops),
    .bind = d_bind, .start = d_start, .transmit = d_transmit, .detach = d_detach,
};

static int load(const struct iopkt_host *h, struct iopkt_port *port, const char *options, void **state)
{
    struct iopkt_device d = {
        .head = IOPKT_HEAD(struct iopkt_device), .ops = &dev_ops, .dev = at, .unit = IOPKT_UNIT_ANY,
        .link_type = IOPKT_LINK_ETHER, .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 1500,
        .link = { .head = IOPKT_HEAD(struct iopkt_link), .state = IOPKT_LINK_UP },
    };

    *state = at;
    if (sscanf(options, "at=%15[a-z],ms=%u", at, &ms) != 2)
        return 22;
    hang_if("load");
    return h->attach(port, &d, NULL);
}

static void unload(void *s) { (void)s; hang_if("unload"); }

static const struct iopkt_driver_ops ops = { .head = IOPKT_HEAD(struct iopkt_driver_ops), .load = load, .unload = unload };

IOPKT_EXPORT const struct iopkt_object iopkt_object = {
    .magic = IOPKT_MAGIC, .head = IOPKT_HEAD(struct iopkt_object), .kind = IOPKT_KIND_DRIVER,
    .name = "hang", .prefix = "ha", .version = "1", .description = "does not come back",
    .options = "at=WHERE\twhere to hang\nms=N\thow long\n", .driver = &ops,
};
