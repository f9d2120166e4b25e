/*
 * devnp-sample.so: a driver in C that uses every call of the ABI.
 *
 * Its devices have no hardware. A frame that is sent comes back with the link-level addresses swapped
 * (mode=loop, the default) or is thrown away (mode=null). Frames on their way back wait in a ring until a pipe
 * wakes the device, as they would wait for an interrupt. The options after `verbose` make it misbehave, for
 * the tests of the loader.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <iopkt/driver.h>

#define RING 256
#define MAX_DEVICES 8

/* Cookies of the descriptors. */
#define COOKIE_PIPE 1
#define COOKIE_LEAK 2

struct options {
    int caps, media, refuse_caps, refuse_media, keep, null_mode, devices, nodev, stay, fail, attachfail, slow, leakfd, stranger, named, verbose;
    unsigned wait, hold, depart_ms, beat_ms, mtu;
    uint8_t mac[6];
};

struct driver;

struct device {
    struct driver *drv;
    struct iopkt_port *port;
    struct iopkt_mbuf *ring[RING];
    unsigned head, count;
    struct iopkt_mbuf *held[IOPKT_BATCH];
    unsigned nheld;
    int pipe[2];
    int leak[2];
    int up, unit;
    unsigned mtu;
    uint64_t sent, received, wakes, timers, groups, depart_at;
    uint32_t promisc, caps_rx, caps_tx, media, flags;
    uint64_t finished, unfinished;
};

struct driver {
    const struct iopkt_host *host;
    struct iopkt_port *port;
    struct options opt;
    unsigned gone;
};

static void say(struct driver *d, struct iopkt_port *port, int severity, const char *text)
{
    d->host->log(port, severity, text, strlen(text));
}

static void why(struct driver *d, const char *text)
{
    d->host->why(d->port, text, strlen(text));
}

/* --- a device, on its packet thread --- */

static int dev_bind(void *p, struct iopkt_port *port)
{
    struct device *s = p;
    const struct iopkt_host *h = s->drv->host;
    int e;

    s->port = port;
    if (s->drv->opt.attachfail)
        return EBUSY;
    e = h->fd_add(port, s->pipe[0], IOPKT_FD_READ, COOKIE_PIPE);
    if (e == 0 && s->drv->opt.leakfd)
        e = h->fd_add(port, s->leak[0], IOPKT_FD_READ, COOKIE_LEAK);
    if (e == 0 && s->drv->opt.named) {
        char name[32];
        snprintf(name, sizeof name, "/dev/sample%d", s->unit);
        e = h->name_add(port, name, "/dev/null");
    }
    return e;
}

static void arm(struct device *s)
{
    const struct iopkt_host *h = s->drv->host;
    uint64_t now = h->now(s->port), next = IOPKT_NEVER;

    if (s->drv->opt.depart_ms != 0)
        next = s->depart_at != 0 ? s->depart_at : (s->depart_at = now + s->drv->opt.depart_ms * 1000000ull);
    if (s->drv->opt.beat_ms != 0 && now + s->drv->opt.beat_ms * 1000000ull < next)
        next = now + s->drv->opt.beat_ms * 1000000ull;
    h->timer(s->port, next);
}

static int dev_start(void *p)
{
    struct device *s = p;
    struct iopkt_link l = {
        .head = IOPKT_HEAD(struct iopkt_link),
        .state = IOPKT_LINK_UP, .full_duplex = 1, .speed_rx = 100000000, .speed_tx = 100000000,
    };

    s->up = 1;
    s->drv->host->link(s->port, &l);
    if (s->drv->opt.hold != 0 && s->nheld == 0) {
        unsigned n = s->drv->opt.hold < IOPKT_BATCH ? s->drv->opt.hold : IOPKT_BATCH;
        s->nheld = s->drv->host->mbuf_alloc(s->port, 1500, s->held, n);
    }
    arm(s);
    return 0;
}

