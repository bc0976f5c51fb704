# shellcheck shell=bash
# Shared by the scripts beside it; sourced, never run.

# shellcheck disable=SC2034 # used by the scripts
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# bounded SECONDS COMMAND…: macOS ships no timeout(1), but every system with make has perl.
bounded() {
    if have timeout; then
        timeout -k 5 "$@"
    else
        perl -e 'alarm shift; exec @ARGV or exit 127' "$@"
    fi
}

# until_true TENTHS COMMAND…: polls ten times a second.
until_true() {
    local left=$1
    shift
    until "$@"; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.1
    done
}

# alive PID [WORD]: PID runs, is no zombie, and names WORD in its arguments. Without the word a recycled process
# number could pass for ours.
alive() {
    local state
    [ -n "${1:-}" ] || return 1
    state=$(ps -o stat= -o args= -ww -p "$1" 2>/dev/null) || return 1
    case $state in
    '' | Z*) return 1 ;;
    *"${2:-}"*) return 0 ;;
    *) return 1 ;;
    esac
}

gone() { ! alive "$@"; }

# lock DIR, unlock DIR: mkdir is the one atomic primitive that both Linux and macOS shells have.
lock() {
    local tries=1200 holder
    until mkdir "$1" 2>/dev/null; do
        holder=$(cat "$1/pid" 2>/dev/null || true)
        if [ -n "$holder" ] && gone "$holder"; then
            # Renaming lets exactly one of several waiters clear a dead holder's lock.
            mv "$1" "$1.stale.$$" 2>/dev/null && rm -rf "$1.stale.$$"
            continue
        fi
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die "$1 has been locked by process ${holder:-unknown} for two minutes"
        sleep 0.1
    done
    echo $$ >"$1/pid"
}

unlock() { rm -rf "$1"; }

# as_root COMMAND…: straight away as root, otherwise through sudo where it can ask or need not.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        sudo "$@"
    else
        return 126
    fi
}

# no_services COMMAND…: Debian's packages start their services on installation unless policy-rc.d says no.
no_services() {
    local policy=/usr/sbin/policy-rc.d ours='' status=0
    if [ ! -e "$policy" ]; then
        # shellcheck disable=SC2016 # expanded by the inner shell
        as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >"$0" && chmod 755 "$0"' "$policy" && ours=yes
    fi
    as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive "$@" || status=$?
    [ -z "$ours" ] || as_root rm -f "$policy"
    return "$status"
}

# apt_install PACKAGE…: without recommended packages and without starting anything; 0 only if all are there.
apt_install() {
    local apt=(apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    have apt-get || return 1
    if ! as_root true; then
        say "installing $* needs root: run 'sudo apt-get install --no-install-recommends $*'"
        return 1
    fi
    say "installing $* with apt"
    # Package lists may be missing or old on a fresh machine, so a failure is tried again with new ones.
    no_services "${apt[@]}" install -y --no-install-recommends "$@" >&2 && return 0
    as_root "${apt[@]}" update >&2 || return 1
    no_services "${apt[@]}" install -y --no-install-recommends "$@" >&2
}

# ensure_tool COMMAND PACKAGE…: installs PACKAGE unless COMMAND is there.
ensure_tool() {
    local tool=$1
    shift
    have "$tool" && return 0
    if have apt-get; then
        apt_install "$@" && have "$tool"
    elif have brew; then
        brew install "$1" >&2 && have "$tool"
    else
        return 1
    fi
}

# skip TOOL: a missing tool is worth a loud word on a developer's machine and a failure where the result counts.
skip() {
    say "SKIPPED: $1 is not installed and could not be; what it checks was not checked"
    [ -z "${CI:-}" ]
}

# ensure_python_tool COMMAND REQUIREMENT…: COMMAND in .run/python/bin, installed from PyPI at the version that the
# requirement pins unless it is there already; 0 only if it is there.
ensure_python_tool() {
    local tool=$ROOT/.run/python/bin/$1 mark
    mark=$ROOT/.run/python/$(printf '%s ' "${@:2}" | tr -c 'a-zA-Z0-9._\n-' '_')
    [ ! -e "$mark" ] || return 0
    ensure_tool python3 python3 || return 1
    mkdir -p "$ROOT/.run"
    if [ ! -x "$ROOT/.run/python/bin/pip" ] && ! python3 -m venv "$ROOT/.run/python" >/dev/null 2>&1; then
        rm -rf "$ROOT/.run/python"
        # Debian keeps what venv needs in a package of its own.
        apt_install python3-venv && /usr/bin/python3 -m venv "$ROOT/.run/python" || return 1
    fi
    say "installing ${*:2} with pip"
    bounded 300 "$ROOT/.run/python/bin/pip" install --quiet --disable-pip-version-check "${@:2}" >&2 && [ -e "$tool" ] && touch "$mark"
}
