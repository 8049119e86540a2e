# Runs a script in the empty root, under a time limit, and then writes what its stubs recorded.
# Arguments: seconds, lenient or plain, working directory, NAME=VALUE …, and the command.
seconds=$1 manner=$2 where=$3
shift 3
cd "$where" || exit 3
mkdir -p /tmp /records/calls
export BASH_ENV=/ours/startup.sh TOD_MANNER=$manner TOD_DEPTH=0 TOD_LINE=0 TOD_SOURCE=
/usr/bin/timeout -s KILL "$seconds" /usr/bin/env "$@" </dev/null >/dev/null 2>/records/errors
status=$?
printf '%s\0' "$status" "$(tail -c 400 /records/errors | tr -d '\0')"
cat /records/calls/* 2>/dev/null
exit 0