static void dev_stop(void *p)
{
    struct device *s = p;
    struct iopkt_link l = { .head = IOPKT_HEAD(struct iopkt_link), .state = IOPKT_LINK_DOWN };

    for (; s->count != 0; s->count--, s->head = (s->head + 1) % RING)
        s->drv->host->mbuf_free(s->port, &s->ring[s->head], 1);
    s->up = 0;
    s->drv->host->timer(s->port, IOPKT_NEVER);
    s->drv->host->link(s->port, &l);
}

/* The addresses change places: what was sent to somebody comes from him. */
static void turn_round(struct iopkt_mbuf *m)
{
    uint8_t *f = iopkt_mbuf_data(m), t[6];

    if (m->len < 14 || (f[0] & 1) != 0)
        return;
    memcpy(t, f, 6);
    memcpy(f, f + 6, 6);
    memcpy(f + 6, t, 6);
}

/* What hardware does that completes checksums: the field holds the sum of the pseudo-header. */
static void finish_checksum(struct device *s, struct iopkt_mbuf *m)
{
    uint8_t *d = iopkt_mbuf_data(m);
    uint32_t i, at = (uint32_t)m->csum_start + m->csum_offset, sum = 0;

    if ((m->flags & IOPKT_M_CSUM_PARTIAL) == 0)
        return;
    if ((s->caps_tx & (IOPKT_CAP_TCP4CSUM | IOPKT_CAP_UDP4CSUM)) == 0 || at + 2 > m->len) {
        s->unfinished++; /* nobody has told us that we should */
        return;
    }
    for (i = m->csum_start; i + 1 < m->len; i += 2)
        sum += (uint32_t)d[i] << 8 | d[i + 1];
    if (i < m->len)
        sum += (uint32_t)d[i] << 8;
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    sum = ~sum & 0xffff;
    if (sum == 0)
        sum = 0xffff;
    d[at] = (uint8_t)(sum >> 8);
    d[at + 1] = (uint8_t)sum;
    m->flags &= ~IOPKT_M_CSUM_PARTIAL;
    s->finished++;
}

static uint32_t dev_transmit(void *p, struct iopkt_mbuf **v, uint32_t n)
{
    struct device *s = p;
    uint32_t i;

    if (s->drv->opt.slow && n > 1)
        n = 1;
    if (s->drv->opt.null_mode) {
        s->sent += n;
        s->drv->host->mbuf_free(s->port, v, n);
        if (s->drv->opt.slow)
            s->drv->host->timer(s->port, s->drv->host->now(s->port) + 1000000);
        return n;
    }
    for (i = 0; i < n && s->count < RING; i++) {
        finish_checksum(s, v[i]);
        turn_round(v[i]);
        s->ring[(s->head + s->count++) % RING] = v[i];
        s->sent++;
    }
    if (i != 0 && write(s->pipe[1], "x", 1) < 0 && errno != EAGAIN)
        s->drv->host->count(s->port, IOPKT_COUNT_OERRORS, 1);
    return i;
}

static void dev_fd(void *p, uint64_t cookie, uint32_t ready, uint32_t budget)
{
    struct device *s = p;
    struct iopkt_mbuf *out[IOPKT_BATCH];
    char drain[64];
    uint32_t n = 0;
    int was_full = s->count == RING || s->drv->opt.slow;

    if (cookie != COOKIE_PIPE || (ready & IOPKT_FD_READ) == 0)
        return;
    if (budget > IOPKT_BATCH)
        budget = IOPKT_BATCH;
    while (n < budget && s->count != 0) {
        out[n++] = s->ring[s->head];
        s->head = (s->head + 1) % RING;
        s->count--;
    }
    if (n != 0) {
        s->received += n;
        s->drv->host->receive(s->port, out, n);
    }
    if (s->count == 0) /* else: level triggered, it comes again */
        while (read(s->pipe[0], drain, sizeof drain) == (ssize_t)sizeof drain)
            ;
    if (was_full)
        s->drv->host->tx_ready(s->port);
}

