/* SPDX-License-Identifier: MIT */
/*
 * trace-text.c - bytes of a file --> unpacked --> lines
 *
 * All that could be unpacked before damage, or before an early end, is there before the error is: an archive library gives up
 * its whole block, which is all of a small trace, so zlib and libzstd are called directly. Packed parts may follow one another.
 */
#include "cli/trace-text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

struct trace_text {
	int fd;
	enum { FORM_UNKNOWN, FORM_PLAIN, FORM_GZIP, FORM_ZSTD } form;
	bool ended;  /* nothing more can be read */
	bool inside; /* of something packed, whose end did not come */
	bool skips;  /* up to the next newline */
	int error;
	const char *why;
	z_stream gzip;
	ZSTD_DStream *zstd;
	size_t in_at, in_end, at, end; /* what is left of in[] and of text[] */
	unsigned char in[16384];
	char text[TRACE_TEXT_LINE_MAX + 1];
};

int trace_text_open(struct trace_text **ret, const char *path)
{
	struct trace_text *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (t->fd < 0) {
		int r = -errno;

		free(t);
		return r;
	}
	*ret = t;
	return 0;
}

struct trace_text *trace_text_close(struct trace_text *t)
{
	if (!t)
		return NULL;
	if (t->fd != STDIN_FILENO)
		close(t->fd);
	if (t->form == FORM_GZIP)
		inflateEnd(&t->gzip);
	ZSTD_freeDStream(t->zstd);
	free(t);
	return NULL;
}

static void fail(struct trace_text *t, int error, const char *why)
{
	t->error = error;
	t->why = why;
}

/* ---- unpacking ----------------------------------------------------------------------------------- */

/* What could be read of `room` bytes; 0: nothing more can be. */
static size_t take(struct trace_text *t, void *to, size_t room)
{
	ssize_t n;

	do
		n = read(t->fd, to, room);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		fail(t, -errno, strerror(errno));
	t->ended = n <= 0;
	return n > 0 ? (size_t)n : 0;
}

static void refill(struct trace_text *t)
{
	memmove(t->in, t->in + t->in_at, t->in_end - t->in_at);
	t->in_end -= t->in_at;
	t->in_at = 0;
	t->in_end += take(t, t->in + t->in_end, sizeof(t->in) - t->in_end);
}

/* RFC 1952 and RFC 8878: their first bytes. */
static void recognise(struct trace_text *t)
{
	static const unsigned char gzip[] = { 0x1f, 0x8b, 8 }, zstd[] = { 0x28, 0xb5, 0x2f, 0xfd };

	while (t->in_end < sizeof(zstd) && !t->ended)
		refill(t);
	t->form = FORM_PLAIN;
	if (t->in_end >= sizeof(gzip) && memcmp(t->in, gzip, sizeof(gzip)) == 0) {
		if (inflateInit2(&t->gzip, MAX_WBITS + 16) == Z_OK)
			t->form = FORM_GZIP;
		else
			fail(t, -ENOMEM, strerror(ENOMEM));
	} else if (t->in_end >= sizeof(zstd) && memcmp(t->in, zstd, sizeof(zstd)) == 0) {
		t->form = FORM_ZSTD;
		t->zstd = ZSTD_createDStream();
		if (!t->zstd)
			fail(t, -ENOMEM, strerror(ENOMEM));
	}
}

static size_t unpack_gzip(struct trace_text *t, char *to, size_t room)
{
	z_stream *z = &t->gzip;
	int r;

	if (!t->inside)
		inflateReset(z);
	z->next_in = t->in + t->in_at;
	z->avail_in = (uInt)(t->in_end - t->in_at);
	z->next_out = (unsigned char *)to;
	z->avail_out = (uInt)room;
	r = inflate(z, Z_NO_FLUSH);
	t->in_at = t->in_end - z->avail_in;
	t->inside = r != Z_STREAM_END;
	if (r != Z_STREAM_END && r != Z_OK && r != Z_BUF_ERROR)
		fail(t, -EBADMSG, "what is packed with gzip is damaged from here on");
	return room - z->avail_out;
}

