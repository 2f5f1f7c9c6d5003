"""The chat page in a browser, against a live server with a scripted model."""

import json
import re
import urllib.parse

import pytest

from chatjax.chat import session as session_lib
from chatjax.chat.parsers import formats
from chatjax.testing import byte_tokenizer
from chatjax.testing import fake_engine
from tests.serve import chrome as chrome_lib
from tests.serve import harness

pytestmark = [
  pytest.mark.skipif(not chrome_lib.PATH, reason='there is no chromium'),
  pytest.mark.slow,
]
MARKDOWN = """# Head
Some **bold**, *slanted* and `code`; snake_case_name stays.

```python
print('<b>')
```

| a | b |
|---|--:|
| 1 | 2 |

1. one
   - inner
2. two

[good](https://example.org/) [bad](javascript:alert(1))

<img src=x onerror="document.title='run'"><script>document.title='run'</script>
"""
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n'
REPLIES = {
  'markdown': MARKDOWN,
  'think': '<think>A hidden thought.</think>Said aloud.',
  'weather?': CALL + '</tool_call>',
  'wide': 'é€ 😀 done',
}
TOOLS = [{'type': 'function', 'function': {'name': 'weather'}}]
KEY = 'sesame'
ENDED = '.answer:last-child[aria-busy=false] .again'


def script(request, choice):
  """A reply to the last line, or one that only the seed decides."""
  del choice
  line = bytes(request.prompt_ids[1:]).decode().splitlines()[-1]
  said = REPLIES.get(line.removeprefix('user: '), f'drawn by {request.seed}')
  if line == 'user: long':
    said = 'word ' * 600
  return [*said.encode(), byte_tokenizer.EOS]


def serve(**args):
  engine_args = {'pause_s': 0.002, 'block': 8, **args.pop('engine', {})}
  session = session_lib.Session(
    fake_engine.FakeEngine(script, **engine_args),
    byte_tokenizer.ByteTokenizer(),
    byte_tokenizer.ByteChatFormat(),
    model_id='tiny',
    sampler_version=1,
    output_format=formats.get('hermes'),
  )
  return harness.Served(session=session, **args)


@pytest.fixture(scope='module')
def served():
  with serve() as one:
    yield one


@pytest.fixture(scope='module')
def chrome(tmp_path_factory):
  with chrome_lib.Chrome(tmp_path_factory.mktemp('profile')) as one:
    yield one


def url(served):
  return f'http://127.0.0.1:{served.port}/'


@pytest.fixture
def open_tab(chrome):
  """Opens tabs with an empty history; all that they fetch must be ours."""
  tabs, origins = [], set()
  del chrome.events[:]

  def open_one(served, **args):
    tab = chrome.tab(url(served), **args)
    tab.run('localStorage.clear()')
    tab.open(url(served))
    tabs.append(tab)
    origins.add(url(served))
    return tab

  yield open_one
  for tab in tabs:
    tab.close()
  for method, told in chrome.events:
    assert method != 'Runtime.exceptionThrown', told
    if method == 'Network.requestWillBeSent':
      asked = urllib.parse.urljoin(told['request']['url'], '/')
      assert asked in origins, told['request']['url']
    if method == 'Log.entryAdded':  # refused requests are logged by Chromium
      assert told['entry']['source'] == 'network', told


@pytest.fixture
def tab(open_tab, served):
  return open_tab(served)


def bodies(chrome):
  """The chat requests that were sent, as text."""
  return [
    told['request']['postData']
    for method, told in chrome.events
    if method == 'Network.requestWillBeSent' and 'postData' in told['request']
  ]


def ask(tab, text, *, waits=True):
  tab.focus('#input')
  tab.type(text)
  tab.press('Enter')
  if waits:
    ended(tab)


def ended(tab):
  tab.wait(f'document.querySelector({ENDED!r})')


def count(tab, selector):
  return tab.run(f'document.querySelectorAll({selector!r}).length')


