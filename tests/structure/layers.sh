#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Who may include whom. The tables below are the house's layers (src/README.md); a quoted include is looked up as the
# compiler does: beside the file, then src/, then include/; from the top for the one file of tests/ that is used by src/.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

complaints()
{
	our_files | grep -E '^(src|include)/.*\.([ch]|cc)$' | (cd "$srcdir" && xargs grep -Hn '^[[:space:]]*#[[:space:]]*include' /dev/null) |
		awk -v part="$1" -v root="$srcdir" '
	BEGIN {
		# layer           may include files of
		may["include/psibridge"] = "include/psibridge"
		may["src/core"]     = "src/core"
		may["src/kernel"]   = "src/core src/kernel"
		may["src/monitor"]  = "include/psibridge src/core src/kernel src/monitor"
		may["src/library"]  = "include/psibridge src/core src/kernel src/monitor src/library"
		may["src/daemon"]   = "include/psibridge src/core src/kernel src/library src/daemon"
		may["src/cli"]      = "include/psibridge src/core src/cli"
		may["src/demo"]     = "include/psibridge src/core src/cli src/demo tests"
		may["src/runtimes"] = "include/psibridge src/runtimes"

		# system header (a pattern)     only in files that match
		only["^liburing"]             = "^src/kernel/loop-uring\\.c$"
		only["^linux/io_uring\\.h$"]  = "^src/kernel/loop-uring\\.c$"
		only["^systemd/"]             = "^src/daemon/"
		only["^n?curses"]             = "^src/cli/top-screen\\.c$"
		only["^(zlib|zstd)"]          = "^src/cli/trace-text\\.c$"
		only["^jansson"]              = "^src/(cli|daemon|demo)/"
		only["^(lua|lauxlib|lualib)"] = "^src/runtimes/lua"
		only["^(nethost|hostfxr|coreclr_delegates)"] = "^src/runtimes/clrhost"
		only["^cmocka"]               = "^$"

		# layer            the only system headers there. None of them leads to a system call.
		system_headers["include/psibridge"] = "^(stddef|stdint)\\.h$"
		system_headers["src/core"] = "^(assert|errno|inttypes|limits|stdarg|stdbool|stddef|stdint|stdio|stdlib|string)\\.h$"
	}
	function exists(path, line, r) {
		if (!(path in known)) {
			r = (getline line < (root "/" path))
			known[path] = r >= 0
			close(root "/" path)
		}
		return known[path]
	}
	function layer_of(path) { sub(/\/[^\/]*$/, "", path); return path }
	{
		split($0, f, ":")
		file = f[1]
		where = f[1] ":" f[2] ": "
		layer = layer_of(file)
		if (!(layer in may)) {
			if (part == "layers")
				print file ": no row in the table for " layer
			next
		}
		text = $0
		sub(/^[^:]*:[^:]*:[ \t]*#[ \t]*include[ \t]*/, "", text)
		name = substr(text, 2)
		sub(/[">].*/, "", name)
		if (text ~ /^</ && name !~ /^psibridge\//) {
			if (part != "system")
				next
			if (layer in system_headers && name !~ system_headers[layer])
				print where layer " may not include <" name ">"
			for (p in only)
				if (name ~ p && file !~ only[p])
					print where "<" name "> may only be included by files like " only[p]
			next
		}
		if (part != "layers")
			next
		if (text ~ /^"/ && exists(layer "/" name))
			target = layer
		else if (exists("src/" name))
			target = layer_of("src/" name)
		else if (exists("include/" name))
			target = layer_of("include/" name)
		else if (exists(name))
			target = layer_of(name)
		else {
			print where "cannot find " name
			next
		}
		if (index(" " may[layer] " ", " " target " ") == 0)
			print where layer " may not use " target " (" name ")"
	}'
}

empty no_file_includes_a_layer_below_its_own complaints layers
empty system_and_foreign_headers_stay_where_they_belong complaints system
done_testing
