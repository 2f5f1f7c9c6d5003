#!/usr/bin/env bash
# Starts a command on machines of a SLURM cluster: one process per GPU.
#   bash scripts/launch_slurm.sh --nodes=2 [--gpus_per_node=8] [--partition=P] \
#       [--time=HH:MM:SS] [--dry_run] chatjax serve --model=... --mesh=model=16
# With --gpus_per_node=0 each machine runs one process, on its CPUs. Within an
# allocation it is used. --dry_run prints the command.
set -euo pipefail
source "$(dirname "$0")/launch.sh"

nodes='' gpus=8 dry_run=
more=()
while [ $# -gt 0 ]; do
  case $1 in
    --nodes=*) nodes=${1#*=} ;;
    --gpus_per_node=*) gpus=${1#*=} ;;
    --partition=* | --time=*) more+=("$1") ;;
    --dry_run) dry_run=1 ;;
    -*) refuse "$1" ;;
    *) break ;;
  esac
  shift
done
case $nodes in '' | *[!0-9]* | 0) need '--nodes=NUMBER' ;; esac
case $gpus in '' | *[!0-9]*) need '--gpus_per_node=NUMBER' ;; esac
check_command "$@"

tasks=1
if [ "$gpus" -gt 0 ]; then
  tasks=$gpus
  more+=("--gpus-per-node=$gpus")
fi
run srun "--nodes=$nodes" "--ntasks-per-node=$tasks" --kill-on-bad-exit=1 \
  --label "${more[@]}" "$@" --distributed
