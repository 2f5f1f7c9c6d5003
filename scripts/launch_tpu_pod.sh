#!/usr/bin/env bash
# Starts a command on all machines of a TPU pod slice.
#   bash scripts/launch_tpu_pod.sh --name=NAME --zone=ZONE [--project=PROJECT] \
#       [--dir=FOLDER] [--dry_run] chatjax serve --model=... --mesh=model=16
# All machines have chatjax in the same FOLDER (default: the home folder).
# --dry_run prints the command.
set -euo pipefail
source "$(dirname "$0")/launch.sh"

name='' dir='' dry_run=
where=()
while [ $# -gt 0 ]; do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=* | --project=*) where+=("$1") ;;
    --dir=*) dir=${1#*=} ;;
    --dry_run) dry_run=1 ;;
    -*) refuse "$1" ;;
    *) break ;;
  esac
  shift
done
[ -n "$name" ] || need '--name=NAME'
[[ " ${where[*]-}" == *' --zone='* ]] || need '--zone=ZONE'
check_command "$@"

command=$(quote "$@" --distributed)
[ -z "$dir" ] || command="cd $(quote "$dir") && $command"
run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all \
  "--command=$command"