/* A broadcast frame of a type that nobody speaks (IEEE 802 local experimental). */
static void beat(struct device *s)
{
    struct iopkt_mbuf *m;
    uint8_t *f;

    if (s->drv->host->mbuf_alloc(s->port, 60, &m, 1) != 1) {
        s->drv->host->count(s->port, IOPKT_COUNT_IQDROPS, 1);
        return;
    }
    m->len = 60;
    f = iopkt_mbuf_data(m);
    memset(f, 0, 60);
    memset(f, 0xff, 6);
    f[6] = 2;
    f[12] = 0x88;
    f[13] = 0xb5;
    m->flags |= IOPKT_M_BCAST;
    s->received++;
    s->drv->host->receive(s->port, &m, 1);
}

static void dev_timer(void *p, uint64_t now)
{
    struct device *s = p;

    s->timers++;
    if (s->depart_at != 0 && now >= s->depart_at) {
        s->drv->host->depart(s->port);
        return;
    }
    if (s->drv->opt.beat_ms != 0 && s->up)
        beat(s);
    if (s->drv->opt.slow)
        s->drv->host->tx_ready(s->port);
    arm(s);
}

static void dev_wake(void *p)
{
    struct device *s = p;

    s->wakes++;
}

static int dev_filter(void *p, const struct iopkt_filter *f)
{
    struct device *s = p;

    s->promisc = f->promisc;
    s->groups = f->ngroups;
    return 0;
}

static int dev_set_mtu(void *p, uint32_t mtu)
{
    struct device *s = p;

    s->mtu = mtu;
    return 0;
}

static int dev_set_caps(void *p, uint32_t rx, uint32_t tx)
{
    struct device *s = p;

    if (s->drv->opt.refuse_caps)
        return EIO;
    s->caps_rx = rx;
    s->caps_tx = tx;
    return 0;
}

static int dev_set_media(void *p, uint32_t media)
{
    struct device *s = p;

    if (s->drv->opt.refuse_media)
        return EIO;
    s->media = media;
    return 0;
}

static int dev_may_destroy(void *p)
{
    struct device *s = p;

    if (!s->drv->opt.keep)
        return 0;
    why(s->drv, "the cable is connected; unplug it first");
    return EBUSY;
}

static void dev_set_flags(void *p, uint32_t flags)
{
    struct device *s = p;

    s->flags = flags;
}

static int dev_nicinfo(void *p, const struct iopkt_nicinfo *out)
{
    struct device *s = p;
    char t[32];

    snprintf(t, sizeof t, "%u", s->mtu + 14);
    out->put(out->cookie, "Maximum Transmittable data Unit", t);
    out->put(out->cookie, "Promiscuous Mode", s->promisc ? "On" : "Off");
    out->put(out->cookie, "", "");
    snprintf(t, sizeof t, "%llu", (unsigned long long)s->sent);
    out->put(out->cookie, "Packets Transmitted OK", t);
    snprintf(t, sizeof t, "%llu", (unsigned long long)s->received);
    out->put(out->cookie, "Packets Received OK", t);
    snprintf(t, sizeof t, "%llu", (unsigned long long)s->wakes);
    out->put(out->cookie, "Wakes", t);
    snprintf(t, sizeof t, "%llu", (unsigned long long)s->groups);
    out->put(out->cookie, "Groups", t);
    snprintf(t, sizeof t, "%#x %#x", (unsigned)s->caps_rx, (unsigned)s->caps_tx);
    out->put(out->cookie, "Capabilities", t);
    snprintf(t, sizeof t, "%llu %llu", (unsigned long long)s->finished, (unsigned long long)s->unfinished);
    out->put(out->cookie, "Checksums", t);
    snprintf(t, sizeof t, "%#x", (unsigned)s->media);
    out->put(out->cookie, "Medium", t);
    snprintf(t, sizeof t, "%#x", (unsigned)s->flags);
    out->put(out->cookie, "Flags", t);
    return 0;
}

static void free_device(struct device *s)
{
    int i;

    for (i = 0; i < 2; i++) {
        if (s->pipe[i] >= 0)
            close(s->pipe[i]);
        if (s->leak[i] >= 0 && !s->drv->opt.leakfd)
            close(s->leak[i]);
    }
    free(s);
}

