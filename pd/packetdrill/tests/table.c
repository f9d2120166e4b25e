/* Loads libiopkt_packetdrill.so as packetdrill does and holds the table to its contract. Prints what is wrong, exits with 1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

struct table {
	void *u;
	void (*free)(void *);
	int (*socket)(void *, int, int, int);
	int (*bind)(void *, int, const struct sockaddr *, socklen_t);
	int (*listen)(void *, int, int);
	int (*accept)(void *, int, struct sockaddr *, socklen_t *);
	int (*connect)(void *, int, const struct sockaddr *, socklen_t);
	ssize_t (*read)(void *, int, void *, size_t);
	ssize_t (*readv)(void *, int, const struct iovec *, int);
	ssize_t (*recv)(void *, int, void *, size_t, int);
	ssize_t (*recvfrom)(void *, int, void *, size_t, int, struct sockaddr *, socklen_t *);
	ssize_t (*recvmsg)(void *, int, struct msghdr *, int);
	ssize_t (*write)(void *, int, const void *, size_t);
	ssize_t (*writev)(void *, int, const struct iovec *, int);
	ssize_t (*send)(void *, int, const void *, size_t, int);
	ssize_t (*sendto)(void *, int, const void *, size_t, int, const struct sockaddr *, socklen_t);
	ssize_t (*sendmsg)(void *, int, const struct msghdr *, int);
	int (*fcntl)(void *, int, int, ...);
	int (*ioctl)(void *, int, unsigned long, ...);
	int (*close)(void *, int);
	int (*shutdown)(void *, int, int);
	int (*getsockopt)(void *, int, int, int, void *, socklen_t *);
	int (*setsockopt)(void *, int, int, int, const void *, socklen_t);
	int (*poll)(void *, struct pollfd *, nfds_t, int);
	int (*netdev_send)(void *, const void *, size_t);
	int (*netdev_receive)(void *, void *, size_t *, long long *);
	int (*usleep)(void *, useconds_t);
	int (*gettimeofday)(void *, struct timeval *, void *);
	int (*epoll_create)(void *, int);
	int (*epoll_ctl)(void *, int, int, int, struct epoll_event *);
	int (*epoll_wait)(void *, int, struct epoll_event *, int, int);
	int (*pipe)(void *, int[2]);
	int (*splice)(void *, int, long long *, int, long long *, size_t, unsigned);
};

static struct table t;
static int accepted = -1;
static long long accepted_at;

#define MUST(c) do { if (!(c)) { printf("line %d: %s (errno %d %s)\n", __LINE__, #c, errno, strerror(errno)); exit(1); } } while (0)

static long long now(void)
{
	struct timeval tv;
	MUST(t.gettimeofday(t.u, &tv, NULL) == 0);
	return tv.tv_sec * 1000000LL + tv.tv_usec;
}

static unsigned sum(const unsigned char *p, size_t n, unsigned s)
{
	for (; n > 1; p += 2, n -= 2)
		s += p[0] << 8 | p[1];
	return n ? s + (p[0] << 8) : s;
}

static unsigned fold(unsigned s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return ~s & 0xffff;
}

static void put16(unsigned char *p, unsigned v) { p[0] = v >> 8; p[1] = v; }
static void put32(unsigned char *p, unsigned v) { put16(p, v >> 16); put16(p + 2, v); }
static unsigned get32(const unsigned char *p) { return (unsigned)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }

/* A segment from 192.0.2.1:4000 to 192.168.0.1:8080. */
static void segment(unsigned seq, unsigned ack, unsigned flags, size_t len)
{
	unsigned char p[2000] = { 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 168, 0, 1 };
	size_t n = 20 + len;

	put16(p + 2, 20 + n);
	put16(p + 10, fold(sum(p, 20, 0)));
	put16(p + 20, 4000);
	put16(p + 22, 8080);
	put32(p + 24, seq);
	put32(p + 28, ack);
	p[32] = 0x50;
	p[33] = flags;
	put16(p + 34, 60000);
	put16(p + 36, fold(sum(p + 20, n, sum(p + 12, 8, 6 + n))));
	MUST(t.netdev_send(t.u, p, 20 + n) == 0);
}

/* The next packet of the stack: its flags; sequence number and payload length to where the pointers say. */
static int next(unsigned *seq, size_t *len, long long *at)
{
	unsigned char p[70000];
	size_t n = sizeof p;

	MUST(t.netdev_receive(t.u, p, &n, at) == 0);
	if (n == 0)
		return -1;
	MUST(n >= 40 && p[0] == 0x45 && fold(sum(p, 20, 0)) == 0);
	MUST(fold(sum(p + 20, n - 20, sum(p + 12, 8, 6 + n - 20))) == 0);
	*seq = get32(p + 24);
	*len = n - 20 - (p[32] >> 4) * 4;
	return p[33];
}

static volatile pid_t accepter_tid;

