/* A driver that crashes on demand: option at=load, start, transmit or thread. Its quiesce leaves a line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <iopkt/driver.h>

static const struct iopkt_host *host;
static char at[16], mark[256];

static void crash_if(const char *where)
{
    if (strcmp(at, where) == 0)
        *(volatile int *)8 = 1;
}

static int d_bind(void *d, struct iopkt_port *p) { (void)d; (void)p; return 0; }
static int d_start(void *d)
{
    (void)d;
    crash_if("start");
    if (strcmp(at, "abort") == 0)
        abort(); /* as the C library does when it finds its heap damaged */
    return 0;
}
static void d_stop(void *d) { (void)d; }
static void d_detach(void *d) { (void)d; }

static uint32_t d_transmit(void *d, struct iopkt_mbuf **v, uint32_t n)
{
    (void)d; (void)v; (void)n;
    crash_if("transmit");
    return 0;
}

static void d_quiesce(void *d)
{
    int fd = open(mark, O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)!write(fd, d, 1);
    close(fd);
}

static const struct iopkt_device_ops dev_ops = {
    .head = IOPKT_HEAD(struct iopkt_device_ops),
    .bind = d_bind, .start = d_start, .stop = d_stop, .transmit = d_transmit,
    .detach = d_detach, .quiesce = d_quiesce,
};

static int load(const struct iopkt_host *h, struct iopkt_port *port, const char *options, void **state)
{
    struct iopkt_attached a = { .head = IOPKT_HEAD(struct iopkt_attached) };
    struct iopkt_device d = {
        .head = IOPKT_HEAD(struct iopkt_device), .ops = &dev_ops, .dev = "A", .unit = IOPKT_UNIT_ANY,
        .link_type = IOPKT_LINK_ETHER, .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 1500,
        .link = { .head = IOPKT_HEAD(struct iopkt_link), .state = IOPKT_LINK_UP },
    };
    int e;

    (void)state;
    host = h;
    strncpy(at, options + strlen("at="), sizeof at - 1);
    strncpy(mark, h->root(port), sizeof mark - 20);
    strcat(mark, "/quiesced");
    e = h->attach(port, &d, &a);
    d.dev = "B";
    if (e == 0)
        e = h->attach(port, &d, &a);
    crash_if("load");
    return e;
}

static const struct iopkt_driver_ops ops = { .head = IOPKT_HEAD(struct iopkt_driver_ops), .load = load };

IOPKT_EXPORT const struct iopkt_object iopkt_object = {
    .magic = IOPKT_MAGIC, .head = IOPKT_HEAD(struct iopkt_object), .kind = IOPKT_KIND_DRIVER,
    .name = "crash", .prefix = "cr", .version = "1", .description = "crashes",
    .options = "at=WHERE\twhere to crash\n", .driver = &ops,
};