static void dev_detach(void *p)
{
    struct device *s = p;

    s->drv->host->fd_del(s->port, s->pipe[0]);
    if (s->drv->opt.named) {
        char name[32];
        snprintf(name, sizeof name, "/dev/sample%d", s->unit);
        s->drv->host->name_del(s->port, name);
    }
    free_device(s);
}

static void dev_quiesce(void *p)
{
    (void)p; /* no hardware */
}

static const struct iopkt_device_ops device_ops = {
    .head = IOPKT_HEAD(struct iopkt_device_ops),
    .bind = dev_bind,
    .start = dev_start,
    .stop = dev_stop,
    .transmit = dev_transmit,
    .fd = dev_fd,
    .timer = dev_timer,
    .wake = dev_wake,
    .filter = dev_filter,
    .set_mtu = dev_set_mtu,
    .set_caps = dev_set_caps,
    .set_flags = dev_set_flags,
    .nicinfo = dev_nicinfo,
    .detach = dev_detach,
    .quiesce = dev_quiesce,
    .set_media = dev_set_media,
    .may_destroy = dev_may_destroy,
};

/* --- the object, on its control thread --- */

static int parse_mac(const char *v, uint8_t *mac)
{
    unsigned b[6];
    char tail;
    int i;

    if (strlen(v) != 12 || sscanf(v, "%2x%2x%2x%2x%2x%2x%c", b, b + 1, b + 2, b + 3, b + 4, b + 5, &tail) != 6)
        return EINVAL;
    for (i = 0; i < 6; i++)
        mac[i] = (uint8_t)b[i];
    return 0;
}

static int number(const char *v, unsigned max, unsigned *out)
{
    char *end;
    unsigned long n = strtoul(v, &end, 0);

    if (*v == '\0' || *v == '-' || *end != '\0' || n > max)
        return EINVAL;
    *out = (unsigned)n;
    return 0;
}

/* The host has seen to it that every name is one of ours and has a value where it needs one. */
static int parse_one(struct options *o, const char *name, const char *v)
{
    unsigned n = 0;
    int e = 0;

    if (strcmp(name, "mode") == 0) {
        o->null_mode = strcmp(v, "null") == 0;
        e = o->null_mode || strcmp(v, "loop") == 0 ? 0 : EINVAL;
    } else if (strcmp(name, "devices") == 0) {
        e = number(v, MAX_DEVICES, &n);
        o->devices = (int)n;
    } else if (strcmp(name, "mac") == 0)
        e = parse_mac(v, o->mac);
    else if (strcmp(name, "mtu") == 0)
        e = number(v, 9000, &o->mtu);
    else if (strcmp(name, "wait") == 0)
        e = number(v, 3600, &o->wait);
    else if (strcmp(name, "hold") == 0)
        e = number(v, IOPKT_BATCH, &o->hold);
    else if (strcmp(name, "depart") == 0)
        e = number(v, 60000, &o->depart_ms);
    else if (strcmp(name, "beat") == 0)
        e = number(v, 60000, &o->beat_ms);
    else if (strcmp(name, "stay") == 0)
        o->stay = 1;
    else if (strcmp(name, "verbose") == 0)
        o->verbose = 1;
    else if (strcmp(name, "named") == 0)
        o->named = 1;
    else if (strcmp(name, "nodev") == 0)
        o->nodev = 1;
    else if (strcmp(name, "fail") == 0)
        o->fail = 1;
    else if (strcmp(name, "attachfail") == 0)
        o->attachfail = 1;
    else if (strcmp(name, "slow") == 0)
        o->slow = 1;
    else if (strcmp(name, "leakfd") == 0)
        o->leakfd = 1;
    else if (strcmp(name, "stranger") == 0)
        o->stranger = 1;
    else if (strcmp(name, "caps") == 0)
        o->caps = 1;
    else if (strcmp(name, "media") == 0)
        o->media = 1;
    else if (strcmp(name, "keep") == 0)
        o->keep = 1;
    else if (strcmp(name, "refuse") == 0) {
        o->refuse_caps = strcmp(v, "caps") == 0;
        o->refuse_media = strcmp(v, "media") == 0;
        e = o->refuse_caps || o->refuse_media ? 0 : EINVAL;
    }
    else
        e = EINVAL;
    return e;
}