/* Waits, in real time, until the accepter sleeps: then it is in its call. */
static void accepter_blocks(void)
{
	char path[64], line[256], state = 0;
	int i;

	for (i = 0; i < 60000 && state != 'S'; i++) {
		FILE *f;

		usleep(1000);
		if (accepter_tid == 0)
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)accepter_tid);
		f = fopen(path, "r");
		MUST(f != NULL && fgets(line, sizeof line, f) != NULL);
		fclose(f);
		/* Behind the name, which is in parentheses. */
		state = strrchr(line, ')')[2];
	}
	MUST(state == 'S');
}

static void *accepter(void *fd)
{
	struct sockaddr_in a;
	socklen_t n = sizeof a;

	accepter_tid = (pid_t)syscall(SYS_gettid);
	accepted = t.accept(t.u, *(int *)fd, (struct sockaddr *)&a, &n);
	/* The clock stands until the call that returned has looked at it. */
	accepted_at = now();
	MUST(n == sizeof a && a.sin_port == htons(4000) && a.sin_addr.s_addr == inet_addr("192.0.2.1"));
	return NULL;
}

static void handshake(int fd, unsigned *iss)
{
	size_t len;
	long long at, begin;
	pthread_t th;

	/* A blocking call in another thread, as packetdrill makes it, and the clock moved in this one. */
	MUST(pthread_create(&th, NULL, accepter, &fd) == 0);
	accepter_blocks();
	begin = now();
	MUST(t.usleep(t.u, 100000) == 0);
	MUST(now() - begin >= 100000 && now() - begin < 110000);
	segment(1000, 0, TH_SYN, 0);
	MUST(next(iss, &len, &at) == (TH_SYN | TH_ACK) && len == 0);
	MUST(at >= begin + 100000 && at <= now());
	MUST(t.usleep(t.u, 50000) == 0);
	segment(1001, *iss + 1, TH_ACK, 0);
	begin = now();
	MUST(t.usleep(t.u, 1000000) == 0);
	MUST(pthread_join(th, NULL) == 0);
	MUST(accepted >= 0);
	MUST(accepted_at <= begin + 1000);
}

static void data(unsigned iss)
{
	char buf[3000] = { 0 };
	struct iovec io[2] = { { buf, 10 }, { buf + 10, 90 } };
	struct msghdr m = { .msg_iov = io, .msg_iovlen = 2 };
	struct pollfd pf = { accepted, POLLIN | POLLOUT, 0 };
	unsigned seq;
	size_t len;
	long long at;
	int n = -1, i, p[2];

	MUST(t.sendmsg(t.u, accepted, &m, 0) == 100);
	MUST(next(&seq, &len, &at) == (TH_PUSH | TH_ACK) && seq == iss + 1 && len == 100);
	MUST(t.poll(t.u, &pf, 1, 0) == 1 && pf.revents == POLLOUT);
	segment(1001, iss + 101, TH_ACK | TH_PUSH, 500);
	MUST(next(&seq, &len, &at) == TH_ACK && len == 0);
	MUST(t.poll(t.u, &pf, 1, 1000) == 1 && pf.revents == (POLLIN | POLLOUT));
	MUST(t.ioctl(t.u, accepted, 0x541bUL, &n) == 0 && n == 500);
	MUST(t.recvmsg(t.u, accepted, &m, 0) == 100);
	MUST(t.pipe(t.u, p) == 0);
	MUST(t.splice(t.u, accepted, NULL, p[1], NULL, 150, 0) == 150);
	MUST(t.read(t.u, p[0], buf, sizeof buf) == 150);
	MUST(t.recv(t.u, accepted, buf, 250, MSG_PEEK) == 250);
	MUST(t.read(t.u, accepted, buf, sizeof buf) == 250);
	MUST(t.recv(t.u, accepted, buf, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	MUST(t.fcntl(t.u, accepted, 4, 04000L) == 0);
	MUST(t.read(t.u, accepted, buf, 1) == -1 && errno == EAGAIN);
	MUST(t.fcntl(t.u, accepted, 3) == 04002);
	for (i = 0; i < 2; i++)
		MUST(t.close(t.u, p[i]) == 0);
	MUST(t.close(t.u, p[0]) == -1 && errno == EBADF);
}

static void epolls(unsigned iss)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET, .data.u64 = 77 }, got[4];
	unsigned seq;
	size_t len;
	long long at, begin;
	int ep = t.epoll_create(t.u, 1);

	MUST(ep >= 0 && t.epoll_ctl(t.u, ep, EPOLL_CTL_ADD, accepted, &e) == 0);
	MUST(t.epoll_ctl(t.u, ep, EPOLL_CTL_ADD, accepted, &e) == -1 && errno == EEXIST);
	/* A wait in the only thread moves the clock itself. */
	begin = now();
	MUST(t.epoll_wait(t.u, ep, got, 4, 200) == 0);
	MUST(now() - begin >= 200000);
	segment(1501, iss + 101, TH_ACK | TH_PUSH, 10);
	MUST(next(&seq, &len, &at) == TH_ACK);
	MUST(t.epoll_wait(t.u, ep, got, 4, 0) == 1 && got[0].events == EPOLLIN && got[0].data.u64 == 77);
	MUST(t.epoll_wait(t.u, ep, got, 4, 0) == 0);
	MUST(t.close(t.u, ep) == 0);
}

