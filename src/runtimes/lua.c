/* SPDX-License-Identifier: MIT */
/*
 * lua.c - a program that embeds Lua 5.4 and is told when memory is short
 *
 * The example of how to embed, and the host that `psibridge demo` watches. It runs a script (its
 * own, or a file), then calls the script's global function tick() ten times a second. The script
 * it has built in does what many programs do: it fills a cache, drops it, and idles. Lua collects
 * when enough has been *allocated*, and an idle program allocates nothing, so the dropped cache
 * stays in memory, whoever else may need it.
 *
 * Being told takes five calls: psb_bridge_new(), psb_watch_new() (NULL: our own cgroup),
 * psb_host_memory_manager_new(), RegisterMemoryNotificationCallback(), psb_bridge_start(). What
 * comes then crosses two threads:
 *
 *     psibridge's thread              the Lua thread
 *     host_told(level)                idle in poll():  the pipe wakes it
 *        level and time -> pipe       in a script:     SIGURG -> lua_sethook() -> hooked()
 *        SIGURG -> Lua thread            \-> host_react(): empties the pipe, collects, trims
 *
 * No lua_State is ever touched by two threads. host_told() only hands over and returns: lua_gc()
 * there would race with the script, and could take long. lua_sethook() from there would race too:
 * since 5.4 it walks the list of running calls, which the Lua thread changes and its collector
 * frees (settraps() in ldebug.c). In a signal handler *of the Lua thread* it is safe, and meant to
 * be used so (the comment above lua_sethook() in ldebug.c; lua.c stops scripts that way). Hooks
 * never run inside finalizers, so lua_gc() is allowed in ours. A coroutine that never yields is
 * not interrupted: its hooks are its own.
 *
 * What is done when told, in this order, and why:
 *   - Low: a full collection, then malloc_trim(): without it, what Lua freed stays with malloc and
 *     nothing goes back. What did is measured 0.7 s later, for return values of allocators say
 *     nothing. The collector is set to follow the heap closely while memory stays short.
 *   - Low again: only if the process has grown since, and not before ten seconds. Walking a heap
 *     costs time and touches memory, which is just what is scarce.
 *   - Neutral, High: the collector gets its own pace back.
 *
 * One line a piece of news on standard output, times in microseconds of CLOCK_MONOTONIC, memory in
 * bytes:
 *
 *     ready at=TIME rss=BYTES bridge=io_uring|epoll|none rung=N source=NAME
 *     told at=TIME level=low|neutral|high
 *     collected at=TIME before=BYTES after=BYTES took=USEC
 *     kept at=TIME rss=BYTES             told Low, but not worth a collection
 *     end at=TIME rss=BYTES
 */
#include <psibridge/hosting.h>
#include <psibridge/psibridge.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define USEC_PER_SEC UINT64_C(1000000)
#define NEVER UINT64_MAX
#define TICK_USEC (USEC_PER_SEC / 10)
#define MEASURE_USEC (7 * USEC_PER_SEC / 10)
#define APART_USEC (10 * USEC_PER_SEC)
#define GROWN_MIN_BYTES (UINT64_C(50) << 20)
#define GROWN_PERCENT 20 /* of what the last collection gave back */
#define PAUSE_WHEN_SHORT \
	100 /* percent: begin the next cycle as soon as one is done; Lua's own is 200 */

static const char built_in_script[] =
	"local wanted = tonumber(...)\n"
	"local cache = {}\n"
	"while collectgarbage('count') * 1024 < wanted do\n"
	"	cache[#cache + 1] = { id = #cache, page = ('x'):rep(1000) }\n"
	"end\n"
	"cache = nil\n"
	"local served = 0\n"
	"function tick() served = served + 1 end\n";

struct host {
	ICLRMemoryNotificationCallback callback; /* first: its address is the host's too */
	lua_State *lua;
	pthread_t lua_thread;
	int told_read, told_write; /* the pipe; -1 without a bridge */
	int statm;
	/* of the Lua thread alone */
	uint64_t collected_usec, measure_usec; /* the last collection; when to look at its effect */
	uint64_t before_bytes, after_bytes, took_usec;
	int pause; /* the collector's own, while ours is set; 0: it has its own */
	/* the bridge */
	psb_bridge *bridge;
	psb_watch *watch;
	IHostMemoryManager *manager;
};