def test_markdown_grows_as_it_streams(open_tab):
  with serve(engine={'pause_s': 0.02}) as slow:
    tab = open_tab(slow)
    tab.run("""window.seen = []; new MutationObserver(() => seen.push(
      ['strong', 'pre', 'table'].map((tag) => log.querySelectorAll(
        `[aria-busy=true] .markdown ${tag}`).length).join(''),
    )).observe(log, {subtree: true, childList: true})""")
    ask(tab, 'markdown')
    steps = list(dict.fromkeys(tab.run('seen')))
  assert [one for one in steps if one in ('000', '100', '110', '111')] == [
    *('000', '100', '110', '111')
  ]


def test_nothing_of_markdown_runs(tab):
  ask(tab, 'markdown')
  inside = '.answer:last-child .markdown'
  assert tab.text(f'{inside} h3') == 'Head'
  assert tab.text(f'{inside} p') == (
    'Some bold, slanted and code; snake_case_name stays.'
  )
  assert [
    tab.text(f'{inside} {tag}') for tag in ('strong', 'em', 'p code')
  ] == [*('bold', 'slanted', 'code')]
  assert tab.text(f'{inside} pre code') == "print('<b>')"
  assert tab.text(f'{inside} td.right') == '2'
  assert tab.text(f'{inside} ol > li > ul > li') == 'inner'
  assert count(tab, f'{inside} ol > li') == 2
  assert tab.run(f'[...document.querySelectorAll("{inside} a")].map(a =>'
                 '[a.href, a.relList.contains("noopener")])') == [
    ['https://example.org/', True]
  ]  # fmt: skip
  assert count(tab, f'{inside} :is(img, script)') == 0
  assert '<script>' in tab.text(inside)
  assert tab.run('document.title') == 'chatjax'


def test_code_is_copied(tab):
  ask(tab, 'markdown')
  tab.click('.code-block .copy')
  tab.wait('document.querySelector(".code-block .copy").innerText === "Copied"')
  tab.focus('#system')
  tab.run('document.execCommand("paste")')
  tab.press('v', chrome_lib.CTRL, commands=['paste'])
  assert tab.run('document.querySelector("#system").value') == "print('<b>')"


def test_escape_stops(tab, served):
  before = len(served.engine.cancelled)
  ask(tab, 'long', waits=False)
  tab.wait('document.querySelector(".markdown")?.innerText.length > 20')
  assert tab.run('document.querySelector("#send").hidden')
  tab.press('Escape')
  ended(tab)
  assert 'Stopped.' in tab.text('.chips')
  assert len(tab.text('.markdown')) < 2000
  harness.wait_until(lambda: len(served.engine.cancelled) == before + 1)
  ask(tab, 'after the stop')
  assert tab.text('.answer:last-child .markdown').startswith('drawn by')


def test_the_stop_button_stops(tab):
  ask(tab, 'long', waits=False)
  tab.wait('document.querySelector(".markdown")?.innerText.length > 20')
  tab.click('#stop')
  ended(tab)
  assert 'Stopped.' in tab.text('.chips')
  # What was cut off has a beginning to compare with.
  tab.click('.repeat')
  ended(tab)
  assert tab.text('.verdict') == 'The same, as far as it came before'


@pytest.mark.parametrize('seed', ['9007199254740993', '-9223372036854775808'])
def test_seeds_keep_their_64_bits(tab, chrome, seed):
  tab.fill('#seed', seed)
  ask(tab, 'draw')
  assert re.search(rf'"seed":{seed}\b', bodies(chrome)[-1])
  assert tab.text('.markdown') == f'drawn by {seed}'
  assert tab.text('.seed') == f'seed {seed}'


def test_regenerate_with_the_same_seed(tab, chrome):
  tab.fill('#temperature', '0.25')
  ask(tab, 'draw')
  said = tab.text('.markdown')
  assert '"seed"' not in bodies(chrome)[-1]
  # What is set now counts for the next question, not for this one.
  tab.fill('#temperature', '1.5')
  tab.click('.repeat')
  ended(tab)
  first, second = bodies(chrome)[-2:]
  seed = said.removeprefix('drawn by ')
  assert second == f'{first[:-1]},"seed":{seed}}}'
  assert tab.text('.markdown') == said
  assert tab.text('.verdict') == 'The same answer again'
  assert tab.text('.fingerprint') == 'fp_fake'
  tab.click('.again')
  ended(tab)
  assert tab.text('.markdown') != said
  assert json.loads(bodies(chrome)[-1])['temperature'] == 1.5
  assert count(tab, '.answer') == 1
  assert not count(tab, '.verdict')


