"""A chat model of random weights whose template shows all that it is given."""

import contextlib

from chatjax.chat import format as format_lib
from chatjax.chat import session as session_lib
from chatjax.chat.parsers import formats
from chatjax.engine import engine as engine_lib
from chatjax.store import store as store_lib
from chatjax.testing import byte_tokenizer
from chatjax.testing import tiny

TEMPLATE = (
  '{% for tool in tools or [] %}{{ tool.function.name }}'
  "{{ ' ' + tool.function.description + '\\n' }}{% endfor %}"
  "{% if mood is defined %}mood={{ mood }}{{ '\\n' }}{% endif %}"
  '{% for m in messages %}{{ m.role }}'
  "{% if m.name is defined %}{{ ' ' + m.name }}{% endif %}"
  "{% if m.tool_call_id is defined %}{{ ' for ' + m.tool_call_id }}{% endif %}"
  "{{ ': ' }}"
  '{% if m.reasoning_content is defined %}({{ m.reasoning_content }})'
  '{% endif %}{{ m.content }}'
  '{% for c in m.tool_calls or [] %}'
  '{{ c.id }}={{ c.function.name }}{{ c.function.arguments | tojson }}'
  '{% endfor %}'
  "{{ '\\n' }}{% endfor %}"
  "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
# Answers begin inside of the thoughts, unless that is switched off.
THINKS = (
  '{% if add_generation_prompt and'
  ' (enable_thinking is not defined or enable_thinking) %}'
  "{{ '<think>\\n' }}{% endif %}{# until </think> #}"
)


def engine():
  """One that other tests compile, too."""
  return engine_lib.Engine(tiny.weights('llama', 'int8'), tiny.ENGINE)


def chat_format(tokenizer, *, thinks=False):
  return format_lib.ChatFormat.from_template(
    TEMPLATE + THINKS * thinks,
    bos_token='',
    eos_token='',
    tokenizer=tokenizer,
  )


def session(running, *, thinks=False, store=None):
  """A session on an engine; one that thinks does so from its first token."""
  tokenizer = byte_tokenizer.ByteTokenizer()
  return session_lib.Session(
    running,
    tokenizer,
    chat_format(tokenizer, thinks=thinks),
    model_id='tiny',
    sampler_version=1,
    output_format=formats.get('hermes'),
    open_store=store and (lambda: store_lib.Store.in_file(store)),
  )


@contextlib.contextmanager
def running():
  """An engine that has to be whole and empty at the end."""
  one = engine()
  try:
    yield one
    assert one.error is None
    assert one.num_pages_used == 0
    assert one.num_compilations == 0
  finally:
    one.close()