/* What travels through the pipe: at most PIPE_BUF, so it is written whole or not at all. */
struct news {
	uint64_t at_usec;
	EMemoryAvailable available;
};

static volatile sig_atomic_t stopping;
static lua_State *interruptible; /* what the handler of SIGURG interrupts */

static uint64_t now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

/*
 * The descriptor is kept open: opening a file charges memory, and who does that when it is short
 * may be put to sleep.
 */
static uint64_t rss_bytes(const struct host *host)
{
	char text[128];
	ssize_t n = pread(host->statm, text, sizeof(text) - 1, 0);
	const char *second;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	second = strchr(text, ' ');
	return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/*
 * ---- told: psibridge's thread ------------------------------------------------------------------
 */

static HRESULT host_told(ICLRMemoryNotificationCallback *This, EMemoryAvailable available)
{
	struct host *host = (struct host *)This;
	struct news news = { .at_usec = now_usec(), .available = available };

	/* Does not block. Full means that thousands of news wait there already. */
	if (write(host->told_write, &news, sizeof(news)) < 0)
		return errno == EAGAIN ? S_OK : E_UNEXPECTED;
	pthread_kill(host->lua_thread, SIGURG);
	return S_OK;
}

static HRESULT host_query(ICLRMemoryNotificationCallback *This, REFIID riid, void **ret)
{
	if (!ret)
		return E_POINTER;
	*ret = NULL;
	if (memcmp(riid, &IID_IUnknown, sizeof(*riid)) != 0 &&
	    memcmp(riid, &IID_ICLRMemoryNotificationCallback, sizeof(*riid)) != 0)
		return E_NOINTERFACE;
	*ret = This;
	return S_OK;
}

/* The object outlives its registration, so nothing is counted. The CLR's own did the same. */
static ULONG host_count(ICLRMemoryNotificationCallback *This)
{
	(void)This;
	return 1;
}

static const ICLRMemoryNotificationCallbackVtbl host_vtbl = {
	.QueryInterface = host_query,
	.AddRef = host_count,
	.Release = host_count,
	.OnMemoryNotification = host_told,
};

/*
 * ---- react: the Lua thread
 * -----------------------------------------------------------------------
 */

static void collector_hurry(struct host *host)
{
	if (host->pause == 0)
		host->pause = lua_gc(host->lua, LUA_GCSETPAUSE, PAUSE_WHEN_SHORT);
}

static void collector_relax(struct host *host)
{
	if (host->pause != 0)
		lua_gc(host->lua, LUA_GCSETPAUSE, host->pause);
	host->pause = 0;
}

static int worth_it(const struct host *host, uint64_t now, uint64_t rss)
{
	uint64_t freed, needed;

	if (host->collected_usec == 0)
		return 1;
	if (now - host->collected_usec < APART_USEC)
		return 0;
	freed = host->before_bytes > host->after_bytes ? host->before_bytes - host->after_bytes : 0;
	needed = freed / 100 * GROWN_PERCENT;
	if (needed < GROWN_MIN_BYTES)
		needed = GROWN_MIN_BYTES;
	return rss >= host->after_bytes + needed;
}

static void collect(struct host *host)
{
	uint64_t start = now_usec(), rss = rss_bytes(host);

	collector_hurry(host);
	if (!worth_it(host, start, rss)) {
		printf("kept at=%" PRIu64 " rss=%" PRIu64 "\n", start, rss);
		return;
	}
	lua_gc(host->lua, LUA_GCCOLLECT);
	malloc_trim(0);
	host->collected_usec = now_usec();
	host->took_usec = host->collected_usec - start;
	host->before_bytes = rss;
	host->after_bytes = rss_bytes(host);
	host->measure_usec = host->collected_usec + MEASURE_USEC;
}

static void measure(struct host *host)
{
	host->measure_usec = NEVER;
	host->after_bytes = rss_bytes(host);
	printf("collected at=%" PRIu64 " before=%" PRIu64 " after=%" PRIu64 " took=%" PRIu64 "\n",
	       host->collected_usec, host->before_bytes, host->after_bytes, host->took_usec);
}

/* All news is told on, the newest is acted on. */
static void host_react(struct host *host)
{
	static const char *const names[] = { "?", "low", "neutral", "high" };
	struct news news = { .available = 0 };

	while (read(host->told_read, &news, sizeof(news)) == (ssize_t)sizeof(news))
		printf("told at=%" PRIu64 " level=%s\n", news.at_usec,
		       names[news.available <= eMemoryAvailableHigh ? news.available : 0]);
	if (news.available == eMemoryAvailableLow)
		collect(host);
	else if (news.available == eMemoryAvailableNeutral ||
		 news.available == eMemoryAvailableHigh)
		collector_relax(host);
}

static void hooked(lua_State *lua, lua_Debug *unused)
{
	(void)unused;
	lua_sethook(lua, NULL, 0, 0);
	host_react(*(struct host **)lua_getextraspace(lua));
}

/*
 * If the script is not running, the hook waits for its next instruction and finds the pipe empty.
 */
static void on_urg(int unused)
{
	(void)unused;
	lua_sethook(interruptible, hooked, LUA_MASKCOUNT, 1);
}

static void on_term(int unused)
{
	(void)unused;
	stopping = 1;
}

/*
 * ---- the host
 * ------------------------------------------------------------------------------------
 */

static int complain(const char *what, int error)
{
	fprintf(stderr, "psibridge-luahost: %s: %s\n", what, strerror(-error));
	return error;
}

static int host_script(struct host *host, const char *file, uint64_t garbage_bytes)
{
	lua_State *lua = luaL_newstate();

	if (!lua)
		return complain("Lua", -ENOMEM);
	host->lua = lua;
	*(struct host **)lua_getextraspace(lua) = host;
	luaL_openlibs(lua);
	if (file ? luaL_loadfile(lua, file) : luaL_loadstring(lua, built_in_script))
		goto failed;
	lua_pushinteger(lua, (lua_Integer)garbage_bytes);
	if (lua_pcall(lua, 1, 0, 0))
		goto failed;
	return 0;

failed:
	fprintf(stderr, "psibridge-luahost: %s\n", lua_tostring(lua, -1));
	return -EINVAL;
}

/* From here on SIGURG may come, so the handler has to be there before the callback. */
static int host_bridge(struct host *host, const char *source)
{
	struct sigaction urg = { .sa_handler = on_urg, .sa_flags = SA_RESTART };
	struct psb_watch_options options = { .size = sizeof(options), .source = source };
	char why[320] = "";
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return complain("pipe", -errno);
	host->told_read = fds[0];
	host->told_write = fds[1];
	interruptible = host->lua;
	sigaction(SIGURG, &urg, NULL);

	r = psb_bridge_new(NULL, &host->bridge);
	if (r < 0)
		return complain("bridge", r);
	options.error_text = why;
	options.error_text_size = sizeof(why);
	r = psb_watch_new(host->bridge, &options, &host->watch);
	if (r < 0)
		return complain(why[0] ? why : "watch", r);
	r = psb_host_memory_manager_new(host->watch, &host->manager);
	if (r < 0)
		return complain("memory manager", r);
	if (FAILED(IHostMemoryManager_RegisterMemoryNotificationCallback(host->manager,
									 &host->callback)))
		return complain("RegisterMemoryNotificationCallback", -EIO);
	r = psb_bridge_start(host->bridge);
	return r < 0 ? complain("bridge", r) : 0;
}

static void host_ready(const struct host *host)
{
	struct psb_source source = { .size = sizeof(source) };
	const char *backend = "none";

	if (host->bridge) {
		psb_watch_source(host->watch, &source);
		backend = psb_bridge_backend(host->bridge, NULL) == PSB_BACKEND_URING ? "io_uring"
										      : "epoll";
	}
	printf("ready at=%" PRIu64 " rss=%" PRIu64 " bridge=%s rung=%u source=%s\n", now_usec(),
	       rss_bytes(host), backend, source.rung, source.name ? source.name : "none");
}

static int host_loop(struct host *host)
{
	uint64_t tick_usec = now_usec() + TICK_USEC;
	int r = 0;

	while (!stopping && r == 0) {
		uint64_t now = now_usec(),
			 due = tick_usec < host->measure_usec ? tick_usec : host->measure_usec;
		struct pollfd told = { .fd = host->told_read, .events = POLLIN };

		if (poll(&told, 1, due > now ? (int)((due - now) / 1000) + 1 : 0) < 0 &&
		    errno != EINTR)
			return complain("poll", -errno);
		if (host->bridge)
			host_react(host);
		now = now_usec();
		if (now >= host->measure_usec)
			measure(host);
		if (now < tick_usec)
			continue;
		tick_usec = now + TICK_USEC;
		if (lua_getglobal(host->lua, "tick") != LUA_TFUNCTION) {
			lua_pop(host->lua, 1);
		} else if (lua_pcall(host->lua, 0, 0, 0)) {
			fprintf(stderr, "psibridge-luahost: %s\n", lua_tostring(host->lua, -1));
			r = -EINVAL;
		}
	}
	return r;
}

/* In reverse. After the unregistering nobody sends SIGURG any more, so the state may go. */
static void host_end(struct host *host)
{
	if (host->manager) {
		IHostMemoryManager_RegisterMemoryNotificationCallback(host->manager, NULL);
		IHostMemoryManager_Release(host->manager);
	}
	psb_watch_unref(host->watch);
	psb_bridge_unref(host->bridge);
	signal(SIGURG, SIG_IGN);
	if (host->lua)
		lua_close(host->lua);
	if (host->told_read >= 0)
		close(host->told_read);
	if (host->told_write >= 0)
		close(host->told_write);
	if (host->statm >= 0)
		close(host->statm);
}

static void usage(FILE *to)
{
	fputs("usage: psibridge-luahost [--no-bridge] [--garbage MB] [--source PATH] [SCRIPT]\n"
	      "  runs SCRIPT (or fills a cache of MB, 200 by default, and drops it), then calls its tick()\n"
	      "  ten times a second until SIGTERM; collects when psibridge says that memory is short\n"
	      "    --no-bridge    do not ask psibridge\n"
	      "    --source PATH  a PSI file, FIFO or socket instead of our own cgroup\n",
	      to);
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "garbage", required_argument, NULL, 'g' },
		{ "source", required_argument, NULL, 's' },
		{ "no-bridge", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct sigaction term = { .sa_handler = on_term };
	struct host host = {
		.callback = { &host_vtbl },
		.lua_thread = pthread_self(),
		.told_read = -1,
		.told_write = -1,
		.measure_usec = NEVER,
	};
	unsigned long garbage_mb = 200;
	const char *source = NULL;
	int bridge = 1, option, r;
	char *end;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
		switch (option) {
		case 'g':
			garbage_mb = strtoul(optarg, &end, 10);
			if (*end != '\0' || end == optarg || garbage_mb > 1 << 20) {
				fprintf(stderr, "psibridge-luahost: --garbage %s: not megabytes\n",
					optarg);
				return 2;
			}
			break;
		case 's':
			source = optarg;
			break;
		case 'n':
			bridge = 0;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (argc - optind > 1) {
		usage(stderr);
		return 2;
	}

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &term, NULL);
	sigaction(SIGINT, &term, NULL);
	host.statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	r = host_script(&host, argv[optind], (uint64_t)garbage_mb << 20);
	if (r == 0 && bridge)
		r = host_bridge(&host, source);
	if (r == 0) {
		host_ready(&host);
		r = host_loop(&host);
		if (host.measure_usec != NEVER)
			measure(&host);
		printf("end at=%" PRIu64 " rss=%" PRIu64 "\n", now_usec(), rss_bytes(&host));
	}
	host_end(&host);
	return r == 0 ? 0 : 1;
}
