# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# bash completion for psibridge(1): verbs, options, and what stands on this machine (cgroups, units, processes)

_psibridge_cgroups()
{
	local mount
	mount=$(awk '{ for (i = 7; i < NF; i++) if ($i == "-" && $(i + 1) == "cgroup2") { print $5; exit } }' /proc/self/mountinfo)
	[[ $mount ]] || return
	compopt -o nospace -o filenames
	local path
	while IFS= read -r path; do
		path=${path#"$mount"/}
		COMPREPLY+=("${path%/}")
	done < <(compgen -d -S / -- "$mount/${1#/}")
}

_psibridge()
{
	local word=$2 before=$3 verb=${COMP_WORDS[1]} options
	local target='--cgroup --unit --pid --source --pattern --rung --early --low --critical --rearm --quiet --calm --headroom'
	COMPREPLY=()

	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W 'watch doctor demo help --help --version' -- "$word")
		return
	fi
	case $before in
	--cgroup)
		_psibridge_cgroups "$word"
		return
		;;
	--unit)
		mapfile -t COMPREPLY < <(compgen -W "$(systemctl list-units --no-legend --plain --all -t service,slice,scope 2>/dev/null | cut -d ' ' -f 1)" -- "$word")
		return
		;;
	--pid)
		mapfile -t COMPREPLY < <(cd /proc && compgen -G '[1-9]*' | grep "^$word")
		return
		;;
	--source | --host)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--rung)
		mapfile -t COMPREPLY < <(compgen -W '1 2 3 4 5 6' -- "$word")
		return
		;;
	--headroom)
		mapfile -t COMPREPLY < <(compgen -W 'off 10 25 50' -- "$word")
		return
		;;
	--pattern | --early | --low | --critical | --rearm | --quiet | --calm | --count | --duration | --memory | --length)
		return
		;;
	esac
	case $verb in
	watch) options="$target --json --count --duration --help" ;;
	doctor) options="$target --json --help" ;;
	demo) options='--json --memory --length --simulate --host --help' ;;
	help) options='watch doctor demo' ;;
	*) return ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
}

complete -F _psibridge psibridge
