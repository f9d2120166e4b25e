/* Programs of tun(4) and tap(4): opens /dev/tun0 and /dev/tap, exchanges packets, and hears of the end. */
#include <errno.h>
#include <fcntl.h>
#include <iopkt/if_tap.h>
#include <iopkt/if_tun.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUST(x)                                                                  \
    do {                                                                         \
        if (!(x)) {                                                              \
            printf("line %d: %s: %s\n", __LINE__, #x, strerror(errno));          \
            exit(1);                                                             \
        }                                                                        \
    } while (0)
#define FAILS(x, e) MUST((errno = 0, (x) < 0 && errno == (e)))

static void say(const char *what)
{
    printf("%s\n", what);
    fflush(stdout);
}

static int is_up(void)
{
    return access("up", F_OK) == 0;
}

int main(void)
{
    unsigned char p[2000] = {0};
    FAILS(open("/dev/tun7", O_RDWR), ENXIO);
    int fd = open("/dev/tun0", O_RDWR);
    MUST(fd >= 0);
    FAILS(open("/dev/tun0", O_RDWR), EBUSY);

    int n = -1, on = 1, pointopoint = 0x10, broadcast = 2, odd = 0x20;
    MUST(ioctl(fd, TUNGIFHEAD, &n) == 0 && n == 0);
    MUST(ioctl(fd, TUNSDEBUG, &on) == 0 && ioctl(fd, TUNGDEBUG, &n) == 0 && n == 1);
    MUST(ioctl(fd, TUNSIFMODE, &broadcast) == 0 && ioctl(fd, TUNSIFMODE, &pointopoint) == 0);
    FAILS(ioctl(fd, TUNSIFMODE, &odd), EINVAL);
    struct ifreq ifr;
    FAILS(ioctl(fd, TAPGIFNAME, &ifr), ENOTTY);
    p[0] = 0x45;
    FAILS(write(fd, p, 20), EHOSTDOWN);
    say("down");
    while (!is_up())
        usleep(10000);
    FAILS(ioctl(fd, TUNSIFMODE, &broadcast), EBUSY);

    /* With the family in front. Pings come; each is sent back. */
    MUST(ioctl(fd, TUNSIFHEAD, &on) == 0 && ioctl(fd, TUNGIFHEAD, &n) == 0 && n == 1);
    say("pings");
    for (int answered = 0; answered < 3;) {
        ssize_t len = read(fd, p, sizeof p);
        MUST(len > 24 && memcmp(p, "\0\0\0\2", 4) == 0 && p[4] == 0x45);
        if (p[4 + 9] != 1 || p[4 + 20] != 8)
            continue;
        unsigned char a[4];
        memcpy(a, p + 16, 4), memcpy(p + 16, p + 20, 4), memcpy(p + 20, a, 4);
        p[24] = 0;
        unsigned c = (p[26] << 8 | p[27]) + 0x800;
        c = (c & 0xffff) + (c >> 16);
        p[26] = c >> 8, p[27] = c;
        MUST(write(fd, p, len) == len);
        answered++;
    }

    /* An interface that lives as long as its descriptor. */
    int tap = open("/dev/tap", O_RDWR | O_NONBLOCK);
    memset(&ifr, 0, sizeof ifr);
    MUST(tap >= 0 && ioctl(tap, TAPGIFNAME, &ifr) == 0 && strcmp(ifr.ifr_name, "tap0") == 0);
    FAILS(read(tap, p, sizeof p), EAGAIN);
    FAILS(ioctl(tap, TUNSIFHEAD, &on), ENOTTY);
    FAILS(write(tap, p, 60), EHOSTDOWN);
    say("tap");
    while (is_up())
        usleep(10000);
    close(tap);

    /* The interface is destroyed while we have it open. */
    say("waiting");
    for (;;) {
        errno = 0;
        ssize_t len = read(fd, p, sizeof p);
        if (len > 0)
            continue;
        if (errno == EHOSTDOWN)
            continue; /* on its way */
        MUST(len < 0 && errno == ENXIO);
        break;
    }
    say("done");
    return 0;
}