static size_t unpack_zstd(struct trace_text *t, char *to, size_t room)
{
	ZSTD_inBuffer in = { t->in, t->in_end, t->in_at };
	ZSTD_outBuffer out = { to, room, 0 };
	size_t r = ZSTD_decompressStream(t->zstd, &out, &in);

	t->in_at = in.pos;
	t->inside = r != 0;
	if (ZSTD_isError(r))
		fail(t, -EBADMSG, "what is packed with zstd is damaged from here on");
	return out.pos;
}

/* At most `room` bytes more; 0: there are none, and t->error says whether that is an error. */
static size_t more(struct trace_text *t, char *to, size_t room)
{
	size_t n = 0;

	if (t->form == FORM_UNKNOWN)
		recognise(t);
	if (t->form == FORM_PLAIN && t->in_at == t->in_end && !t->ended && t->error == 0)
		return take(t, to, room);
	while (n == 0 && t->error == 0) {
		if (t->in_at == t->in_end && !t->ended)
			refill(t);
		if (t->in_at == t->in_end && !t->inside)
			break;
		if (t->form == FORM_GZIP) {
			n = unpack_gzip(t, to, room);
		} else if (t->form == FORM_ZSTD) {
			n = unpack_zstd(t, to, room);
		} else {
			n = MIN(room, t->in_end - t->in_at);
			memcpy(to, t->in + t->in_at, n);
			t->in_at += n;
		}
		if (n == 0 && t->inside && t->in_at == t->in_end && t->ended && t->error == 0)
			fail(t, -EBADMSG, "what is packed ends early");
	}
	return n;
}

/* ---- lines --------------------------------------------------------------------------------------- */

int trace_text_line(struct trace_text *t, struct scan *ret, bool *ret_whole, const char **ret_why)
{
	size_t seen = 0, n;
	char *newline;

	for (;;) {
		newline = memchr(t->text + t->at + seen, '\n', t->end - t->at - seen);
		if (newline && !t->skips)
			break;
		if (newline) {
			t->at = (size_t)(newline + 1 - t->text);
			seen = 0;
			t->skips = false;
			continue;
		}
		if (t->skips)
			t->at = t->end;
		seen = t->end - t->at;
		memmove(t->text, t->text + t->at, seen);
		t->at = 0;
		t->end = seen;
		if (seen == sizeof(t->text)) {
			t->skips = true;
			return scan_refuse(-E2BIG, "a line of more than 65536 bytes", ret_why);
		}
		n = more(t, t->text + t->end, sizeof(t->text) - t->end);
		t->end += n;
		if (n == 0)
			break;
	}
	if (!newline && t->error != 0)
		return scan_refuse(t->error, t->why, ret_why);
	n = newline ? (size_t)(newline - t->text) - t->at : t->end;
	*ret = (struct scan){ t->text + t->at, n };
	*ret_whole = newline;
	t->at = newline ? t->at + n + 1 : t->end;
	return newline || n > 0;
}

/* ---- JSON ---------------------------------------------------------------------------------------- */

bool trace_text_is_json(struct trace_text *t)
{
	struct scan s;

	if (t->end == 0)
		t->end = more(t, t->text, sizeof(t->text));
	s = (struct scan){ t->text, t->end };
	while (scan_blanks(&s) || scan_word(&s, "\r") || scan_word(&s, "\n"))
		;
	if (!scan_word(&s, "{"))
		return scan_word(&s, "[");
	while (scan_blanks(&s) || scan_word(&s, "\r") || scan_word(&s, "\n"))
		;
	return scan_word(&s, "\"");
}

size_t trace_text_read(void *buffer, size_t size, void *userdata)
{
	struct trace_text *t = userdata;
	size_t n = MIN(size, t->end - t->at);

	if (n == 0) {
		n = more(t, buffer, size);
		return n == 0 && t->error != 0 ? (size_t)-1 : n;
	}
	memcpy(buffer, t->text + t->at, n);
	t->at += n;
	return n;
}

const char *trace_text_why(const struct trace_text *t)
{
	return t->why;
}
