#!/usr/bin/env bash
# A whole cluster on this machine: each role a process of its own, with a pid file and a log.
#
#   bin/cluster.sh start   [-c FILE] [-n collectors=1,coordinators=2,computes=2]
#   bin/cluster.sh status  [-c FILE]
#   bin/cluster.sh restart [-c FILE] [-t SECONDS]      one role after the other, while the rest goes on
#   bin/cluster.sh stop    [-c FILE] [-t SECONDS]
#   bin/cluster.sh logs    [-c FILE] [-f] [NAME...]    -f goes on; NAME as in status: compute-2
#
#   -c FILE       the INI file; otherwise DRTC_CONFIG or conf/cluster.ini
#   -n KIND=N     how many processes of each kind (membership = static: as many as there are addresses)
#   -d DIRECTORY  for pid files and logs; otherwise .drtc/cluster/NAME-OF-THE-INI-FILE beside FILE
#   -t SECONDS    how long a role may take to end; otherwise 45, its own limit for a drain being 30
#
# Exit codes: 0 done, or all is well; 1 a role died, was not drained, did not come up or did not end;
# 2 the command line or the INI file; 3 nothing runs (status, restart); 4 it runs already, or somebody else is at it.
# When every process runs, `status` ends as `drtc status` does.
set -euo pipefail
home=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=bin/environment.sh
. "$home/bin/environment.sh"

declare -A begins # where in its log a process that we have launched begins
up_seconds=60 # for a new process until the cluster has heard from it: an interpreter, a Job's imports, its workers

# refuse CODE WORDS...
refuse() {
    printf '%s: %s\n' "${0##*/}" "${*:2}" >&2
    exit "$1"
}

usage() { sed -n '2,/^set/{/^set/!s/^#\( \|$\)//p}' "$home/bin/cluster.sh"; }

# --- one process; its NAME is ROLE-NUMBER, and what is kept of it NAME.pid, NAME.code and NAME.log ---

# running NAME: its process id. Fails where there is none, also where another program has got its number meanwhile.
running() {
    local pid words=()
    pid=$(cat "$state/$1.pid" 2>/dev/null) && [[ $pid =~ ^[0-9]+$ ]] || return 1
    readarray -d '' words 2>/dev/null <"/proc/$pid/cmdline" || return 1
    [[ " ${words[*]} " == *" ${1%-*} -c $ini --name $1 "* ]] && printf '%s\n' "$pid"
} 2>/dev/null

# launch NAME: a session of its own; a shell stays beside the role to write down with which code it ends.
launch() {
    local words=("$drtc" "${1%-*}" -c "$ini" --name "$1") address
    address=$(address_of "$1")
    [ -z "$address" ] || words+=(--listen "$address")
    rm -f "$state/$1.pid" "$state/$1.code"
    : >>"$state/$1.log"
    begins[$1]=$(wc -c <"$state/$1.log")
    # shellcheck disable=SC2016  # that shell's own variables
    setsid bash -c '"$@" & echo $! >"$0.pid"; exec 2>/dev/null; wait $!; echo $? >"$0.code"' "$state/$1" "${words[@]}" \
        </dev/null >>"$state/$1.log" 2>&1 9>&- &
    until [ -s "$state/$1.pid" ]; do sleep 0.02; done
}

# code_of NAME: with which code its process ended; empty if nobody wrote it down.
code_of() {
    local tries
    for tries in 1 2 3 4 5; do
        [ ! -s "$state/$1.code" ] || break
        [ "$tries" -eq 5 ] || sleep 0.1 # the shell beside it is about to
    done
    cat "$state/$1.code" 2>/dev/null || true
}

# why_gone NAME: in words.
why_gone() {
    local code
    code=$(code_of "$1")
    case $code in
        '') printf 'gone, nobody knows why (a restart of the machine?)' ;;
        129 | 13? | 14? | 15?) printf 'died: signal %s' $((code - 128)) ;;
        *) printf 'ended with exit code %s' "$code" ;;
    esac
}

# last_words NAME [LINES]: of its log, as far as it was written by the process that we have launched, if we have.
last_words() {
    [ ! -f "$state/$1.log" ] || tail -c +"$((${begins[$1]-0} + 1))" "$state/$1.log" | tail -n "${2:-1}" | sed 's/^/    /'
}

