# Read by every bash of a script before its first line: remembers the line that is at work, so that
# a stub can say who called it; what has no stub is recorded all the same.
trap 'case ${BASH_SOURCE[0]:-} in /ours/*) ;; */*|*.*) export TOD_LINE=$LINENO TOD_SOURCE=${BASH_SOURCE[0]} ;; esac' DEBUG
set -o functrace
command_not_found_handle() { /ours/stub "$@"; }
if [[ ${TOD_MANNER:-plain} == lenient ]]; then
  cd() { builtin cd "$@" 2>/dev/null || return 0; }
  source() { if [[ -e ${1:-} ]]; then builtin source "$@"; else return 0; fi; }
fi
