# Sourced by the launch scripts.

refuse() {
  echo "${0##*/}: unknown flag $1; the head of the script lists them." >&2
  exit 2
}

need() {
  echo "${0##*/}: give $1." >&2
  exit 2
}

# A flag of this script behind the command would go to the command.
check_command() {
  local word
  [ $# -gt 0 ] || need 'a command, such as chatjax serve --mesh=model=16'
  for word in "$@"; do
    [ "$word" != --dry_run ] || need '--dry_run before the command, not in it'
  done
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
