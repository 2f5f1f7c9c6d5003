# Sourced by the launch scripts.

refuse() {
  echo "${0##*/}: unknown flag $1; the head of the script lists them." >&2
  exit 2
}

need() {
  echo "${0##*/}: give $1." >&2
  exit 2
}

# Words as a shell reads them again.
quote() {
  local words
  printf -v words '%q ' "$@"
  printf '%s' "${words% }"
}

# Runs a command, or prints it with --dry_run.
run() {
  if [ -n "$dry_run" ]; then
    quote "$@"
    echo
  else
    "$@"
  fi
}

# Waits for children; ends with the first exit code that is not 0.
wait_for_all() {
  local child code=0
  for child in "$@"; do
    wait "$child" || code=${code/#0/$?}
  done
  return "$code"
}