def test_the_seed_of_an_answer_is_taken_over(tab):
  ask(tab, 'draw')
  seed = tab.text('.seed').removeprefix('seed ')
  tab.click('.seed')
  ask(tab, 'another')
  assert tab.text('.answer:last-child .markdown') == f'drawn by {seed}'


def test_tokens_have_alternatives(tab, chrome):
  tab.click('#logprobs')
  tab.fill('#seed', '7')
  ask(tab, 'draw')
  body = json.loads(bodies(chrome)[-1])
  assert (body['logprobs'], body['top_logprobs']) == (True, 5)
  assert tab.text('.tokens') == 'drawn by 7'
  assert count(tab, '.token') == len('drawn by 7')
  tab.focus('.token')
  tab.press('ArrowRight')
  # The second letter is r, with e^-0.5, e^-1.0 and so on.
  assert tab.run("""Array.from(document.querySelectorAll('#popover tr'),
    (row) => `${row.cells[0].innerText} ${row.cells[2].innerText}`)""") == [
    'r 61 %', 's 37 %', 't 22 %', 'u 14 %', 'v 8.2 %',
  ]  # fmt: skip
  label = tab.run('document.activeElement.getAttribute("aria-label")')
  assert label == 'r, 54 %'
  tab.press('End')
  assert tab.text('#popover').startswith('7')
  tab.press('Escape')
  assert tab.run('document.querySelector("#popover").hidden')
  tab.hover('.token:nth-child(6)')
  assert tab.text('#popover').startswith('␣')
  tab.click('.toggle')
  assert tab.text('.markdown') == 'drawn by 7'


def test_characters_of_several_tokens_are_whole(tab):
  tab.click('#logprobs')
  ask(tab, 'wide')
  shown = tab.text('.tokens').replace('·', '')
  assert shown == REPLIES['wide']
  tab.focus('.token')
  assert tab.text('#popover tr').startswith('c3')


def test_history_outlives_a_reload(tab, served):
  tab.fill('#system', 'Be kind.')
  ask(tab, 'markdown')
  ask(tab, 'second')
  said = tab.text('#log')
  tab.open(url(served))
  assert tab.text('#log') == said
  assert tab.run('document.querySelector("#system").value') == 'Be kind.'
  tab.click('#new-chat')
  assert not tab.text('#log')
  ask(tab, 'another chat')
  titles = 'Array.from(document.querySelectorAll(".title"), (e) => e.innerText)'
  assert tab.run(titles) == ['another chat', 'markdown']
  tab.click('#chat-list li:nth-child(2) .title')
  assert tab.text('#log') == said
  tab.run('window.confirm = () => true')
  tab.click('#chat-list li:nth-child(2) [aria-label^=Delete]')
  assert tab.run(titles) == ['another chat']
  assert not tab.text('#log')


def test_a_full_store_loses_old_chats_first(tab):
  tab.run("""localStorage.setItem('chatjax.chat.old', JSON.stringify({
    id: 'old', title: 'old', updated: 1,
    messages: [{role: 'user', content: 'x'.repeat(5.1e6)}]}))""")
  tab.click('#logprobs')
  ask(tab, 'long')  # its probabilities need more than what is left
  assert tab.run('localStorage.getItem("chatjax.chat.old")') is None
  assert tab.run('document.querySelectorAll(".title").length') == 1


def test_the_conversation_is_sent(tab, chrome):
  tab.fill('#system', 'Be kind.')
  tab.fill('#top_p', '0.9')
  tab.fill('#max_tokens', '5')
  ask(tab, 'first')
  assert 'token limit' in tab.text('.chips')
  ask(tab, 'second')
  body = json.loads(bodies(chrome)[-1])
  assert body == {
    'model': 'tiny',
    'messages': [
      {'role': 'system', 'content': 'Be kind.'},
      {'role': 'user', 'content': 'first'},
      {'role': 'assistant', 'content': 'drawn'},
      {'role': 'user', 'content': 'second'},
    ],
    'top_p': 0.9,
    'max_tokens': 5,
    'stream': True,
    'stream_options': {'include_usage': True},
  }


