#!/usr/bin/env bash
# Starts one process of a command on each of some machines, over ssh.
#   bash scripts/launch_hosts.sh --hosts=a,b [--port=8476] [--dir=FOLDER] \
#       [--dry_run] chatjax serve --model=... --mesh=model=16
# The first machine leads: it answers HTTP. All have chatjax in the same FOLDER
# (default: the one that ssh begins in). --dry_run prints the commands.
set -euo pipefail
source "$(dirname "$0")/launch.sh"

hosts='' port=8476 dir='' dry_run=
while [ $# -gt 0 ]; do
  case $1 in
    --hosts=*) hosts=${1#*=} ;;
    --port=*) port=${1#*=} ;;
    --dir=*) dir=${1#*=} ;;
    --dry_run) dry_run=1 ;;
    -*) refuse "$1" ;;
    *) break ;;
  esac
  shift
done
[ -n "$hosts" ] || need '--hosts=a,b'
check_command "$@"

IFS=, read -ra names <<<"$hosts"
leader=${names[0]#*@}
children=()
trap 'kill "${children[@]}" 2>/dev/null || true' INT TERM
for i in "${!names[@]}"; do
  command=$(quote "$@" "--coordinator=$leader:$port" \
    "--num_processes=${#names[@]}" "--process_id=$i")
  [ -z "$dir" ] || command="cd $(quote "$dir") && $command"
  command="CHATJAX_LEADER=$leader; export CHATJAX_LEADER; $command"
  # A terminal of its own: the command ends when this script does.
  run ssh -tt "${names[i]}" "$command" </dev/null &
  children+=($!)
  # The lines of a dry run shall stand in order.
  [ -z "$dry_run" ] || wait $!
done
[ -n "$dry_run" ] || wait_for_all "${children[@]}"
