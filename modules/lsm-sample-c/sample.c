/*
 * lsm-sample.so: a stack module in C that uses every call of the ABI.
 *
 * Its protocol is an echo on Ethernet: a frame of its type (0x88b5, IEEE's for experiments) that begins with '?' is
 * answered with '!' and the same content. With to=MAC it asks that station every `every` milliseconds and logs
 * the answers. It can also add an address while it is loaded, and watch ARP go by.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <iopkt/module.h>

#define ETHERTYPE_ARP 0x0806
#define COOKIE_PIPE 1

struct module {
    const struct iopkt_module_host *host;
    const struct iopkt_host *base;
    struct iopkt_port *port;
    char ifname[16];
    uint16_t type;
    uint8_t to[6], seed;
    struct iopkt_addr addr;
    unsigned every_ms, done_ms, crash_ms;
    int ask, arp, has_addr, named, pipe[2];
    uint64_t done_at;
    /* The interface, 0: not there (yet). */
    uint32_t ifindex;
    uint8_t mac[6];
    uint64_t asked, answered, heard, arps;
};

static void say(struct module *s, int severity, const char *text)
{
    s->base->log(s->port, severity, text, strlen(text));
}

static void remember(void *cookie, const struct iopkt_if *i)
{
    struct module *s = cookie;

    s->ifindex = i->ifindex;
    memcpy(s->mac, i->mac, 6);
}

/* Looks for the interface; listens, takes the address and begins to ask when it is there. */
static int look(struct module *s)
{
    char text[96];
    int e;

    if (s->ifindex != 0 || s->host->interfaces(s->port, s->ifname, s, remember) != 0)
        return 0;
    e = s->host->listen(s->port, s->ifindex, s->type);
    if (e == 0 && s->arp)
        e = s->host->listen(s->port, 0, ETHERTYPE_ARP);
    if (e == 0)
        e = s->host->if_flags(s->port, s->ifindex, IOPKT_IF_UP, 0);
    if (e == 0 && s->has_addr)
        e = s->host->addr_add(s->port, s->ifindex, &s->addr);
    snprintf(text, sizeof text, "%s is interface %u: %s", s->ifname, (unsigned)s->ifindex, e == 0 ? "at work" : strerror(e));
    say(s, e == 0 ? IOPKT_LOG_INFO : IOPKT_LOG_ERROR, text);
    return e;
}

static void arm(struct module *s)
{
    uint64_t next = IOPKT_NEVER, now = s->base->now(s->port);

    if (s->ask)
        next = now + s->every_ms * 1000000ull;
    if (s->done_at != 0 && s->done_at < next)
        next = s->done_at;
    s->base->timer(s->port, next);
}

static void send_frame(struct module *s, const uint8_t *dst, char kind, const uint8_t *content, size_t len)
{
    struct iopkt_mbuf *m;
    uint8_t *f;

    if (s->base->mbuf_alloc(s->port, (uint32_t)(15 + len), &m, 1) != 1)
        return;
    m->len = (uint32_t)(15 + len);
    f = iopkt_mbuf_data(m);
    memcpy(f, dst, 6);
    memcpy(f + 6, s->mac, 6);
    f[12] = (uint8_t)(s->type >> 8);
    f[13] = (uint8_t)s->type;
    f[14] = (uint8_t)kind;
    memcpy(f + 15, content, len);
    s->host->output(s->port, s->ifindex, &m, 1);
}

static void mod_timer(void *p, uint64_t now)
{
    struct module *s = p;

    if (s->done_at != 0 && now >= s->done_at) {
        if (s->crash_ms != 0) {
            volatile int *volatile nowhere = (volatile int *)8;
            *nowhere = 1;
        }
        say(s, IOPKT_LOG_INFO, "done");
        s->done_at = 0;
        s->base->depart(s->port);
        return;
    }
    if (s->ifindex != 0 && s->ask) {
        uint8_t n = (uint8_t)(s->seed + s->asked++);
        send_frame(s, s->to, '?', &n, 1);
    }
    arm(s);
}

/* Half of the work goes through the pipe, so that descriptors are used. */
static void mod_fd(void *p, uint64_t cookie, uint32_t ready)
{
    struct module *s = p;
    char b[64], text[64];

    if (cookie != COOKIE_PIPE || (ready & IOPKT_FD_READ) == 0 || read(s->pipe[0], b, sizeof b) <= 0)
        return;
    snprintf(text, sizeof text, "answer %llu", (unsigned long long)s->answered);
    say(s, IOPKT_LOG_DEBUG1, text);
}

static void mod_wake(void *p)
{
    struct module *s = p;

    say(s, IOPKT_LOG_INFO, "woken");
    look(s);
}

static void mod_input(void *p, struct iopkt_mbuf **v, uint32_t n)
{
    struct module *s = p;

    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *f = iopkt_mbuf_data(v[i]);
        unsigned type = v[i]->len >= 15 ? (unsigned)f[12] << 8 | f[13] : 0;

        if (type == ETHERTYPE_ARP && s->arps++ == 0)
            say(s, IOPKT_LOG_INFO, "ARP heard");
        if (type != s->type)
            continue;
        s->heard++;
        if (f[14] == '?' && !s->ask) {
            send_frame(s, f + 6, '!', f + 15, v[i]->len - 15);
        } else if (s->answered++ == 0) {
            say(s, IOPKT_LOG_INFO, "first answer");
            (void)!write(s->pipe[1], "", 1);
        }
    }
    s->base->mbuf_free(s->port, v, n);
}