def test_the_schema_is_sent(tab, chrome):
  tab.fill('#schema', '{"type": "integer"')
  ask(tab, 'number', waits=False)
  assert 'JSON schema' in tab.text('#settings-error')
  assert tab.run('document.activeElement.id') == 'schema'
  assert not bodies(chrome)
  tab.fill('#schema', '{"type": "integer"}')
  tab.focus('#input')
  tab.press('Enter')
  ended(tab)
  assert json.loads(bodies(chrome)[-1])['response_format'] == {
    'type': 'json_schema',
    'json_schema': {
      'name': 'answer', 'schema': {'type': 'integer'}, 'strict': True,
    },
  }  # fmt: skip


def test_what_is_wrong_with_settings_is_said(tab, chrome):
  for field, text in (('temperature', '3'), ('seed', '1.5'), ('tools', 'x')):
    tab.fill(f'#{field}', text)
    ask(tab, 'x', waits=False)
    assert tab.run('document.activeElement.id') == field
    assert tab.run(f'document.querySelector("#{field}").ariaInvalid')
    tab.fill(f'#{field}', ' ')
  assert not bodies(chrome)


def test_refusals_are_told_and_left_out(tab, chrome):
  tab.fill('#seed', '9999999999999999999')
  ask(tab, 'first')
  assert "'seed'" in tab.text('.answer .error')
  tab.fill('#seed', '5')
  ask(tab, 'second')
  sent = json.loads(bodies(chrome)[-1])['messages']
  assert [message['content'] for message in sent] == ['second']
  assert tab.text('.answer:last-child .markdown') == 'drawn by 5'


def test_a_failing_server_is_told(open_tab):
  with serve(engine={'fail_after': 10}) as served:
    tab = open_tab(served)
    ask(tab, 'long')
    assert tab.text('.answer .error')
    assert tab.text('.markdown').startswith('word')
  ask(tab, 'anybody?')
  assert 'cannot be reached' in tab.text('.answer:last-child .error')


def test_reasoning_is_folded(tab):
  ask(tab, 'think')
  assert not tab.run('document.querySelector(".answer details").open')
  assert tab.text('.markdown') == 'Said aloud.'
  tab.focus('.answer summary')
  tab.press('Enter')
  assert tab.text('.reasoning') == 'A hidden thought.'


def test_tools_are_called_and_answered(tab, chrome):
  tab.fill('#tools', json.dumps(TOOLS))
  ask(tab, 'weather?')
  assert tab.text('.calls summary') == 'Calls weather'
  assert not tab.run('document.querySelector(".calls details").open')
  tab.focus('#input')
  tab.type('too early')
  tab.press('Enter')
  assert count(tab, '.user') == 1
  tab.fill('.results textarea', 'sunny')
  tab.click('.results button')
  ended(tab)
  *_, call, result = json.loads(bodies(chrome)[-1])['messages']
  assert call['tool_calls'][0]['function'] == {
    'name': 'weather', 'arguments': '{"city": "Paris"}',
  }  # fmt: skip
  assert result == {
    'role': 'tool', 'tool_call_id': call['tool_calls'][0]['id'],
    'content': 'sunny',
  }  # fmt: skip


def test_the_key_is_asked_for(open_tab):
  with serve(api_keys=[KEY]) as served:
    tab = open_tab(served)
    tab.wait('document.activeElement.id === "key"')
    assert tab.run('document.querySelector("#key-error").hidden')
    tab.type('wrong')
    tab.press('Enter')
    tab.wait('document.querySelector("#key-error").checkVisibility()')
    tab.wait('document.activeElement.id === "key"')
    tab.type(KEY)
    tab.press('Enter')
    tab.wait('document.querySelector("#model").innerText === "tiny"')
    ask(tab, 'draw')
    assert tab.text('.markdown').startswith('drawn by')
    tab.open(url(served))
    assert tab.text('#model') == 'tiny'
    assert KEY not in tab.run('JSON.stringify(localStorage)')