# line NAME WORDS...: a line of a report.
line() { printf '%-16s %s\n' "$1" "${*:2}"; }

# --- all of them ---

# started ROLE...: the names of those that were started and not stopped, whether or not they still run.
started() {
    local role path
    for role in "$@"; do
        for path in "$state/$role"-*.pid; do
            [ ! -e "$path" ] || basename "$path" .pid
        done | sort -V
    done
}

# await_members NAME...: until the cluster has heard from each.
await_members() {
    local deadline=$((SECONDS + up_seconds)) name pid heard missing
    while :; do
        heard=$("$drtc" status -c "$ini" --format json 2>/dev/null | tr -d ' ') || true
        missing=()
        for name in "$@"; do
            if ! pid=$(running "$name"); then
                line "$name" "$(why_gone "$name")"
                last_words "$name" 5
                return 1
            fi
            grep -q "\"pid\":${pid}[,}]" <<<"$heard" || missing+=("$name")
        done
        [ ${#missing[@]} -gt 0 ] || return 0
        if [ $SECONDS -ge $deadline ]; then
            for name in "${missing[@]}"; do
                line "$name" "not heard of after $up_seconds s"
                last_words "$name" 5
            done
            return 1
        fi
        sleep 0.2
    done
}

# end NAME...: SIGTERM to all of them at once, and waits. Fails where one was dead, was not drained or goes on.
end() {
    local deadline=$((SECONDS + patience)) name pid dead=" " bad=0
    for name in "$@"; do
        if pid=$(running "$name"); then kill -TERM "$pid" || true; else dead+="$name "; fi
    done
    for name in "$@"; do
        while pid=$(running "$name") && [ $SECONDS -lt $deadline ]; do sleep 0.1; done
        if [ -n "$pid" ]; then
            line "$name" "has not ended after $patience s; kill -9 $pid ends it, and loses nothing"
            bad=1
            continue
        elif [[ $dead == *" $name "* ]]; then
            line "$name" "did not run any more: $(why_gone "$name")"
            bad=1
        elif [ "$(code_of "$name")" != 0 ]; then
            line "$name" "not drained: $(why_gone "$name")"
            last_words "$name"
            bad=1
        else
            line "$name" "drained and ended"
        fi
        rm -f "$state/$name.pid" "$state/$name.code"
    done
    return $bad
}

# The collectors first, so that the others can finish what these have begun.
end_all() {
    local role names bad=0
    for role in collector coordinator compute; do
        readarray -t names < <(started "$role")
        end ${names[@]+"${names[@]}"} || bad=1
    done
    return $bad
}

# addresses ROLE: where each of this role listens, one a line, if the INI file says so (membership = static).
addresses() {
    local found=""
    [ "$membership" = static ] || return 0
    case $1 in
        coordinator) found=$(setting coordinators) ;;
        compute) found=$(setting computes) ;;
    esac
    tr -s ', ' '\n' <<<"$found" | sed '/^$/d'
}

# address_of NAME: its own of these.
address_of() { addresses "${1%-*}" | sed -n "${1##*-}p"; }

# setting KEY: of [cluster], as it is in force.
setting() {
    sed -n '/^\[cluster\]/,/^$/p' <<<"$settings" | sed -n "s/^$1 = \(.*[^ ]\) *; .*/\1/p"
}

# how_many ROLE DEFAULT: what -n says, else one for each address, else the default.
how_many() {
    local given known
    known=$(addresses "$1" | wc -l)
    given=$(tr , '\n' <<<"$counts" | sed -n "s/^${1}s=//p" | tail -n 1)
    [ "$known" -eq 0 ] || [ "${given:-0}" -le "$known" ] ||
        refuse 2 "-n ${1}s=$given: [cluster] ${1}s of $ini has only $known addresses"
    [ "$known" -eq 0 ] || : "${given:=$known}"
    printf '%s\n' "${given:-$2}"
}

