"""Config files and overrides: where a `config.Config` comes from.

A config file is ordinary Python with a `get_config() -> Config`; overrides are
typed: `apply_overrides(config, ['engine.max_rows=4'])`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import difflib
import pathlib
import runpy
import traceback
import types as builtin_types
import typing
from typing import Any
from typing import Literal

from chatjax import config as config_lib


def load_config(path: str | pathlib.Path) -> config_lib.Config:
  """Runs a config file and returns what its `get_config()` returns.

  Raises:
    config.ConfigError: it cannot be read, fails, or returns something else;
      the message names the file, and the line where it failed.
  """
  if not pathlib.Path(path).is_file():
    raise config_lib.ConfigError(f'Config file {str(path)!r} does not exist.')
  try:
    get_config = runpy.run_path(str(path)).get('get_config')
    config = get_config() if callable(get_config) else None
  except Exception as error:  # a program of others fails in any way
    raise config_lib.ConfigError(
      f'Config file {str(path)!r}{_place(error, str(path))}: {_reason(error)}.'
    ) from error
  if not callable(get_config):
    raise config_lib.ConfigError(f'{path} defines no get_config() function.')
  if not isinstance(config, config_lib.Config):
    raise config_lib.ConfigError(
      f'get_config() of {path} returned {type(config).__name__}, not'
      ' chatjax.config.Config.'
    )
  return config


def _place(error: Exception, path: str) -> str:
  """Where in the file something went wrong: ', line 3'."""
  frames = traceback.extract_tb(error.__traceback__)
  lines = [frame.lineno for frame in frames if frame.filename == path]
  if isinstance(error, SyntaxError) and error.filename == path:
    lines.append(error.lineno)
  return f', line {lines[-1]}' if lines and lines[-1] else ''


def _reason(error: Exception) -> str:
  """One clause."""
  if isinstance(error, SyntaxError):
    return f'it is not Python ({error.msg})'
  text = ' '.join(str(error).split()).rstrip('.')
  if isinstance(error, config_lib.ConfigError):
    return text
  return f'{type(error).__name__}: {text}' if text else type(error).__name__


def apply_overrides(
  config: config_lib.Config, overrides: Sequence[str]
) -> config_lib.Config:
  """Applies `dotted.name=value` strings, checked against the field types.

  All at once: two that are valid only together may come in any order. Of two
  for the same field the later one counts.
  """
  changes: dict[str, Any] = {}
  for override in overrides:
    name, separator, text = override.partition('=')
    if not separator:
      raise config_lib.ConfigError(
        f'--set={override!r} is not of the form name=value.'
      )
    _collect(changes, config, name.strip().split('.'), text=text, name=name)
  return _replace(config, changes)


def _collect(
  changes: dict[str, Any], node: Any, path: list[str], *, text: str, name: str
) -> None:
  """Adds one field's new value to the nested changes of a config."""
  fields = {field.name for field in dataclasses.fields(node)}
  if path[0] not in fields:
    near = difflib.get_close_matches(path[0], fields, n=1)
    hint = f'; did you mean {near[0]!r}?' if near else '.'
    raise config_lib.ConfigError(
      f'Unknown config field {name!r}: {type(node).__name__} has'
      f' {", ".join(sorted(fields))}{hint}'
    )
  old = getattr(node, path[0])
  if dataclasses.is_dataclass(old):
    if len(path) == 1:
      raise config_lib.ConfigError(
        f'{name!r} is a group; set one of its fields.'
      )
    below = changes.setdefault(path[0], {})
    _collect(below, old, path[1:], text=text, name=name)
  elif len(path) > 1:
    raise config_lib.ConfigError(
      f'Config field {name!r} has no parts below {path[0]!r}.'
    )
  else:
    hints = typing.get_type_hints(type(node))
    changes[path[0]] = _parse(text, hints[path[0]], name)


def _replace(node: Any, changes: Mapping[str, Any]) -> Any:
  new = {}
  for name, change in changes.items():
    old = getattr(node, name)
    is_group = dataclasses.is_dataclass(old)
    new[name] = _replace(old, change) if is_group else change
  return dataclasses.replace(node, **new)


def _parse(text: str, hint: Any, name: str) -> Any:
  """Reads `text` as a value of the annotated type, or says what is allowed."""
  options = typing.get_args(hint)
  if typing.get_origin(hint) is Literal:
    if text not in options:
      raise config_lib.ConfigError(
        f'{name}={text!r} is not one of {", ".join(options)}.'
      )
    return text
  if typing.get_origin(hint) is builtin_types.UnionType:
    if text == 'None':
      return None
    hint = next(option for option in options if option is not type(None))
  if hint is str:
    return text
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError, MemoryError, RecursionError):
    value = None
  if hint is float and type(value) is int:
    value = float(value)
  if type(value) is not hint:
    raise config_lib.ConfigError(
      f'{name}={text!r} is not of type {hint.__name__}.'
    )
  return value
