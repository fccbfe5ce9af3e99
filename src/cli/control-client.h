/* SPDX-License-Identifier: MIT */
/*
 * control-client.h - asking psibridged
 *
 * Over its control socket (src/daemon/control.h has the language): one connection, one request, one
 * answer. The outer shape of an answer is checked before it is handed on; members may still be missing
 * or of another type, the getters then answer 0 and "".
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "psibridge/psibridge.h"

#define CONTROL_SOCKET "/run/psibridge/control"
#define CONTROL_WHY_MAX 1024

/* The option every verb that asks has, and its line for --help. */
#define CONTROL_SETTING(to) ARGS_TEXT("control", "the path of psibridged's control socket", to)
#define CONTROL_HELP "  --control PATH       psibridged's socket [" CONTROL_SOCKET "]\n"

/*
 * `path` NULL: $PSIBRIDGE_CONTROL, or else CONTROL_SOCKET. Takes over the reference of `request`.
 * The answer's owner is the caller. Errors, each with a sentence in why[CONTROL_WHY_MAX]:
 * -ENOENT, -ECONNREFUSED (it is not running), -EACCES, -ETIMEDOUT, -ECONNRESET, -EBADMSG (what
 * listens there is not psibridged, or another version), -EREMOTEIO (psibridged refused; the words
 * are its own), -ENOMEM, and what socket(2) and connect(2) say.
 */
int control_ask(const char *path, json_t *request, uint64_t timeout_usec, json_t **ret, char *why);

#define CONTROL_TIMEOUT_USEC UINT64_C(10000000)

/* Waits until no other process that has called this for the same socket is left, which its end makes so. A user who may not make PATH.lock
 * (beside the service's own socket only root may) does not wait, and is refused later. Errors: -ENOMEM, -EBUSY (in words in why[CONTROL_WHY_MAX]). */
int control_lock(const char *path, uint64_t timeout_usec, char *why);

/* {"verb":"status"}, checked. */
int control_ask_status(const char *path, uint64_t timeout_usec, json_t **ret, char *why);

/* Does a status say that watches failed and none works? Then nothing is known of any level. */
bool control_is_blind(const json_t *status);

/* Does that error mean that psibridged does not run? */
bool control_is_absent(int error);

/* `each` goes through an array of an answer. */
#define EACH_ANSWER(each, object, key) \
	for (size_t _i = 0; ((each) = json_array_get(json_object_get((object), (key)), _i)); _i++)

/* Members of an answer. 0 and "" where they are missing or of another type. */
uint64_t answer_number(const json_t *object, const char *key);
const char *answer_text(const json_t *object, const char *key);
/* "available" of a cgroup or a watch. */
enum psb_available answer_level(const json_t *object);
bool answer_flag(const json_t *object, const char *key);
