# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# bash completion for psibridge(1): verbs and options as the program itself lists them, and what is on this machine
# (cgroups, units, processes)

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

_psibridge_verbs()
{
	"$1" help 2>/dev/null | grep -oE '^  [a-z]+'
}

_psibridge_pids()
{
	cd /proc && compgen -G '[1-9]*'
}

_psibridge()
{
	local program=$1 word=$2 before=$3 verb=${COMP_WORDS[1]} words
	COMPREPLY=()

	if ((COMP_CWORD == 1)); then
		before=verb
	fi
	case $before in
	verb) words="$(_psibridge_verbs "$program") --help --version" ;;
	--cgroup)
		_psibridge_cgroups "$word"
		return
		;;
	--unit) words=$(systemctl list-units --no-legend --plain --all -t service,slice,scope 2>/dev/null | cut -d ' ' -f 1) ;;
	--pid) words=$(_psibridge_pids) ;;
	--source | --host | --control | -o | --output | --trace)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--rung) words='1 2 3 4 5 6' ;;
	--headroom) words='off 10 25 50' ;;
	--descendants | --shadow) words='yes no' ;;
	--forecast) words='off 1s 2s 5s' ;;
	--hook) words='auto notification profiler startup-hook mono-profiler protocol none' ;;
	--memory-high) words='80% 90% 95%' ;;
	--for) words='trim shed restart' ;;
	--at-most) words='1/h 4/h 60/h' ;;
	--before-limit) words='1s 5s 30s' ;;
	--sort) words='some full memory name' ;;
	--format) words='openmetrics prometheus' ;;
	--pattern | --interval | --early | --low | --critical | --beside | --rearm | --quiet | --calm | --count | --at | --duration | --memory | --length | --timeout)
		return
		;;
	*)
		words=$("$program" help "$verb" 2>/dev/null | grep -oE '^  --[a-z-]+')
		# verbs that take a word of its own
		case $verb,$COMP_CWORD,$word in
		help,*) words=$(_psibridge_verbs "$program") ;;
		*,-*) ;;
		run,*)
			compopt -o filenames
			mapfile -t COMPREPLY < <(compgen -c -f -- "$word")
			return
			;;
		attach,*) words=$(_psibridge_pids) ;;
		simulate,2,*) words='low neutral high critical' ;;
		replay,2,* | tune,2,* | report,*)
			compopt -o filenames
			mapfile -t COMPREPLY < <(compgen -f -- "$word")
			[[ $verb != tune ]] || _psibridge_cgroups "$word"
			return
			;;
		status,* | top,* | metrics,* | simulate,* | set,* | record,* | replay,* | tune,* | why,*)
			_psibridge_cgroups "$word"
			return
			;;
		esac
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _psibridge psibridge
