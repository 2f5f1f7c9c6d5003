"""Messages to prompt ids."""

import functools
import json
import pathlib

from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
import pytest

from chatjax import types
from chatjax.chat import format as format_lib
from chatjax.chat import sandbox
from chatjax.testing import vocabularies
from chatjax.text import tokenizer as tokenizer_lib

GOLDENS = pathlib.Path(__file__).parent.parent / 'text' / 'goldens'
TOKENIZER = tokenizer_lib.from_gguf(vocabularies.bpe_metadata())
SPECIAL = frozenset(TOKENIZER.special_ids.values())
FRAGMENTS = (
  '<|im_start|>', '<|im_end|>', '<tool_call>', '<|im', '_start|>', '<|im_',
  'start|>', '<', '|>', '>', 'im_start', 'im_end', '|', ' ', '\n', 'hello',
  'user', '\ufdd0', '</tool_call', '<|endoftext|', '\u00e9',
)  # fmt: skip
hostile = st.lists(st.sampled_from(FRAGMENTS), max_size=8).map(''.join)


def make(source=vocabularies.CHATML, tokenizer=TOKENIZER, **other_tokens):
  return format_lib.ChatFormat.from_template(
    source, bos_token='<|endoftext|>', eos_token='<|im_end|>',
    tokenizer=tokenizer, other_tokens=other_tokens,
  )  # fmt: skip


def special_of(ids, tokenizer=TOKENIZER):
  special = set(tokenizer.special_ids.values())
  return [tokenizer.spelling(i) for i in ids if i in special]


CHATML = make()
ONE_TURN = ['<|im_start|>', '<|im_end|>']


@given(st.lists(hostile, min_size=1, max_size=4))
@example(['<|im_', 'start|>'])
def test_only_the_template_makes_special_tokens(contents):
  messages = [{'role': 'user', 'content': text} for text in contents]
  ids = CHATML.encode(messages)
  assert special_of(ids) == ONE_TURN * len(contents) + ['<|im_start|>']
  shown = ''.join(f'user\n{text}\n' for text in contents) + 'assistant\n'
  assert TOKENIZER.decode(ids) == shown


# Templates that put user strings next to each other, next to halves of
# special spellings, trim them, dump them, take them apart and glue them.
NASTY = {
  'adjacent': '{{ m.content }}{{ m.name }}',
  'trimmed': '{{ m.content | trim }}{{ m.name | trim }}',
  'half_before': "{{ '<|im_' }}{{ m.content }}",
  'half_after': "{{ m.content }}{{ '_start|>' }}",
  'around': "{{ '<|' }}{{ m.content }}{{ m.name | trim }}{{ '|>' }}",
  'json': '{{ m | tojson }}{{ m.extra | tojson(ensure_ascii=True) }}',
  'tools': '{{ tools | tojson }}{{ tools[0].name }}{{ m.content }}',
  'glued': "{{ m.content.split('hello') | join('') }}",
  'replaced': "{{ m.content | replace('hello', '') }}{{ word }}",
  'chopped': '{{ m.content[:-1] }}{{ m.name[1:] }}',
}


@pytest.mark.parametrize('name', NASTY)
def test_no_special_token_by_any_template(name):
  source = '{% set m = messages[0] %}' + NASTY[name]
  chat = make(source + "{{ '<|im_end|>' }}{# tools word #}")
  has_tools = 'tools' in NASTY[name]
  options = {'word': '<|im_end|>'} if 'word' in NASTY[name] else {}

  @given(hostile, hostile)
  @example('<|im_', 'start|>')
  @example('<|hello', 'im_end|>')
  @example('<hello|im_end|>', 'x')
  @example('im_', 'start')
  def check(content, other):
    message = {'role': 'user', 'content': content, 'name': other}
    message['extra'] = {other: [content]}
    tools = [{'name': other, 'x': content}] if has_tools else None
    ids = chat.encode([message], tools=tools, **options)
    assert special_of(ids) == ['<|im_end|>']

  check()


def test_without_marks_the_checks_above_would_fail():
  ids = TOKENIZER.encode_template('<|im_start|>user\n<|im_end|>')
  assert special_of(ids) == ONE_TURN


def test_render_shows_what_encode_encodes():
  messages = [{'role': 'user', 'content': 'a <|im_end|> b'}]
  text = CHATML.render(messages)
  assert text == (
    '<|im_start|>user\na <|im_end|> b<|im_end|>\n<|im_start|>assistant\n'
  )
  assert not CHATML.render(messages, add_generation_prompt=False).endswith(
    'assistant\n'
  )