def test_a_keyboard_is_enough(tab):
  assert tab.run('document.activeElement.id') == 'input'
  tab.type('line')
  tab.press('Enter', chrome_lib.SHIFT)
  tab.type('draw')
  assert tab.run('document.querySelector("#input").value') == 'line\ndraw'
  tab.press('Enter')
  ended(tab)
  for selector in ('.seed', '.actions .copy', '.repeat'):
    tab_to(tab, selector, chrome_lib.SHIFT)
  tab.press('Enter')
  tab.wait('document.querySelector(".verdict")')
  for selector in ('#input', '#send', '#seed', '#logprobs', '#reset'):
    tab_to(tab, selector)
    assert tab.run('getComputedStyle(document.activeElement).outlineWidth') == (
      '2px'
    )


def tab_to(tab, selector, modifiers=0):
  for _ in range(40):
    if tab.run(f'document.activeElement.matches({selector!r})'):
      return
    tab.press('Tab', modifiers)
  pytest.fail(f'Tab does not reach {selector}')


def test_controls_have_names(tab):
  ask(tab, 'markdown')
  tree = tab.call('Accessibility.getFullAXTree')['nodes']
  roles = {'button', 'textbox', 'checkbox', 'spinbutton', 'link'}
  controls = [
    node
    for node in tree
    if not node['ignored'] and node['role']['value'] in roles
  ]
  assert len(controls) > 15
  fields = 'Array.from(document.querySelectorAll("input, textarea"))'
  assert tab.run(f'{fields}.filter((e) => !e.labels.length).length') == 0
  for node in controls:
    assert node['name']['value'].strip(), node


@pytest.mark.parametrize('is_dark', [False, True])
def test_a_phone_is_wide_enough(open_tab, served, is_dark):
  tab = open_tab(served, width=360, height=640, is_dark=is_dark)
  ask(tab, 'markdown')
  assert tab.run('document.documentElement.scrollWidth') == 360
  assert not tab.run('document.querySelector("#seed").checkVisibility('
                     '{visibilityProperty: true})')  # fmt: skip
  for drawer, field in (('panel', '#seed'), ('chats', '.title')):
    tab.click(f'#open-{drawer}')
    harness.wait_until(lambda box=field: in_view(tab, box))
    assert tab.run(f'document.activeElement.closest("#{drawer}") !== null')
    tab.press('Escape')
    assert tab.run('document.activeElement.id') == f'open-{drawer}'
    harness.wait_until(lambda box=field: not in_view(tab, box))
  tab.click('#open-panel')
  tab.click('#panel .close')
  ask(tab, 'draw')
  paper = tab.run('getComputedStyle(document.documentElement).backgroundColor')
  assert (sum(map(int, re.findall(r'\d+', paper))) < 200) == is_dark


def in_view(tab, selector):
  """Whether that is what a finger at its place would touch."""
  return tab.run(
    f'(() => {{const e = document.querySelector({selector!r});'
    'const r = e.getBoundingClientRect();'
    'return document.elementFromPoint(r.x + 5, r.y + 5) === e})()'
  )


def test_long_answers_keep_up(tab):
  """Showing a long text again and again costs little."""
  spent_ms, is_kept = tab.run("""(async () => {
    const {show} = await import('/page/markdown.js');
    const container = document.createElement('div');
    const text = 'Some **bold** text.\\n\\n'.repeat(2000);
    const start = performance.now();
    show(container, text.slice(0, 60));
    const first = container.firstChild;  // it may be selected, or focused
    for (let end = 400; end < text.length; end += 400) {
      show(container, text.slice(0, end));
    }
    for (const evil of ['**a ', '[', '`a', '> ', '- ', '|', '_a', '*a **']) {
      show(document.createElement('div'), evil.repeat(10000));
    }
    return [performance.now() - start, container.firstChild === first];
  })()""")
  assert spent_ms < 3000
  assert is_kept
