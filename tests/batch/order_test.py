"""In which order requests are asked."""

import hypothesis
from hypothesis import strategies as st

from chatjax.batch import lines
from chatjax.batch import order

CONTEXT = 4096
FIELDS = ('messages', 'prompt', 'n', 'max_tokens', 'tools', 'cache_salt')
ODD = (
  *(None, True, -1, 0, 3, 2.5, 10**30, 'x', 'y' * 3000, [], [1, 2], {}, [{}]),
  *(['a', 'b'], [['a']], [{'role': 1, 'content': ['x']}], 'not a list'),
)


def item(line, text, **body):
  body = {'messages': [{'role': 'user', 'content': text}], **body}
  asked = lines.Asked(custom_id='x', url=lines.CHAT, body=body)
  return order.item(line, 0, 'k', asked, context=CONTEXT)


def arranged(*items):
  return [one.line for one in order.arrange(items)]


def test_the_longest_goes_first():
  assert arranged(
    item(0, 'a', max_tokens=5),
    item(1, 'b', max_completion_tokens=50),
    item(2, 'c'),
    item(3, 'd', max_tokens=20, n=4),
  ) == [2, 3, 1, 0]


def test_a_long_prompt_is_some_work_too():
  assert arranged(
    item(0, 'a', max_tokens=5), item(1, 'b' * 4000, max_tokens=5)
  ) == [1, 0]


def test_what_begins_alike_goes_together():
  one, other = 'one ' * 400, 'two ' * 400
  items = [
    item(0, one + 'a', max_tokens=10),
    item(1, other + 'a', max_tokens=90),
    item(2, one + 'b', max_tokens=100),
    item(3, other + 'b', max_tokens=20),
    item(4, 'short', max_tokens=50),
  ]
  assert arranged(*items) == [2, 0, 1, 3, 4]


def test_a_short_beginning_makes_no_group():
  system = [{'role': 'system', 'content': 'be kind ' * 80}]
  items = [
    item(
      i,
      '',
      messages=[*system, {'role': 'user', 'content': f'{i} ' * 1000}],
      max_tokens=i,
    )
    for i in range(1, 5)
  ]
  assert arranged(*items) == [4, 3, 2, 1]


def test_salts_and_tools_are_of_the_beginning():
  long = 'x' * 2000
  items = [
    item(0, long, cache_salt='a' * 2000, max_tokens=9),
    item(1, long, cache_salt='b' * 2000, max_tokens=8),
    item(2, long, cache_salt='a' * 2000, max_tokens=1),
  ]
  assert arranged(*items) == [0, 2, 1]


@hypothesis.settings(deadline=None)
@hypothesis.given(
  st.lists(
    st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(ODD)), max_size=12
  )
)
def test_nothing_is_lost_whatever_is_asked(bodies):
  items = [
    order.item(
      line, 0, 'k',
      lines.Asked(custom_id='x', url=lines.CHAT, body=body), context=CONTEXT,
    )
    for line, body in enumerate(bodies)
  ]  # fmt: skip
  assert sorted(arranged(*items)) == list(range(len(bodies)))