def test_no_mark_is_left_in_escaped_json():
  chat = make('{{ messages[0].content | tojson(ensure_ascii=True) }}')
  messages = [{'role': 'user', 'content': '<a>\u00e9'}]
  assert chat.render(messages) == '"<a>\\u00e9"'


@pytest.mark.parametrize(
  'expression',
  [
    '{{ x }}', '{{ x | string }}', "{{ '' ~ x }}", "{{ '%s' % x }}",
    "{{ '%s' % (x,) }}", "{{ '%r' % x }}", "{{ [x] | join(', ') }}",
    "{{ '{}'.format(x) }}", "{{ '{!r}'.format(x) }}",
    "{{ '%(a)s' % {'a': x} }}", "{{ '{a!s}'.format_map({'a': x}) }}",
    "{{ '%r' | format(x) }}",
    '{{ x | safe }}', "{{ ' ' ~ x | trim }}", '{{ [x][0] }}',
    "{{ ('@%s' % x) | replace('@', '') }}",
  ],
)  # fmt: skip
def test_no_mark_is_left_in_a_printed_container(expression):
  content = 'say "it\'s <b>\\ufdd0" \\\\<|im_end|>\n\u00e9\ufdd1'
  chat = make('{% set x = [messages[0].content, {1: 2}] %}' + expression)
  shown = repr([content, {1: 2}]).replace('\\ufdd1', '\ufdd1')
  text = chat.render([{'role': 'user', 'content': content}])
  assert text.strip() == shown
  assert special_of(chat.encode([{'role': 'user', 'content': content}])) == []


def test_no_mark_is_left_in_a_url_or_a_pretty_print():
  chat = make("{{ messages[0].content | urlencode }}{{ [{'a': x}] | pprint }}")
  messages = [{'role': 'user', 'content': '<b> %EF%B7%90'}]
  assert chat.render(messages, x='<b>') == (
    "%3Cb%3E%20%25EF%25B7%2590[{'a': '<b>'}]"
  )


def test_no_mark_is_left_in_the_repr_of_a_string():
  chat = make("{{ '%r|%s|%d' % (messages[0].content, [], 1) }}")
  assert chat.render([{'role': 'user', 'content': '<b>'}]) == "'<b>'|[]|1"


def test_template_errors_are_the_request_s():
  chat = make("{{ raise_exception('no system role') }}")
  with pytest.raises(types.RequestError, match='no system role') as caught:
    chat.encode([{'role': 'system', 'content': ''}])
  assert (caught.value.param, caught.value.status) == ('messages', 400)
  with pytest.raises(types.RequestError) as caught:
    CHATML.encode([{'role': 'user', 'content': None}])
  assert caught.value.param == 'messages'


def test_a_broken_template_is_found_when_it_is_loaded():
  with pytest.raises(sandbox.TemplateError, match='cannot be compiled'):
    make('{% for %}')


def test_half_a_surrogate_pair_is_the_request_s():
  with pytest.raises(types.RequestError, match='surrogate') as caught:
    CHATML.encode([{'role': 'user', 'content': '\ud800'}])
  assert caught.value.param == 'messages'


def test_unknown_roles_are_refused():
  """A role may stand inside a special spelling: <|{{ role }}|>."""
  with pytest.raises(types.RequestError, match=r'role is .im_start.'):
    make("{{ '<|' + messages[0].role + '|>' }}").encode(
      [{'role': 'im_start', 'content': ''}]
    )


def test_developer_becomes_system_unless_the_template_knows_it():
  messages = [{'role': 'developer', 'content': 'x'}]
  assert CHATML.render(messages).startswith('<|im_start|>system\n')
  aware = make("{{ messages[0].role }}{% if 'developer' %}{% endif %}")
  assert aware.render(messages) == 'developer'


def test_tools_need_a_place():
  tools = [{'type': 'function', 'function': {'name': 'f'}}]
  messages = [{'role': 'user', 'content': 'x'}]
  with pytest.raises(types.RequestError, match='no place for tools') as caught:
    CHATML.encode(messages, tools=tools)
  assert caught.value.param == 'tools'
  chat = make('{{ tools[0].function.name }}')
  assert chat.render(messages, tools=tools) == 'f'


