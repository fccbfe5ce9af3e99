/* SPDX-License-Identifier: MIT */
/*
 * lua.c - a program that embeds Lua 5.4 and is told when memory is short
 *
 * The example of how to embed, and the host that `psibridge demo` watches. It runs a script, then calls the script's global function
 * tick() ten times a second, and when there is news. The script it has built in does what many programs do: it fills a cache, drops it,
 * and idles. Lua collects when enough has been *allocated*, so the dropped cache stays.
 *
 * How to be told is host.h. What comes then crosses two threads:
 *
 *     psibridge's thread              the Lua thread
 *     told(level)                     idle in poll():  the pipe wakes it
 *        level and time -> pipe       in a script:     SIGURG -> lua_sethook() -> hooked()
 *        SIGURG -> Lua thread            \-> react(): empties the pipe, collects, trims
 *
 * No lua_State is ever touched by two threads: lua_gc() in told() would race with the script, and lua_sethook() too: since 5.4 it
 * walks the list of running calls. In a signal handler *of the Lua thread* it is meant to be used (the comment above it in ldebug.c).
 * Hooks never run inside finalizers, so lua_gc() is allowed in ours. A coroutine that never yields is not interrupted: its hooks are
 * its own. At Low: a full collection, if it is worth it (effect.h), then malloc_trim(): what Lua freed would stay with malloc.
 *
 * One line a piece of news on standard output, times in microseconds of CLOCK_MONOTONIC, memory in bytes:
 *
 *     ready at=TIME anonymous=BYTES source=NAME
 *     told at=TIME level=low|neutral|high
 *     collected at=TIME before=BYTES after=BYTES took=USEC
 *     kept at=TIME anonymous=BYTES       told Low, but not worth a collection
 */
#include "runtimes/effect.h"
#include "runtimes/host.h"

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
#include <unistd.h>

#define TICK_MSEC 100
#define NAME "psibridge-luahost: "

static const char built_in_script[] =
	"local wanted, cache = tonumber(...), {}\n"
	"while collectgarbage('count') * 1024 < wanted do\n"
	"	cache[#cache + 1] = { id = #cache, page = ('x'):rep(1000) }\n"
	"end\n"
	"cache = nil\n"
	"function tick() end\n";

/* What travels through the pipe: at most PIPE_BUF, so it is written whole or not at all. */
struct news {
	uint64_t at_usec;
	EMemoryAvailable available;
};

static struct {
	struct host host;
	lua_State *lua;
	pthread_t thread;
	int pipe[2];
	struct effect effect; /* of the last collection */
} self;

static volatile sig_atomic_t stopping;

/* ---- told: psibridge's thread ------------------------------------------------------------------ */

static HRESULT told(struct host *unused, EMemoryAvailable available)
{
	struct news news = { .at_usec = now_usec(), .available = available };

	(void)unused;
	/* Does not block. Full means that thousands of news wait there already. */
	if (write(self.pipe[1], &news, sizeof(news)) < 0)
		return errno == EAGAIN ? S_OK : E_UNEXPECTED;
	pthread_kill(self.thread, SIGURG);
	return S_OK;
}

/* ---- react: the Lua thread --------------------------------------------------------------------- */

static void collect(void)
{
	struct effect *effect = &self.effect;
	struct effect_ask ask = {
		.now_usec = now_usec(),
		.bytes = effect_read(effect),
		.apart_usec = EFFECT_APART_USEC,
		.grown_bytes = PSB_GROWN_SHARE,
	};

	if (effect_why_not(effect, &ask)) {
		printf("kept at=%" PRIu64 " anonymous=%" PRIu64 "\n", ask.now_usec, ask.bytes);
		return;
	}
	lua_gc(self.lua, LUA_GCCOLLECT);
	malloc_trim(0);
	effect_collected(effect, ask.now_usec, ask.bytes);
	printf("collected at=%" PRIu64 " before=%" PRIu64 " after=%" PRIu64 " took=%" PRIu64 "\n",
	       effect->collected_usec, effect->before_bytes, effect->after_bytes,
	       effect->took_usec);
}

/* All news is told on, the newest is acted on. */
static void react(void)
{
	static const char *const names[] = { "?", "low", "neutral", "high" };
	struct news news = { .available = 0 };

	while (read(self.pipe[0], &news, sizeof(news)) == (ssize_t)sizeof(news))
		printf("told at=%" PRIu64 " level=%s\n", news.at_usec, names[news.available]);
	if (news.available == eMemoryAvailableLow)
		collect();
}

