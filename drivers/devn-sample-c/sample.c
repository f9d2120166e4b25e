/*
 * devn-sample.so: a driver of the older kind in C.
 *
 * It has no hardware. A frame that is sent waits in a ring until the driver's own thread (an io-net driver has one, for
 * its interrupts) sends it back with the link-level addresses swapped. Options: verbose, count=N interfaces,
 * depth=N frames in the ring, beat=MS a broadcast that often; for tests fail, none, crash.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <iopkt/legacy.h>

#define RING 64
#define MAX_IFS 4

struct nic {
    struct devn_reg *reg;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    uint8_t mac[6];
    uint8_t ring[RING][DEVN_FRAME_MAX];
    size_t len[RING];
    unsigned head, count;
    int up, full, end, promisc;
    unsigned long sent;
};

static const struct devn_io_net *net;
static struct nic *nics[MAX_IFS];
static unsigned nnics, depth, beat_ms;
static int verbose, crash;

static int nic_up(void *hdl)
{
    struct nic *n = hdl;

    pthread_mutex_lock(&n->lock);
    n->up = 1;
    pthread_mutex_unlock(&n->lock);
    net->link(n->reg, 1, 100);
    return 0;
}

static void nic_down(void *hdl)
{
    struct nic *n = hdl;

    pthread_mutex_lock(&n->lock);
    n->up = n->full = 0;
    n->count = 0;
    pthread_mutex_unlock(&n->lock);
    net->link(n->reg, 0, 0);
}

static int nic_tx(void *hdl, const void *frame, size_t len)
{
    struct nic *n = hdl;
    int e = 0;

    pthread_mutex_lock(&n->lock);
    if (n->count >= depth) {
        n->full = 1;
        e = EAGAIN;
    } else {
        unsigned at = (n->head + n->count++) % RING;
        memcpy(n->ring[at], frame, len);
        n->len[at] = len;
        n->sent++;
        pthread_cond_signal(&n->more);
    }
    pthread_mutex_unlock(&n->lock);
    return e;
}

static int nic_promisc(void *hdl, int on)
{
    ((struct nic *)hdl)->promisc = on;
    return 0;
}

static void nic_close(void *hdl)
{
    struct nic *n = hdl;
    char text[64];

    if (verbose) {
        snprintf(text, sizeof text, "closed after %lu frames", n->sent);
        net->log(net->self, 5, text);
    }
}

/* The addresses change places: what was sent to somebody comes from him. */
static void turn_round(uint8_t *f)
{
    uint8_t t[6];

    if ((f[0] & 1) != 0)
        return;
    memcpy(t, f, 6);
    memcpy(f, f + 6, 6);
    memcpy(f + 6, t, 6);
}

static void later(struct timespec *t, unsigned ms)
{
    clock_gettime(CLOCK_REALTIME, t);
    t->tv_nsec += (long)ms * 1000000;
    t->tv_sec += t->tv_nsec / 1000000000;
    t->tv_nsec %= 1000000000;
}

static void beat(struct nic *n)
{
    volatile int *volatile nowhere = (volatile int *)8;
    uint8_t f[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5 };

    if (crash)
        *nowhere = 1;
    net->rx(n->reg, f, sizeof f);
}

static void *nic_thread(void *hdl)
{
    struct nic *n = hdl;
    uint8_t frame[DEVN_FRAME_MAX];

    pthread_mutex_lock(&n->lock);
    while (!n->end) {
        size_t len;
        int ready;

        if (n->count == 0) {
            if (beat_ms != 0 && n->up) {
                struct timespec t;
                later(&t, beat_ms);
                if (pthread_cond_timedwait(&n->more, &n->lock, &t) == ETIMEDOUT && n->up && !n->end) {
                    pthread_mutex_unlock(&n->lock);
                    beat(n);
                    pthread_mutex_lock(&n->lock);
                }
            } else {
                struct timespec t;
                later(&t, 20);
                pthread_cond_timedwait(&n->more, &n->lock, &t);
            }
            continue;
        }
        len = n->len[n->head];
        memcpy(frame, n->ring[n->head], len);
        n->head = (n->head + 1) % RING;
        n->count--;
        ready = n->full && n->count <= depth / 2;
        if (ready)
            n->full = 0;
        pthread_mutex_unlock(&n->lock);
        turn_round(frame);
        net->rx(n->reg, frame, len);
        if (ready)
            net->tx_ready(n->reg);
        pthread_mutex_lock(&n->lock);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

static int make(unsigned i)
{
    struct nic *n = calloc(1, sizeof *n);
    struct devn_if d = {
        .hdl = n, .mac = { 2, 0, 0, 0x44, 0x4e, (uint8_t)(i + 1) }, .mtu = 1500, .description = "echo of the old kind",
        .up = nic_up, .down = nic_down, .tx = nic_tx, .promisc = nic_promisc, .close = nic_close,
    };
    int e;

    if (n == NULL)
        return ENOMEM;
    memcpy(n->mac, d.mac, 6);
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->more, NULL);
    e = net->reg(net->self, &d, &n->reg);
    if (e == 0)
        e = pthread_create(&n->thread, NULL, nic_thread, n);
    if (e != 0) {
        free(n);
        return e;
    }
    nics[nnics++] = n;
    return 0;
}

static int shut(void)
{
    while (nnics > 0) {
        struct nic *n = nics[--nnics];
        pthread_mutex_lock(&n->lock);
        n->end = 1;
        pthread_cond_signal(&n->more);
        pthread_mutex_unlock(&n->lock);
        pthread_join(n->thread, NULL);
        pthread_cond_destroy(&n->more);
        pthread_mutex_destroy(&n->lock);
        free(n);
    }
    if (verbose)
        net->log(net->self, 5, "shut down");
    return 0;
}

static int init(const struct devn_io_net *ion, const char *options)
{
    unsigned count = 1, i;
    char list[256], *save = NULL, *o;
    int e = 0;

    net = ion;
    depth = RING;
    snprintf(list, sizeof list, "%s", options);
    for (o = strtok_r(list, ",", &save); o != NULL; o = strtok_r(NULL, ",", &save)) {
        if (strcmp(o, "verbose") == 0)
            verbose = 1;
        else if (strcmp(o, "fail") == 0)
            return ENXIO;
        else if (strcmp(o, "crash") == 0)
            crash = 1;
        else if (strcmp(o, "none") == 0)
            count = 0;
        else if (sscanf(o, "count=%u", &count) == 1 && count <= MAX_IFS)
            continue;
        else if (sscanf(o, "depth=%u", &depth) == 1 && depth > 0 && depth <= RING)
            continue;
        else if (sscanf(o, "beat=%u", &beat_ms) == 1)
            continue;
        else
            return EINVAL;
    }
    for (i = 0; i < count && e == 0; i++)
        e = make(i);
    if (verbose && e == 0)
        net->log(net->self, 5, "at work");
    return e;
}

__attribute__((visibility("default"))) const struct devn_entry devn_entry = {
    .version = DEVN_VERSION, .options = "verbose,count=,depth=,beat=,fail,none,crash", .init = init, .shutdown = shut,
};
