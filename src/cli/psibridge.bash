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

_psibridge()
{
	local program=$1 word=$2 before=$3 verb=${COMP_WORDS[1]} options
	COMPREPLY=()

	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$(_psibridge_verbs "$program") --help --version" -- "$word")
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
	--source | --host | --control | --output)
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
	--hook)
		mapfile -t COMPREPLY < <(compgen -W 'auto notification profiler startup-hook mono-profiler protocol none' -- "$word")
		return
		;;
	--sort)
		mapfile -t COMPREPLY < <(compgen -W 'some full memory name' -- "$word")
		return
		;;
	--format)
		mapfile -t COMPREPLY < <(compgen -W 'openmetrics prometheus' -- "$word")
		return
		;;
	--pattern | --interval | --early | --low | --critical | --rearm | --quiet | --calm | --count | --duration | --memory | --length | --timeout)
		return
		;;
	esac
	options=$("$program" help "$verb" 2>/dev/null | grep -oE '^  --[a-z-]+')
	[[ $verb != help ]] || options=$(_psibridge_verbs "$program")
	# verbs that take a cgroup or a level as a word of its own
	if [[ $word != -* ]]; then
		case $verb in
		run)
			compopt -o filenames
			mapfile -t COMPREPLY < <(compgen -c -f -- "$word")
			return
			;;
		attach)
			mapfile -t COMPREPLY < <(cd /proc && compgen -G '[1-9]*' | grep "^$word")
			return
			;;
		status | top | metrics)
			_psibridge_cgroups "$word"
			return
			;;
		simulate)
			if ((COMP_CWORD == 2)); then
				options='low neutral high critical'
			else
				_psibridge_cgroups "$word"
				return
			fi
			;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
}

complete -F _psibridge psibridge