static void options(void)
{
	struct tcp_info info;
	socklen_t n = sizeof info;
	int v = 1, fds[2];

	MUST(t.getsockopt(t.u, accepted, IPPROTO_TCP, TCP_INFO, &info, &n) == 0);
	MUST(info.tcpi_state == TCP_ESTABLISHED && info.tcpi_snd_mss == 536);
	/* Packetdrill asks like this for its %{ }% code. */
	n = sizeof info;
	memset(&info, 0, sizeof info);
	MUST(getsockopt(accepted, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 && info.tcpi_state == TCP_ESTABLISHED);
	/* Sockets of the kernel stay the kernel's. */
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	n = sizeof v;
	MUST(getsockopt(fds[0], SOL_SOCKET, SO_TYPE, &v, &n) == 0 && v == SOCK_STREAM);
	v = 1;
	MUST(t.setsockopt(t.u, accepted, IPPROTO_TCP, TCP_NODELAY, &v, sizeof v) == 0);
	MUST(t.setsockopt(t.u, accepted, IPPROTO_TCP, 9999, &v, sizeof v) == -1 && errno == ENOPROTOOPT);
	MUST(t.socket(t.u, AF_APPLETALK, SOCK_STREAM, 0) == -1 && errno == EAFNOSUPPORT);
	MUST(t.socket(t.u, AF_INET, SOCK_STREAM, IPPROTO_UDP) == -1 && errno == EPROTONOSUPPORT);
}

/* Both domains are there: a SYN of each, by a socket of IPv6. */
static void both_families(void)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(80) };
	static const char *const names[] = { "fd3d:fa7b:d17d::1", "::ffff:192.0.2.9" };
	unsigned char p[2048];
	size_t n;
	long long at;
	int i, fd;

	for (i = 0; i < 2; i++) {
		inet_pton(AF_INET6, names[i], &to.sin6_addr);
		fd = t.socket(t.u, AF_INET6, SOCK_STREAM, IPPROTO_TCP);
		MUST(fd >= 0 && t.fcntl(t.u, fd, 4, 04000L) == 0);
		MUST(t.connect(t.u, fd, (struct sockaddr *)&to, sizeof to) == -1 && errno == EINPROGRESS);
		n = sizeof p;
		MUST(t.netdev_receive(t.u, p, &n, &at) == 0 && n > 40 && p[0] >> 4 == (i ? 4 : 6));
		if (i)
			MUST(!memcmp(p + 16, "\300\0\2\11", 4) && p[20 + 13] == TH_SYN);
		else
			MUST(!memcmp(p + 24, &to.sin6_addr, 16) && p[6] == IPPROTO_TCP && p[40 + 13] == TH_SYN);
		MUST(t.close(t.u, fd) == 0);
	}
}

int main(int argc, char **argv)
{
	void (*init)(const char *, struct table *);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(8080) };
	unsigned iss, seq;
	size_t len;
	long long at;
	void *so;
	int fd, v = 0;
	socklen_t n = sizeof v;

	MUST(argc == 2);
	so = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE | RTLD_DEEPBIND);
	if (!so) {
		printf("%s\n", dlerror());
		return 1;
	}
	*(void **)&init = dlsym(so, "packetdrill_interface_init");
	MUST(init);
	init("sysctl=off,tun=off,local=192.168.0.1 net.ipv4.tcp_timestamps=0", &t);
	fd = t.socket(t.u, AF_INET, SOCK_STREAM, IPPROTO_TCP);
	MUST(fd >= 0);
	a.sin_addr.s_addr = inet_addr("192.168.0.1");
	MUST(t.bind(t.u, fd, (struct sockaddr *)&a, sizeof a) == 0);
	MUST(t.bind(t.u, fd, (struct sockaddr *)&a, 3) == -1 && errno == EINVAL);
	MUST(t.listen(t.u, fd, 1) == 0);
	handshake(fd, &iss);
	data(iss);
	epolls(iss);
	options();
	both_families();
	/* Nothing comes any more: a time-out is a 0 with no bytes. */
	MUST(next(&seq, &len, &at) == -1);
	MUST(t.shutdown(t.u, accepted, SHUT_WR) == 0);
	MUST(next(&seq, &len, &at) == (TH_FIN | TH_ACK) && seq == iss + 101);
	/* Packetdrill closes with close(2) what a script left open. */
	MUST(close(accepted) == 0);
	MUST(t.close(t.u, fd) == 0);
	t.free(t.u);
	MUST(getsockopt(0, SOL_SOCKET, SO_TYPE, &v, &n) == -1 || v != 0);
	puts("ok");
	return 0;
}
