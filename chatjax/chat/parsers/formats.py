"""The output formats, by name."""

from __future__ import annotations

from collections.abc import Mapping
import types as builtin_types

from chatjax import types
from chatjax.chat.parsers import deepseek
from chatjax.chat.parsers import gemma
from chatjax.chat.parsers import harmony
from chatjax.chat.parsers import hermes
from chatjax.chat.parsers import llama_json
from chatjax.chat.parsers import mistral
from chatjax.chat.parsers import output_format
from chatjax.chat.parsers import plain
from chatjax.chat.parsers import pythonic

OutputFormat = output_format.OutputFormat

FORMATS: Mapping[str, OutputFormat] = builtin_types.MappingProxyType(
  {
    each.name: each
    for each in (
      *(hermes.FORMAT, llama_json.FORMAT, pythonic.FORMAT, pythonic.LFM),
      *(mistral.FORMAT, mistral.FORMAT_V11),
      *(gemma.FORMAT, harmony.FORMAT),
      *(deepseek.FORMAT, deepseek.FORMAT_V31, plain.PLAIN, plain.THINK),
    )
  }
)

# All marks must be in a template for its format to be taken; first match wins.
_MARKS = (
  (('<|start|>', '<|channel|>'), 'harmony'),
  (('<|tool_call>call:',), 'gemma'),
  ((deepseek.OPEN, '```json'), 'deepseek'),
  ((deepseek.OPEN,), 'deepseek_v31'),
  (('[TOOL_CALLS]', '[ARGS]'), 'mistral_v11'),
  (('[TOOL_CALLS]',), 'mistral'),
  (('<|tool_call_start|>[',), 'lfm'),
  (('<function=', '<think>'), 'think'),
  (('<function=',), 'plain'),
  (('<tool_call>', '"arguments"'), 'hermes'),
  (('func_name1(params_name1=',), 'pythonic'),
  (('"parameters": ', 'ipython'), 'llama_json'),
  (('<|python_tag|>',), 'llama_json'),
  (('<think>',), 'think'),
)


def get(name: str) -> OutputFormat:
  """A format by its name.

  Raises:
    types.ChatjaxError: there is none of that name.
  """
  if name not in FORMATS:
    raise types.ChatjaxError(
      f'Unknown output format {name!r}; choose one of {sorted(FORMATS)}.'
    )
  return FORMATS[name]


def detect(template_source: str) -> str:
  """The name of the format that a chat template speaks of."""
  # A string of Jinja may escape its quotes.
  source = template_source.replace('\\"', '"')
  for marks, name in _MARKS:
    if all(mark in source for mark in marks):
      return name
  return 'plain'
