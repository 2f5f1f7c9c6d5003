"""The `chatjax` command: finds the subcommand, and ends in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
import importlib
import os
import sys
import traceback

from chatjax import types
from chatjax.cli import flagset

# Name -> what it does. Each is a module `cli/NAME.py` (`cli/A_B.py` for the
# name 'A B'), imported when called: asking for help must not wait for jax.
COMMANDS = {
  'chat': 'Answers one prompt, or talks in the terminal.',
  'serve': 'Serves the OpenAI Chat Completions interface over HTTP.',
  'batch': 'Answers a file of requests; loses none, and none is made twice.',
  'batch merge': 'Puts the results of finished shards together.',
  'bench': 'Measures speed and memory on this machine.',
  'bench serve': 'Measures a server that speaks the interface, over HTTP.',
  'eval': 'Asks a model the items of a local file, and marks its answers.',
  'eval humaneval': 'Has a model write the functions of HumanEval; runs them.',
  'eval compare': 'Compares two evaluations of the same items.',
  'verify': 'Tries the seed contract for a minute; prints a verdict to quote.',
  'replay': 'Draws stored answers again; says whether they are the same.',
  'convert': 'Writes a checkpoint in another form.',
  'models': 'Lists the models and what of them is on this machine.',
  'models show': 'Shows all that is known of one model.',
  'models verify': 'Checks every byte of a model; names what is damaged.',
  'models remove': 'Removes a model from this machine.',
  'version': 'Prints the versions of chatjax and what it stands on.',
}
_INTERRUPTED = 130
_TRACEBACK = 'CHATJAX_TRACEBACK'
_PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a command line (without the program's name); returns the exit code."""
  try:
    code = _dispatch(list(sys.argv[1:] if argv is None else argv))
    sys.stdout.flush()
    return code
  except flagset.UsageError as error:
    return _fail(error, 2)
  except types.ChatjaxError as error:
    return _fail(error, 1)
  except KeyboardInterrupt:
    return _INTERRUPTED
  except BrokenPipeError:
    # The reader of the output is gone, and at exit Python would flush again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _PIPE_CLOSED
  except Exception as error:  # noqa: BLE001 - the last resort
    if os.environ.get(_TRACEBACK):
      traceback.print_exc()
    return _fail(_unexpected(error), 1)


def _dispatch(argv: list[str]) -> int:
  if not argv or argv[0] in ('help', '-h', '-help', '--help'):
    print(_help())
    return 0 if argv else 2
  name, rest = argv[0], argv[1:]
  if name == '--version':
    name = 'version'
  if rest and f'{name} {rest[0]}' in COMMANDS:
    name, rest = f'{name} {rest[0]}', rest[1:]
  if name not in COMMANDS:
    near = flagset.nearest(name, COMMANDS)
    raise flagset.UsageError(
      f'Unknown command {name!r}; there are {", ".join(COMMANDS)}.{near}'
    )
  command = importlib.import_module(f'chatjax.cli.{name.replace(" ", "_")}')
  values = flagset.new()
  command.define(values)
  arguments = flagset.parse(values, rest, command=name)
  if values['help'].value:
    print(flagset.describe(values, command.USAGE, COMMANDS[name]))
    return 0
  return command.run(values, arguments)


def _help() -> str:
  rows = [f'  {name:15}{line}' for name, line in COMMANDS.items()]
  return '\n'.join([
      'chatjax: open-weight chat models in JAX, reproducible bit for bit.', '',
      'usage: chatjax COMMAND [flags]', '', *rows, '',
      'chatjax COMMAND --help lists the flags of a command.',
  ])  # fmt: skip


def _unexpected(error: Exception) -> str:
  text = ' '.join(str(error).split()).rstrip('.')
  return (
    f'Unexpected {type(error).__name__}{": " if text else ""}{text}. Set'
    f' {_TRACEBACK}=1 to see where it comes from.'
  )


def _fail(error: Exception | str, code: int) -> int:
  print(f'chatjax: {error}', file=sys.stderr)
  return code


if __name__ == '__main__':
  sys.exit(main())