def test_keyword_arguments_must_be_read_by_the_template():
  messages = [{'role': 'user', 'content': 'x'}]
  chat = make('{{ bos_token }}{% if enable_thinking %}think{% endif %}')
  assert chat.render(messages, enable_thinking=True) == '<|endoftext|>think'
  assert chat.render(messages) == '<|endoftext|>'
  for name in ('thinking', 'bos_token', 'raise_exception', 'range'):
    with pytest.raises(types.RequestError, match=r"reads .'enable_t") as caught:
      chat.encode(messages, **{name: '<|im_end|>'})
    assert caught.value.param == 'chat_template_kwargs'


def test_other_tokens_are_the_model_s():
  chat = make('{{ pad_token }}{{ unk_token }}{{ x }}', pad_token='<|im_end|>')
  assert chat.variables == {'unk_token', 'x'}
  messages = [{'role': 'user', 'content': 'x'}]
  assert special_of(chat.encode(messages)) == ['<|im_end|>']
  with pytest.raises(types.RequestError, match='does not read'):
    chat.encode(messages, pad_token='x')


def test_there_are_no_documents_unless_they_are_given():
  chat = make(
    '{% if documents is not none %}{{ documents[0] }}{% else %}none{% endif %}'
  )
  messages = [{'role': 'user', 'content': 'x'}]
  assert chat.render(messages) == 'none'
  assert chat.render(messages, documents=['a']) == 'a'


@pytest.mark.parametrize('bos', ['', '{{ bos_token }}', '{{ bos_token }}' * 3])
@pytest.mark.parametrize('adds_bos', [False, True])
def test_exactly_one_bos(bos, adds_bos):
  metadata = vocabularies.bpe_metadata(add_bos_token=adds_bos)
  metadata['tokenizer.ggml.bos_token_id'] = TOKENIZER.special_ids[
    '<|endoftext|>'
  ]
  tokenizer = tokenizer_lib.from_gguf(metadata)
  chat = make(bos + '{{ messages[0].content }}', tokenizer)
  ids = chat.encode([{'role': 'user', 'content': '<|endoftext|>'}])
  expected = 1 if adds_bos else bos.count('bos_token')
  assert special_of(ids, tokenizer) == ['<|endoftext|>'] * expected
  assert tokenizer.decode(ids) == '<|endoftext|>'


def test_plain_format_is_the_text_itself():
  chat = format_lib.ChatFormat.plain(TOKENIZER)
  messages = [
    {'role': 'system', 'content': 'hello'},
    {'role': 'user', 'content': 'world '},
  ]
  assert chat.render(messages) == '<|endoftext|>hello\nworld '


def test_gemma_format():
  chat = format_lib.ChatFormat.named('gemma', TOKENIZER)
  messages = [
    {'role': 'developer', 'content': 'S'},
    {'role': 'user', 'content': ' a '},
    {'role': 'assistant', 'content': 'b'},
    {'role': 'user', 'content': 'c'},
  ]
  assert chat.render(messages) == (
    '<|endoftext|><start_of_turn>user\nS\n\na<end_of_turn>\n'
    '<start_of_turn>model\nb<end_of_turn>\n'
    '<start_of_turn>user\nc<end_of_turn>\n<start_of_turn>model\n'
  )
  with pytest.raises(types.RequestError, match='must alternate'):
    chat.encode(messages[:2] + messages[3:])


def test_unknown_format_name():
  with pytest.raises(ValueError, match=r'choose one of .*gemma.*plain'):
    format_lib.ChatFormat.named('no', TOKENIZER)


THINKING = """{% for m in messages %}{{ m.role }}:
{%- set content = m.content %}
{%- if m.reasoning_content %}[{{ m.reasoning_content }}]
{%- elif '</think>' in content %}
{%- set parts = content.split('</think>') %}
{%- set content = parts[-1].lstrip('\\n') %}
{%- set thought = parts[0].split('<think>')[-1] %}[{{ thought.strip('\\n') }}]
{%- endif %}{{ content }};{% endfor %}"""


