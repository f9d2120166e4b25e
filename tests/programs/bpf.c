/* A program of bpf(4): sends an ARP request by a BPF device and reads the answer. bpf IFNAME OUR_IP THEIR_IP */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <iopkt/bpf.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MUST(x)                                                                  \
    do {                                                                         \
        if (!(x)) {                                                              \
            printf("line %d: %s: %s\n", __LINE__, #x, strerror(errno));          \
            exit(1);                                                             \
        }                                                                        \
    } while (0)
#define FAILS(x, e) MUST((errno = 0, (x) < 0 && errno == (e)))

static void filter(int fd, uint16_t type)
{
    struct bpf_insn insns[] = {
        {0x28, 0, 0, 12}, /* ldh [12] */
        {0x15, 0, 1, type},
        {0x06, 0, 0, 0xffff},
        {0x06, 0, 0, 0},
    };
    struct bpf_program p = {4, insns};
    MUST(ioctl(fd, BIOCSETF, &p) == 0);
    insns[1].jt = 9; /* leaves the program */
    FAILS(ioctl(fd, BIOCSETF, &p), EINVAL);
}

int main(int argc, char **argv)
{
    MUST(argc == 4);
    int fd = open("/dev/bpf", O_RDWR), other = open("/dev/bpf0", O_RDWR);
    MUST(fd >= 0 && other >= 0);
    struct bpf_version v;
    MUST(ioctl(fd, BIOCVERSION, &v) == 0 && v.bv_major == BPF_MAJOR_VERSION && v.bv_minor >= BPF_MINOR_VERSION);
    unsigned int n = 0, blen = 4096;
    MUST(ioctl(fd, BIOCGBLEN, &n) == 0 && n == 32768);
    MUST(ioctl(fd, BIOCSBLEN, &blen) == 0 && blen == 4096);

    /* Not yet joined to an interface. */
    struct ifreq ifr;
    FAILS(ioctl(fd, BIOCGETIF, &ifr), EINVAL);
    FAILS(ioctl(fd, BIOCGDLT, &n), EINVAL);
    FAILS(write(fd, "x", 1), ENXIO);
    memset(&ifr, 0, sizeof ifr);
    strcpy(ifr.ifr_name, "none9");
    FAILS(ioctl(fd, BIOCSETIF, &ifr), ENXIO);
    strcpy(ifr.ifr_name, argv[1]);
    MUST(ioctl(fd, BIOCSETIF, &ifr) == 0);
    n = 65536;
    FAILS(ioctl(fd, BIOCSBLEN, &n), EINVAL);
    memset(&ifr, 0, sizeof ifr);
    MUST(ioctl(fd, BIOCGETIF, &ifr) == 0 && strcmp(ifr.ifr_name, argv[1]) == 0);

    /* Link types. */
    MUST(ioctl(fd, BIOCGDLT, &n) == 0 && n == DLT_EN10MB);
    unsigned int list[4];
    struct bpf_dltlist l = {0, NULL};
    MUST(ioctl(fd, BIOCGDLTLIST, &l) == 0 && l.bfl_len == 1);
    l.bfl_list = list;
    MUST(ioctl(fd, BIOCGDLTLIST, &l) == 0 && list[0] == DLT_EN10MB);
    n = DLT_NULL;
    FAILS(ioctl(fd, BIOCSDLT, &n), EINVAL);
    FAILS(ioctl(fd, _IO('B', 99), 0), ENOTTY);

    /* Settings. */
    unsigned int on = 1, off = 0;
    MUST(ioctl(fd, BIOCGSEESENT, &n) == 0 && n == 1);
    MUST(ioctl(fd, BIOCSSEESENT, &off) == 0 && ioctl(fd, BIOCGSEESENT, &n) == 0 && n == 0);
    MUST(ioctl(fd, BIOCGHDRCMPLT, &n) == 0 && n == 0);
    MUST(ioctl(fd, BIOCPROMISC, 0) == 0);
    struct timeval tv = {3, 250000}, got;
    MUST(ioctl(fd, BIOCSRTIMEOUT, &tv) == 0 && ioctl(fd, BIOCGRTIMEOUT, &got) == 0);
    MUST(got.tv_sec == 3 && got.tv_usec == 250000);
    MUST(ioctl(fd, BIOCIMMEDIATE, &on) == 0);
    filter(fd, 0x0806);

    /* Who has that address? Our own hardware address is filled in. */
    unsigned char f[60] = {0};
    memset(f, 0xff, 6);
    static const unsigned char arp[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
    memcpy(f + 12, arp, sizeof arp);
    memset(f + 22, 2, 6); /* a sender that does not exist: the answer goes there, and promiscuous mode hears it */
    MUST(inet_pton(AF_INET, argv[2], f + 28) == 1 && inet_pton(AF_INET, argv[3], f + 38) == 1);
    MUST(write(fd, f, 3) < 0 && errno == EINVAL);
    static char huge[20000];
    FAILS(write(fd, huge, sizeof huge), EMSGSIZE);
    MUST(write(fd, f, sizeof f) == sizeof f);

    struct pollfd p = {fd, POLLIN, 0};
    MUST(poll(&p, 1, 60000) == 1 && p.revents == POLLIN);
    char *buf = malloc(blen);
    FAILS(read(fd, buf, blen / 2), EINVAL);
    MUST(ioctl(fd, FIONREAD, &n) == 0 && n > sizeof(struct bpf_hdr));
    ssize_t len = read(fd, buf, blen);
    MUST(len == (ssize_t)n);
    struct bpf_hdr *h = (struct bpf_hdr *)buf;
    unsigned char *r = (unsigned char *)buf + h->bh_hdrlen;
    MUST(h->bh_caplen == h->bh_datalen && h->bh_caplen >= 42 && h->bh_hdrlen % 2 == 0);
    MUST(((unsigned long)r + 14) % BPF_ALIGNMENT == 0);
    MUST(labs(h->bh_tstamp.tv_sec - time(NULL)) < 3600);
    MUST(r[12] == 8 && r[13] == 6 && r[21] == 2 && memcmp(r + 28, f + 38, 4) == 0 && r[0] == 2);
    struct bpf_stat st;
    MUST(ioctl(fd, BIOCGSTATS, &st) == 0 && st.bs_capt == 1 && st.bs_recv >= 1 && st.bs_drop == 0);

    /* Without immediate mode a packet waits until the time is over; what waits is flushed. */
    MUST(ioctl(fd, BIOCIMMEDIATE, &off) == 0);
    tv = (struct timeval){0, 50000};
    MUST(ioctl(fd, BIOCSRTIMEOUT, &tv) == 0);
    MUST(ioctl(fd, BIOCFLUSH, 0) == 0);
    MUST(write(fd, f, sizeof f) == sizeof f);
    MUST(read(fd, buf, blen) > 0);

    /* What is sent is seen on request, by other devices always. */
    MUST(ioctl(other, BIOCSETIF, &ifr) == 0 && ioctl(other, BIOCIMMEDIATE, &on) == 0);
    filter(other, 0x88b5);
    memcpy(f + 12, "\x88\xb5", 2);
    MUST(ioctl(fd, BIOCSHDRCMPLT, &on) == 0);
    memcpy(f + 6, "\2\3\4\5\6\7", 6);
    MUST(write(fd, f, sizeof f) == sizeof f);
    char *big = malloc(32768);
    MUST(read(other, big, 32768) > 0);
    h = (struct bpf_hdr *)big;
    MUST(memcmp(big + h->bh_hdrlen + 6, "\2\3\4\5\6\7", 6) == 0);

    /* A full buffer comes without waiting; packets in it stand at multiples of the alignment. */
    MUST(ioctl(other, BIOCIMMEDIATE, &off) == 0 && ioctl(other, BIOCFLUSH, 0) == 0);
    for (int i = 0; i < 600; i++)
        MUST(write(fd, f, sizeof f) == sizeof f);
    len = read(other, big, 32768);
    int count = 0;
    for (char *at = big; at < big + len; count++) {
        h = (struct bpf_hdr *)at;
        MUST(h->bh_caplen == 60 && memcmp(at + h->bh_hdrlen + 12, "\x88\xb5", 2) == 0);
        at += BPF_WORDALIGN(h->bh_hdrlen + h->bh_caplen);
    }
    MUST(len > 32768 - 200 && count > 300);
    /* More than the buffers hold is dropped, and counted. */
    for (int i = 0; i < 2000; i++)
        MUST(write(fd, f, sizeof f) == sizeof f);
    do {
        MUST(ioctl(other, BIOCGSTATS, &st) == 0);
    } while (st.bs_capt < 2600);
    MUST(st.bs_drop > 0 && st.bs_drop < 2600);
    printf("ready\n");
    fflush(stdout);

    /* The interface goes away. */
    do {
        MUST(poll(&p, 1, 60000) == 1);
        errno = 0;
    } while (read(fd, buf, blen) > 0);
    MUST(errno == ENXIO);
    FAILS(write(fd, f, sizeof f), ENXIO);
    printf("done\n");
    return 0;
}
