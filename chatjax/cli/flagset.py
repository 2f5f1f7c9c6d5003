"""The flags of one command: absl's, but in a set of their own.

absl's global set holds the flags of every imported module; a set per command
knows the command's own and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
import difflib
import os
import pathlib
import re
import textwrap

from absl import flags

from chatjax import types

_WIDTH = 79
# How help spells what absl calls them.
_VALUES = {'int': 'N', 'float': 'X', 'string': 'TEXT', 'strings': 'LIST'}


class UsageError(types.ChatjaxError):
  """A command line that cannot be run as it stands: exit code 2."""


def new() -> flags.FlagValues:
  """An empty set. Flags may follow the other arguments; `--` ends them."""
  values = flags.FlagValues()
  values.set_gnu_getopt(True)
  flags.DEFINE_boolean(
    'help', False, 'Shows this.', short_name='h', flag_values=values
  )
  return values


def parse(
  values: flags.FlagValues, argv: Sequence[str], *, command: str
) -> list[str]:
  """Reads the flags and returns the other arguments.

  Raises:
    UsageError: an unknown flag or a wrong value.
  """
  for text in argv[: argv.index('--') if '--' in argv else None]:
    if text.startswith(('-=', '--=')):  # absl passes over it
      raise UsageError(f'{text!r} is a flag without a name.')
  try:
    return values([command, *argv])[1:]
  except flags.UnrecognizedFlagError as error:
    name = error.flagname.lstrip('-')
    near = nearest(name, _names(values), prefix='--')
    raise UsageError(
      f'Unknown flag --{name}.{near} Run chatjax {command} --help for a list.'
    ) from None
  except flags.IllegalFlagValueError as error:
    raise UsageError(_wrong_value(values, str(error))) from None
  except (flags.Error, ValueError) as error:  # ValueError: --nohelp=1
    raise UsageError(f'{str(error).rstrip(".")}.') from None


def nearest(name: str, known: Iterable[str], *, prefix: str = '') -> str:
  """' Did you mean X?' for a name that is nearly right, '' otherwise."""
  near = difflib.get_close_matches(name, list(known), n=1)
  return f' Did you mean {prefix}{near[0]}?' if near else ''


def describe(values: flags.FlagValues, usage: str, summary: str) -> str:
  """The help text of a command."""
  lines = [summary, '', f'usage: {usage}', '', 'flags:']
  for name in _names(values):
    flag = values[name]
    lines.append(f'  {_spelling(flag)}')
    lines += textwrap.wrap(
      _meaning(flag), _WIDTH, initial_indent=' ' * 6, subsequent_indent=' ' * 6
    )
  return '\n'.join(lines)


def _names(values: flags.FlagValues) -> list[str]:
  """In the order of their definition, without short names."""
  return [name for name in values if values[name].name == name]


def _spelling(flag: flags.Flag) -> str:
  if flag.boolean:
    return f'--[no]{flag.name}' if flag.name != 'help' else '-h, --help'
  choices = getattr(flag.parser, 'enum_values', None)
  value = '|'.join(choices) if choices else flag.flag_type().split()[-1]
  value = _VALUES.get(value, value)
  return f'--{flag.name}={value}'


def _meaning(flag: flags.Flag) -> str:
  text = ' '.join(flag.help.split())
  # What absl adds is said by the spelling.
  text = text.removesuffix('; repeat this option to specify a list of values')
  text = re.sub('^<[^>]*>: ', '', text)
  text = text if text.endswith('.') else f'{text}.'
  if flag.default in (None, '') or flag.boolean:
    return text
  return f'{text} Default: {flag.default_as_str.strip(chr(39))}.'


def _wrong_value(values: flags.FlagValues, message: str) -> str:
  """What absl says about a value, without Python's own words."""
  found = re.match(r'flag --(\w+)=(.*?): ', message, re.DOTALL)
  if found is None or found[1] not in values:
    return f'{message.rstrip(".")}.'
  flag = values[found[1]]
  choices = getattr(flag.parser, 'enum_values', None)
  if choices:
    allowed = f'one of {", ".join(choices)}'
  else:
    allowed = flag.parser.syntactic_help or 'true or false'
  return f'Flag --{flag.name}={found[2]} is not {allowed}.'


def path(given: str) -> pathlib.Path:
  """The path of a flag: a shell leaves the '~' of --output=~/x alone."""
  return pathlib.Path(os.path.expanduser(given))


def refuse(arguments: Sequence[str]) -> None:
  """For commands that take flags alone.

  Raises:
    UsageError: there are other arguments.
  """
  if arguments:
    raise UsageError(f'Unexpected argument {arguments[0]!r}; give only flags.')