@pytest.mark.parametrize(
  ('content', 'shown'),
  [
    ('<think>\na <b>\n</think>\n\nc', '[a <b>]c'),
    ('a</think>c', '[a]c'),
    ('<think>a', '<think>a'),
    ('<think>a</think>b </think> c', '[a]b </think> c'),
  ],
)
def test_a_template_finds_the_thought_of_an_assistant(content, shown):
  chat = make(THINKING)
  messages = [{'role': 'assistant', 'content': content}]
  assert chat.render(messages) == f'assistant:{shown};'
  messages = [{'role': 'user', 'content': content}]
  assert chat.render(messages) == f'user:{content};'
  messages = [
    {'role': 'assistant', 'content': content, 'reasoning_content': 'r'}
  ]
  assert chat.render(messages) == f'assistant:[r]{content};'


@functools.cache
def real(model_id):
  from chatjax.ckpt import gguf
  from chatjax.models import registry

  with gguf.GGUF.open(registry.fetch_weights(model_id)) as file:
    metadata = file.metadata
  tokenizer = tokenizer_lib.from_gguf(metadata)
  template = metadata['tokenizer.chat_template']
  return tokenizer, make(template, tokenizer)


REAL = ('qwen2.5-coder-0.5b-instruct', 'smollm2-135m-instruct')


@pytest.mark.real_model
@pytest.mark.parametrize('model_id', REAL)
def test_conversations_get_the_ids_of_transformers(model_id):
  golden = json.loads((GOLDENS / f'{model_id}.json').read_text())
  assert len(golden['chats']) >= 20
  _, chat = real(model_id)
  for case in golden['chats']:
    options = {k: v for k, v in case.items() if k not in ('messages', 'ids')}
    assert chat.encode(case['messages'], **options) == case['ids'], case


@pytest.mark.real_model
@pytest.mark.parametrize('model_id', REAL)
def test_real_templates_keep_user_text_ordinary(model_id):
  tokenizer, chat = real(model_id)
  system = {'role': 'system', 'content': 'x'}

  @given(hostile.filter(lambda text: text.strip()))
  def check(text):
    ids = chat.encode([system, {'role': 'user', 'content': text}])
    found = special_of(ids, tokenizer)
    assert found == [*ONE_TURN, *ONE_TURN, '<|im_start|>']
    shown = f'system\nx\nuser\n{text}\nassistant\n'
    assert tokenizer.decode(ids) == shown

  check()


@given(hostile.filter(str.strip), st.sampled_from(['', ' ', '\n']))
def test_a_last_message_is_continued(text, tail):
  messages = [
    {'role': 'user', 'content': text},
    {'role': 'assistant', 'content': text + tail},
  ]
  prompt = CHATML.prompt(messages, continue_final_message=True)
  whole = CHATML.render(messages, add_generation_prompt=False)
  assert prompt.text == f'<|im_start|>user\n{text}<|im_end|>\n' + (
    f'<|im_start|>assistant\n{text}{tail}'
  )
  assert whole.startswith(prompt.text)
  special = special_of(prompt.token_ids)
  assert special == [*ONE_TURN, '<|im_start|>']


def test_what_a_template_trims_stays_trimmed():
  trimming = make('{% for m in messages %}[{{ m.content | trim }}]{% endfor %}')
  messages = [{'role': 'assistant', 'content': 'a '}]
  prompt = trimming.prompt(messages, continue_final_message=True)
  assert prompt.text == '[a'


@pytest.mark.parametrize('content', ['turn', 'of ', ' turn]', 'end of\n'])
@pytest.mark.parametrize('trim', ['', ' | trim', '.rstrip()'])
def test_a_continued_message_ends_before_what_looks_like_it(content, trim):
  source = '{{ messages[0].content' + trim + ' }}\n[end of turn]\n'
  messages = [{'role': 'assistant', 'content': content}]
  prompt = make(source).prompt(messages, continue_final_message=True)
  shown = {'': content, ' | trim': content.strip()}.get(trim, content.rstrip())
  assert prompt.text == shown


def test_what_a_template_changes_is_not_continued():
  messages = [{'role': 'assistant', 'content': 'ab'}]
  for source in ("{{ messages[0].content | replace('b', 'c') }}", '', 'ab'):
    with pytest.raises(types.RequestError, match='changes it'):
      make(source).prompt(messages, continue_final_message=True)


@pytest.mark.parametrize('content', ['', ' \n'])
def test_nothing_cannot_be_continued(content):
  messages = [{'role': 'assistant', 'content': content}]
  with pytest.raises(types.RequestError) as caught:
    CHATML.prompt(messages, continue_final_message=True)
  assert caught.value.param == 'continue_final_message'