static void hooked(lua_State *lua, lua_Debug *unused)
{
	(void)unused;
	lua_sethook(lua, NULL, 0, 0);
	react();
}

/* If the script is not running, the hook waits for its next instruction and finds the pipe empty. */
static void on_urg(int unused)
{
	(void)unused;
	lua_sethook(self.lua, hooked, LUA_MASKCOUNT, 1);
}

static void on_term(int unused)
{
	(void)unused;
	stopping = 1;
}

/* ---- the host ---------------------------------------------------------------------------------- */

/* Returns the exit status. */
static int complain(const char *what, const char *why)
{
	fprintf(stderr, NAME "%s: %s\n", what, why);
	return 1;
}

static int start_script(const char *file, uint64_t garbage_bytes)
{
	lua_State *lua = self.lua = luaL_newstate();

	if (!lua)
		return complain("Lua", strerror(ENOMEM));
	luaL_openlibs(lua);
	if (file ? luaL_loadfile(lua, file) : luaL_loadstring(lua, built_in_script))
		return complain("Lua", lua_tostring(lua, -1));
	lua_pushinteger(lua, (lua_Integer)garbage_bytes);
	return lua_pcall(lua, 1, 0, 0) ? complain("Lua", lua_tostring(lua, -1)) : 0;
}

/* From its end on SIGURG may come: the handler has to be there before. */
static int start_bridge(const char *source)
{
	struct sigaction urg = { .sa_handler = on_urg, .sa_flags = SA_RESTART };
	struct psb_watch_options options = { .size = sizeof(options), .source = source };

	sigaction(SIGURG, &urg, NULL);
	self.host.told = told;
	if (host_start(&self.host, NULL, &options) < 0)
		return complain("psibridge", self.host.why);
	if (FAILED(host_register(&self.host, &self.host.callback)))
		return complain("RegisterMemoryNotificationCallback", "refused");
	return 0;
}

static int run(void)
{
	struct psb_source source = { .size = sizeof(source), .name = "none" };
	struct pollfd news = { .fd = self.pipe[0], .events = POLLIN };

	if (self.host.watch)
		psb_watch_source(self.host.watch, &source);
	printf("ready at=%" PRIu64 " anonymous=%" PRIu64 " source=%s\n", now_usec(),
	       effect_read(&self.effect), source.name);
	while (!stopping) {
		if (poll(&news, 1, TICK_MSEC) < 0 && errno != EINTR)
			return complain("poll", strerror(errno));
		react();
		if (lua_getglobal(self.lua, "tick") != LUA_TFUNCTION)
			lua_pop(self.lua, 1);
		else if (lua_pcall(self.lua, 0, 0, 0))
			return complain("Lua", lua_tostring(self.lua, -1));
	}
	return 0;
}

static int usage(FILE *to, int status)
{
	fputs("usage: psibridge-luahost [--no-bridge] [--garbage MB] [--source PATH] [SCRIPT]\n"
	      "  runs SCRIPT (or fills a cache of MB, 200 by default, and drops it), then calls its tick()\n"
	      "  ten times a second until SIGTERM; collects when psibridge says that memory is short\n"
	      "    --no-bridge    do not ask psibridge\n"
	      "    --source PATH  a PSI file, FIFO or socket instead of our own cgroup\n",
	      to);
	return status;
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
	unsigned long garbage_mb = 200;
	const char *source = NULL;
	int bridge = 1, option, r;
	char *end;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
		if (option == 'g') {
			garbage_mb = strtoul(optarg, &end, 10);
			if (*end != '\0' || end == optarg || garbage_mb > 1 << 20)
				return complain(optarg, "not megabytes");
		} else if (option == 's') {
			source = optarg;
		} else if (option == 'n') {
			bridge = 0;
		} else {
			return option == 'h' ? usage(stdout, 0) : usage(stderr, 2);
		}
	}
	if (argc - optind > 1)
		return usage(stderr, 2);

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &term, NULL);
	sigaction(SIGINT, &term, NULL);
	self.thread = pthread_self();
	effect_open(&self.effect);
	if (pipe2(self.pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return complain("pipe", strerror(errno));
	r = start_script(argv[optind], (uint64_t)garbage_mb << 20);
	if (r == 0 && bridge)
		r = start_bridge(source);
	if (r == 0)
		r = run();
	/* In reverse: nothing sends SIGURG after this, so the state may go. */
	host_register(&self.host, NULL);
	host_end(&self.host);
	signal(SIGURG, SIG_IGN);
	if (self.lua)
		lua_close(self.lua);
	return r;
}