static void mod_changed(void *p, uint32_t ifindex, uint32_t what)
{
    struct module *s = p;
    char text[64];

    if ((what & IOPKT_CHANGED_DEPARTED) != 0 && ifindex == s->ifindex) {
        snprintf(text, sizeof text, "%s is gone", s->ifname);
        say(s, IOPKT_LOG_INFO, text);
        s->host->unlisten(s->port, s->ifindex, s->type);
        if (s->arp)
            s->host->unlisten(s->port, 0, ETHERTYPE_ARP);
        s->ifindex = 0;
    }
    if ((what & IOPKT_CHANGED_ARRIVED) != 0)
        look(s);
}

static void mod_unload(void *p)
{
    struct module *s = p;
    char text[128];

    if (s->ifindex != 0 && s->has_addr)
        s->host->addr_del(s->port, s->ifindex, &s->addr);
    snprintf(text, sizeof text, "ends: asked %llu, heard %llu, answers %llu, ARP %llu", (unsigned long long)s->asked,
             (unsigned long long)s->heard, (unsigned long long)s->answered, (unsigned long long)s->arps);
    say(s, IOPKT_LOG_INFO, text);
    s->base->fd_del(s->port, s->pipe[0]);
    close(s->pipe[0]);
    close(s->pipe[1]);
    free(s);
}

/* One option; the host has checked that it is one of ours. */
static int option(struct module *s, const char *o)
{
    unsigned b[6], n;

    if (sscanf(o, "if=%15s", s->ifname) == 1 || sscanf(o, "every=%u", &s->every_ms) == 1
        || sscanf(o, "done=%u", &s->done_ms) == 1)
        return 0;
    if (sscanf(o, "type=%i", (int *)&n) == 1 && n >= 0x600 && n <= 0xffff) {
        s->type = (uint16_t)n;
        return 0;
    }
    if (sscanf(o, "to=%x:%x:%x:%x:%x:%x", b, b + 1, b + 2, b + 3, b + 4, b + 5) == 6) {
        for (n = 0; n < 6; n++)
            s->to[n] = (uint8_t)b[n];
        s->ask = 1;
        return 0;
    }
    if (sscanf(o, "addr=%u.%u.%u.%u/%u", b, b + 1, b + 2, b + 3, b + 4) == 5) {
        s->addr.family = 4;
        s->addr.prefix_len = (uint8_t)b[4];
        for (n = 0; n < 4; n++)
            s->addr.addr[n] = (uint8_t)b[n];
        s->has_addr = 1;
        return 0;
    }
    if (strcmp(o, "arp") == 0)
        return s->arp = 1, 0;
    if (strcmp(o, "named") == 0)
        return s->named = 1, 0;
    if (sscanf(o, "crash=%u", &s->crash_ms) == 1)
        return s->done_ms = s->crash_ms, 0;
    return EINVAL;
}

static int mod_load(const struct iopkt_module_host *host, struct iopkt_port *port, const char *options, void **state)
{
    struct module *s = calloc(1, sizeof *s);
    char list[512], *save = NULL;
    int e = 0;

    if (s == NULL)
        return ENOMEM;
    s->host = host;
    s->base = host->host;
    s->port = port;
    s->type = 0x88b5;
    s->every_ms = 1000;
    strcpy(s->ifname, "en0");
    snprintf(list, sizeof list, "%s", options);
    for (char *o = strtok_r(list, ",", &save); o != NULL; o = strtok_r(NULL, ",", &save)) {
        if ((e = option(s, o)) != 0) {
            char why[128];
            snprintf(why, sizeof why, "option %.60s: not understood; the list of options is in its file", o);
            s->base->why(port, why, strlen(why));
            free(s);
            return e;
        }
    }
    if (pipe(s->pipe) != 0) {
        e = errno;
        free(s);
        return e;
    }
    e = s->base->fd_add(port, s->pipe[0], IOPKT_FD_READ, COOKIE_PIPE);
    if (e == 0 && s->named)
        e = s->base->name_add(port, "/dev/lsm-sample", s->base->root(port));
    if (e == 0)
        e = look(s);
    if (e != 0) {
        close(s->pipe[0]);
        close(s->pipe[1]);
        free(s);
        return e;
    }
    s->base->random(port, &s->seed, 1);
    if (s->done_ms != 0)
        s->done_at = s->base->now(port) + s->done_ms * 1000000ull;
    arm(s);
    s->base->wake(port);
    *state = s;
    return 0;
}

static const struct iopkt_module_ops ops = {
    .head = IOPKT_HEAD(struct iopkt_module_ops),
    .load = mod_load, .fd = mod_fd, .timer = mod_timer, .wake = mod_wake, .input = mod_input,
    .changed = mod_changed, .unload = mod_unload,
};

IOPKT_EXPORT const struct iopkt_object iopkt_object = {
    .magic = IOPKT_MAGIC,
    .head = IOPKT_HEAD(struct iopkt_object),
    .kind = IOPKT_KIND_MODULE,
    .needs_minor = 1,
    .name = "sample",
    .version = "1.0",
    .description = "echo on Ethernet, an example",
    .options = "if=IF\tinterface (en0)\n"
               "type=N\tEthernet type (0x88b5)\n"
               "to=MAC\task this station\n"
               "every=MS\thow often (1000)\n"
               "addr=A.B.C.D/N\tan address to have while loaded\n"
               "arp\twatch ARP too\n"
               "named\tmake /dev/lsm-sample\n"
               "done=MS\tend by itself\n"
               "crash=MS\tcrash, for tests\n",
    .module = &ops,
};
