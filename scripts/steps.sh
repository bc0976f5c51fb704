# shellcheck shell=bash
# Steps of a check, one summary at their end: sourced by scripts/check and scripts/check-quick, never run. Wants lib.sh.

# What a step ends with that cannot be had on this machine; it has said why.
readonly SKIPPED=77
# Of what a failed step said, repeated at the very end: a page or two for each.
readonly REPEATED_LINES=150
said=$(mktemp -d "${TMPDIR:-/tmp}/hookbro-check.XXXXXX")
trap 'rm -rf "$said"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# One line a step, in a file for each process that runs steps.
summary=$said/summary.$$
beside=''
: >"$summary"

# step NAME COMMAND…: runs it and notes how it ended; a failing step does not hide the later ones.
step() {
    local name=$1 began=$SECONDS status=0 log
    log="$said/log $1"
    shift
    printf '\n== %s\n' "$name"
    # Not a pipe, which would wait for whatever the step left running.
    "$@" > >(tee "$log") 2>&1 || status=$?
    case $status in
    0) printf 'ok      %4d s  %s\n' $((SECONDS - began)) "$name" ;;
    "$SKIPPED") printf 'SKIPPED %4d s  %s\n' $((SECONDS - began)) "$name" ;;
    *)
        : >"$said/failed $name"
        printf 'FAILED  %4d s  %s (exit %d)\n' $((SECONDS - began)) "$name" "$status"
        ;;
    esac >>"$said/summary.$BASHPID"
}

# alongside FUNCTION: runs it, with its steps, while the caller goes on with its own; `together` waits for it. What it says
# is shown then, so that the words of two steps do not mix.
alongside() {
    (
        trap - EXIT
        "$1"
    ) >"$said/alongside.output" 2>&1 &
    beside=$!
}

together() {
    local status=0
    [ -n "$beside" ] || return 0
    wait "$beside" || status=$?
    cat "$said/alongside.output"
    cat "$said/summary.$beside" >>"$summary"
    [ "$status" = 0 ] || printf 'FAILED     0 s  the steps alongside broke off (exit %d)\n' "$status" >>"$summary"
    beside=''
}

# The end: what went wrong, where nobody has to look for it (from a test run its failures, else the last lines), the summary,
# and the verdict.
conclude() {
    local log failed
    together
    for failed in "$said"/failed*; do
        [ -e "$failed" ] || continue
        printf '\n== %s\n' "${failed##*/}"
        log="$said/log ${failed##*/failed }"
        if grep -q '^failures:$' "$log"; then
            sed -n '/^failures:$/,$p' "$log" | head -n "$REPEATED_LINES"
        else
            tail -n "$REPEATED_LINES" "$log"
        fi
    done
    printf '\n'
    cat "$summary"
    failed=$(grep -c '^FAILED' "$summary" || true)
    if [ "$failed" -gt 0 ]; then die "$failed of $(wc -l <"$summary") steps failed"; fi
}

# Settings of the person at the keyboard would change what the tests see.
without_settings() {
    local name
    for name in $(compgen -e HOOKBRO__ || true); do unset "$name"; done
}
