/* A driver that tries what a confined process must not do, and what it may, and leaves what came of it in
 * <root>/tried: a line "NAME ERRNO" each, 0 for what went well. Option wait: load waits for <root>/go. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <iopkt/driver.h>

static const struct iopkt_host *host;

static void say(FILE *f, const char *what, long r)
{
    fprintf(f, "%s %d\n", what, r < 0 ? errno : 0);
    if (r > 2)
        close((int)r);
}

static void *nothing(void *p) { return p; }

static void try_all(FILE *f, const char *root)
{
    char *const argv[] = { "true", NULL };
    char path[256];
    pthread_t t;
    void *m;
    long r;

    /* A process that is not started cannot say so itself: fork, and see how the child went. */
    r = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (r == 0)
        _exit(0);
    if (r > 0) {
        waitpid((pid_t)r, NULL, 0);
        r = 0;
    }
    say(f, "fork", r);
    say(f, "exec", access("/bin/true", X_OK) == 0 ? syscall(SYS_execveat, -1, "/bin/true", argv, NULL, 0) : -1);
    say(f, "mount", mount("none", root, "tmpfs", 0, NULL));
    say(f, "unshare", unshare(CLONE_NEWNET));
    say(f, "io_uring", syscall(SYS_io_uring_setup, 1, NULL));
    say(f, "outside", open("/tmp/io-pkt-tries", O_WRONLY | O_CREAT, 0600));
    say(f, "symlink_outside", symlink("x", "/tmp/io-pkt-tries-link"));
    snprintf(path, sizeof path, "%s/inside", root);
    say(f, "inside", open(path, O_WRONLY | O_CREAT, 0600));
    say(f, "read", open("/etc/passwd", O_RDONLY));
    say(f, "pty", open("/dev/ptmx", O_RDWR | O_NOCTTY));
    say(f, "null", open("/dev/null", O_WRONLY));
    say(f, "packet", socket(AF_PACKET, SOCK_RAW, 0));
    say(f, "alg", socket(AF_ALG, SOCK_SEQPACKET, 0));
    say(f, "unix", socket(AF_UNIX, SOCK_STREAM, 0));
    say(f, "inet", socket(AF_INET, SOCK_STREAM, 0));
    say(f, "tun", access("/dev/net/tun", F_OK) ? 0 : open("/dev/net/tun", O_RDWR));
    r = pthread_create(&t, NULL, nothing, NULL);
    if (r == 0)
        pthread_join(t, NULL);
    errno = (int)r;
    say(f, "thread", r ? -1 : 0);
    m = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say(f, "code", m == MAP_FAILED ? -1 : 0);
}

static int d_bind(void *d, struct iopkt_port *p) { (void)d; (void)p; return 0; }
static int d_start(void *d) { (void)d; return 0; }
static void d_stop(void *d) { (void)d; }
static void d_detach(void *d) { (void)d; }
static uint32_t d_transmit(void *d, struct iopkt_mbuf **v, uint32_t n) { (void)d; (void)v; (void)n; return 0; }

static const struct iopkt_device_ops dev_ops = {
    .head = IOPKT_HEAD(struct iopkt_device_ops),
    .bind = d_bind, .start = d_start, .stop = d_stop, .transmit = d_transmit, .detach = d_detach,
};

static int load(const struct iopkt_host *h, struct iopkt_port *port, const char *options, void **state)
{
    struct iopkt_attached a = { .head = IOPKT_HEAD(struct iopkt_attached) };
    struct iopkt_device d = {
        .head = IOPKT_HEAD(struct iopkt_device), .ops = &dev_ops, .dev = "A", .unit = IOPKT_UNIT_ANY,
        .link_type = IOPKT_LINK_ETHER, .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 1500,
        .link = { .head = IOPKT_HEAD(struct iopkt_link), .state = IOPKT_LINK_UP },
    };
    char path[256];
    FILE *f;

    (void)state;
    host = h;
    if (strcmp(options, "wait") == 0) {
        snprintf(path, sizeof path, "%s/go", h->root(port));
        while (access(path, F_OK) != 0)
            usleep(2000);
        return h->attach(port, &d, &a);
    }
    snprintf(path, sizeof path, "%s/tried", h->root(port));
    f = fopen(path, "w");
    if (f == NULL)
        return EIO;
    try_all(f, h->root(port));
    fclose(f);
    return h->attach(port, &d, &a);
}

static const struct iopkt_driver_ops ops = { .head = IOPKT_HEAD(struct iopkt_driver_ops), .load = load };

IOPKT_EXPORT const struct iopkt_object iopkt_object = {
    .magic = IOPKT_MAGIC, .head = IOPKT_HEAD(struct iopkt_object), .kind = IOPKT_KIND_DRIVER,
    .name = "tries", .prefix = "tr", .version = "1", .description = "tries what it must not",
    .options = "wait\tload waits for <root>/go\n", .driver = &ops,
};
