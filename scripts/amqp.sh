# shellcheck shell=bash
# Speaking to a RabbitMQ without a client; sourced by the scripts beside it.

# At-least-once dead-lettering, on which the retry ladder stands, came with 3.10.
readonly MIN_MAJOR=3 MIN_MINOR=10

# Logs in as guest and prints the version: a port that merely accepts says nothing about a broker that still boots.
# A shell variable cannot hold NUL, so it ends each read and turns into a blank.
probe() (
    export LC_ALL=C
    exec 2>/dev/null
    exec 3<>"/dev/tcp/$1/$2" || exit 1
    printf 'AMQP\000\000\011\001' >&3
    # StartOk: class 10, method 11, no properties, PLAIN, "\0guest\0guest", en_US.
    printf '\001\000\000\000\000\000\044\000\012\000\013\000\000\000\000\005PLAIN\000\000\000\014\000guest\000guest\005en_US\316' >&3
    seen=''
    for _ in {1..200}; do
        IFS= read -r -t 5 -d '' part <&3 || exit 1
        seen+="$part "
        # Tune, class 10 and method 30: guest is in.
        if [[ $seen == *$'\012 \036'* ]]; then
            [[ $seen =~ versionS\ *.([0-9]+\.[0-9]+\.[0-9]+) ]] && echo "${BASH_REMATCH[1]}"
            exit 0
        fi
    done
    exit 1
)

# new_enough VERSION
new_enough() {
    local major minor rest
    IFS=. read -r major minor rest <<<"$1"
    [[ $major =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ ]] || return 1
    ((major > MIN_MAJOR || (major == MIN_MAJOR && minor >= MIN_MINOR)))
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

url_for() { echo "amqp://guest:guest@127.0.0.1:$1/%2f"; }