static int parse(struct driver *d, const char *list)
{
    char *copy = strdup(list), *save = NULL, *w, text[160];

    d->opt.devices = 1;
    d->opt.mtu = 1500;
    memcpy(d->opt.mac, "\x02\x00\x00\x53\x41\x01", 6);
    if (copy == NULL)
        return ENOMEM;
    for (w = strtok_r(copy, ",", &save); w != NULL; w = strtok_r(NULL, ",", &save)) {
        char *v = strchr(w, '=');
        if (v != NULL)
            *v++ = '\0';
        if (parse_one(&d->opt, w, v != NULL ? v : "") != 0) {
            snprintf(text, sizeof text, "option %s=%s: not a good value", w, v != NULL ? v : "");
            why(d, text);
            free(copy);
            return EINVAL;
        }
    }
    free(copy);
    return 0;
}

static int attach_one(struct driver *d, int unit)
{
    struct iopkt_attached out = { .head = IOPKT_HEAD(struct iopkt_attached) };
    struct iopkt_device desc = {
        .head = IOPKT_HEAD(struct iopkt_device),
        .ops = &device_ops,
        .unit = IOPKT_UNIT_ANY,
        .link_type = IOPKT_LINK_ETHER,
        .mtu_max = 9000,
        .caps_rx = IOPKT_CAP_IP4CSUM,
        .caps_tx = IOPKT_CAP_IP4CSUM,
        .link = { .head = IOPKT_HEAD(struct iopkt_link), .state = IOPKT_LINK_DOWN },
    };
    struct device *s = calloc(1, sizeof *s);
    int e;

    if (s == NULL)
        return ENOMEM;
    s->drv = d;
    s->unit = unit;
    s->mtu = d->opt.mtu;
    s->leak[0] = s->leak[1] = -1;
    if (pipe2(s->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
        e = errno;
        free(s);
        return e;
    }
    if (d->opt.leakfd && pipe2(s->leak, O_CLOEXEC | O_NONBLOCK) < 0) {
        e = errno;
        free_device(s);
        return e;
    }
    if (d->opt.caps)
        desc.caps_rx = desc.caps_tx = IOPKT_CAP_IP4CSUM | IOPKT_CAP_TCP4CSUM | IOPKT_CAP_UDP4CSUM;
    if (d->opt.media) {
        static const uint32_t words[] = {
            IOPKT_MEDIA_ETHER | IOPKT_MEDIA_AUTO,
            IOPKT_MEDIA_ETHER | IOPKT_MEDIA_100_TX | IOPKT_MEDIA_FDX,
            IOPKT_MEDIA_ETHER | IOPKT_MEDIA_10_T | IOPKT_MEDIA_HDX,
        };
        desc.flags = IOPKT_DEV_MEDIA;
        memcpy(desc.media, words, sizeof words);
        s->media = words[0];
    }
    desc.dev = s;
    desc.cookie = (uint64_t)unit;
    desc.mtu = d->opt.mtu;
    memcpy(desc.mac, d->opt.mac, 6);
    desc.mac[5] = (uint8_t)(desc.mac[5] + unit);
    snprintf(desc.description, sizeof desc.description, "sample device %d", unit);
    e = d->host->attach(d->port, &desc, &out);
    if (e != 0) {
        free_device(s); /* still ours */
        return e;
    }
    /* From here on `s` belongs to its packet thread; its port may be used from any. */
    d->host->wake(out.port);
    if (d->opt.stranger)
        d->host->tx_ready(out.port); /* wrong thread: refused and logged */
    if (d->opt.verbose) {
        char text[64];
        snprintf(text, sizeof text, "attached %s", out.name);
        say(d, d->port, IOPKT_LOG_INFO, text);
    }
    return 0;
}

static int drv_load(const struct iopkt_host *host, struct iopkt_port *port, const char *options, void **state)
{
    struct driver *d;
    uint32_t salt;
    int e, i;

    if (host->head.size < sizeof *host)
        return EINVAL; /* an older host than we were built for, which the loader has already refused */
    d = calloc(1, sizeof *d);
    if (d == NULL)
        return ENOMEM;
    d->host = host;
    d->port = port;
    *state = d; /* from here on drv_unload frees it, also when we fail */
    host->random(port, &salt, sizeof salt);
    e = parse(d, options);
    if (e == 0 && host->root(port)[0] != '/') {
        why(d, "the root is not an absolute path; set IO_PKT_ROOT to one");
        e = EINVAL;
    }
    for (i = 0; e == 0 && i < (int)d->opt.wait * 100; i++) {
        struct timespec t = { 0, 10000000 };
        if (host->stopping(port))
            e = EINTR;
        else
            nanosleep(&t, NULL);
    }
    if (e == 0 && d->opt.fail) {
        why(d, "told to fail; leave the option fail out");
        e = EIO;
    }
    if (e == 0 && d->opt.stay)
        host->resident(port, IOPKT_STAY_REMOVED | IOPKT_STAY_DESTROYED);
    for (i = 0; e == 0 && !d->opt.nodev && i < d->opt.devices; i++)
        e = attach_one(d, i);
    if (e == 0)
        host->timer(port, host->now(port) + 1000000);
    return e;
}

static void drv_fd(void *state, uint64_t cookie, uint32_t ready)
{
    (void)state, (void)cookie, (void)ready; /* no descriptors of the object */
}

static void drv_timer(void *state, uint64_t now)
{
    struct driver *d = state;

    (void)now;
    if (d->opt.verbose)
        say(d, d->port, IOPKT_LOG_DEBUG1, "timer of the object");
}

static void drv_wake(void *state)
{
    (void)state;
}

static void drv_gone(void *state, uint64_t cookie)
{
    struct driver *d = state;

    (void)cookie;
    d->gone++;
}

static void drv_unload(void *state)
{
    struct driver *d = state;

    if (d->opt.verbose)
        say(d, d->port, IOPKT_LOG_INFO, "unloading");
    free(d);
}

static const struct iopkt_driver_ops driver_ops = {
    .head = IOPKT_HEAD(struct iopkt_driver_ops),
    .load = drv_load,
    .fd = drv_fd,
    .timer = drv_timer,
    .wake = drv_wake,
    .gone = drv_gone,
    .unload = drv_unload,
};

IOPKT_EXPORT const struct iopkt_object iopkt_object = {
    .magic = IOPKT_MAGIC,
    .head = IOPKT_HEAD(struct iopkt_object),
    .kind = IOPKT_KIND_DRIVER,
    .name = "sample",
    .prefix = "smp",
    .version = "1.0",
    .description = "sample driver in C: frames come back",
    .options =
        "mode=loop|null\tframes come back (default) or are thrown away\n"
        "devices=N\thow many devices (default 1)\n"
        "mac=XXXXXXXXXXXX\tlink-level address of the first device\n"
        "mtu=N\tMTU (default 1500)\n"
        "beat=MS\treceive a broadcast frame every MS milliseconds\n"
        "named\tmake /dev/sampleN\n"
        "caps\tcan complete TCP and UDP checksums\n"
        "media\tcan be set to autoselect, 100baseTX full-duplex, 10baseT half-duplex\n"
        "keep\tmay not be destroyed: the cable is connected\n"
        "refuse=caps|media\tmisbehave: refuse a change\n"
        "stay\tstay loaded without devices\n"
        "wait=N\twait N seconds before attaching\n"
        "verbose\tlog more\n"
        "fail\tmisbehave: fail to load\n"
        "nodev\tmisbehave: find no device\n"
        "attachfail\tmisbehave: fail in bind\n"
        "slow\tmisbehave: take one packet at a time\n"
        "depart=MS\tmisbehave: leave after MS milliseconds\n"
        "hold=N\tmisbehave: keep N buffers for ever\n"
        "leakfd\tmisbehave: leave a descriptor registered\n"
        "stranger\tmisbehave: call from the wrong thread\n",
    .driver = &driver_ops,
};