check_counts() {
    local each
    for each in ${counts//,/ }; do
        [[ $each =~ ^(collectors|coordinators|computes)=[1-9][0-9]?$ ]] ||
            refuse 2 "-n $each: must read collectors=1,coordinators=2,computes=3, each from 1 to 99"
    done
}

# --- commands ---

start() {
    local name role many number alive=() names=()
    for name in $(started collector coordinator compute); do
        if running "$name" >/dev/null; then alive+=("$name"); fi
    done
    [ ${#alive[@]} -eq 0 ] || refuse 4 "runs already: ${alive[*]}; look with status, then restart or stop"
    for role in coordinator:2 compute:2 collector:1; do
        many=$(how_many "${role%:*}" "${role#*:}")
        for number in $(seq "$many"); do names+=("${role%:*}-$number"); done
    done
    rm -f "$state"/*.pid "$state"/*.code # of processes that are no more
    for name in "${names[@]}"; do launch "$name"; done
    if ! await_members "${names[@]}"; then
        say "not everything came up; stopping the rest"
        end_all || true
        refuse 1 "not started; the logs are in $state"
    fi
    say "started: ${names[*]}"
}

status() {
    local name pid names bad=0
    readarray -t names < <(started coordinator compute collector)
    [ ${#names[@]} -gt 0 ] || refuse 3 "nothing of $ini runs here"
    for name in "${names[@]}"; do
        if pid=$(running "$name"); then
            line "$name" "runs, pid $pid, since $(date -r "$state/$name.pid" '+%F %T')"
        else
            line "$name" "$(why_gone "$name")"
            last_words "$name"
            bad=1
        fi
    done
    say
    "$drtc" status -c "$ini" || [ $bad -ne 0 ] || return $?
    return $bad
}

stop() {
    [ -n "$(started collector coordinator compute)" ] || { say "nothing of $ini runs here"; return; }
    end_all || refuse 1 "not everything was drained; see above and the logs in $state"
}

restart() {
    local name names bad=0
    readarray -t names < <(started compute coordinator collector)
    [ ${#names[@]} -gt 0 ] || refuse 3 "nothing of $ini runs here: start it"
    for name in "${names[@]}"; do
        end "$name" || bad=1
        ! running "$name" >/dev/null || refuse 1 "$name goes on as it was; the others are untouched"
        launch "$name"
        await_members "$name" || refuse 1 "$name did not come up again; the others are untouched"
        line "$name" "runs, pid $(running "$name")"
    done
    [ $bad -eq 0 ] || refuse 1 "everything runs, but not everything was drained before; nothing is lost"
}

logs() {
    local name paths=()
    for name in "$@"; do
        [ -f "$state/$name.log" ] || refuse 2 "there is no log of $name in $state"
        paths+=("$state/$name.log")
    done
    [ $# -gt 0 ] || paths=("$state"/*.log)
    [ -f "${paths[0]}" ] || refuse 3 "there are no logs in $state"
    exec tail -n 20 ${follow:+-F} "${paths[@]}"
}

# --- the command line ---

ini=${DRTC_CONFIG:-$home/conf/cluster.ini} counts="" state="" patience=45 follow=""
command=${1-}
case $command in
    start | stop | restart | status | logs) shift ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
esac
while getopts :c:n:d:t:fh option; do
    case $option in
        c) ini=$OPTARG ;;
        n) counts=$OPTARG ;;
        d) state=$OPTARG ;;
        t) patience=$OPTARG ;;
        f) follow=yes ;;
        h) usage; exit ;;
        :) refuse 2 "-$OPTARG: its value is missing; -h tells" ;;
        *) refuse 2 "-$OPTARG: no such option; -h tells" ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 0 ] || [ "$command" = logs ] || refuse 2 "$1: not expected here; -h tells"
[ -z "$counts" ] || [ "$command" = start ] || refuse 2 "-n: only start takes it"
[[ $patience =~ ^[0-9]+$ ]] || refuse 2 "-t $patience: must be a whole number of seconds"
check_counts
[ -f "$ini" ] || refuse 2 "$ini: no such file"
ini=$(realpath -s "$ini")
[ -n "$state" ] || state=$(dirname "$ini")/.drtc/cluster/$(basename "$ini" .ini)

case $command in
    logs) logs "$@" ;;
    start | stop | restart)
        (umask 077 && mkdir -p "$state") || refuse 1 "$state: cannot be made; name another place: -d DIRECTORY"
        exec 9>"$state/lock"
        flock -n 9 || refuse 4 "another ${0##*/} is at work in $state"
        ;;
esac
drtc=$(find_drtc)
if [ "$command" = start ] || [ "$command" = restart ]; then
    settings=$("$drtc" config -c "$ini") || exit # it has said why, and ends with 2
    membership=$(setting membership)
fi
"$command"
