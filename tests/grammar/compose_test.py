"""Reasoning first, budgets and bad words, against brute force."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

from chatjax import types
from chatjax.grammar import bits
from chatjax.grammar import compose
from tests.grammar import walks

TOKENIZER = walks.merging()
V = TOKENIZER.vocab_size
WORDS = bits.num_words(V)
EOS = TOKENIZER.eos_ids
TAGS = ('<think>', '</think>')  # no tokens of their own
CALLS = ('<tool_call>', '</tool_call>')  # special tokens
SPECIAL = {i: name for name, i in TOKENIZER.special_ids.items()}


def piece(token):
  return SPECIAL.get(token, '').encode() or TOKENIZER.token_bytes(token)


def joined(tokens):
  return b''.join(map(piece, tokens))


def inner():
  return walks.compiled('(yes|no)!?', TOKENIZER, kind='regex').matcher()


def after(tokens):
  """What `inner` allows after these."""
  matcher = inner()
  matcher.advance(tokens)
  return set(walks.allowed(matcher, TOKENIZER))


def tag_end(tokens, close):
  """How many tokens it takes for the tag to be there; None if it is not."""
  for i in range(len(tokens) + 1):
    if close.encode() in joined(tokens[:i]):
      return i
  return None


def oracle(tokens, tags, *, budget=None, is_bound=True):
  """All that may come, where the reasoning is open from the start."""
  close = tags[1]
  end = tag_end(tokens, close)
  if end is not None:
    return after(tokens[end:]) if is_bound else set(range(V))
  if budget is not None and len(tokens) >= budget:
    ids = TOKENIZER.encode_template(close)
    return {ids[len(tokens) - budget]}
  if not is_bound:
    return set(range(V))
  text = joined(tokens)
  return {
    t
    for t in range(V)
    if t not in EOS
    and (
      close.encode() not in text + piece(t)
      or (text + piece(t)).endswith(close.encode())
    )
  }


def draw_tokens(data, allowed_after, most):
  """Some tokens that may come one after another, near the tag's text."""
  near = TOKENIZER.encode('</think>') + TOKENIZER.encode('yes!')
  near += [t for t in range(V) if b'>' in piece(t) or b'</' in piece(t)]
  tokens = []
  for _ in range(data.draw(st.integers(0, most))):
    allowed = sorted(allowed_after(tokens))
    liked = [t for t in near if t in allowed] or allowed
    tokens.append(data.draw(st.sampled_from(liked) | st.sampled_from(allowed)))
  return tokens


def check(make, oracle_of, data, *, most=12):
  """Masks now, ahead and after steps are the oracle's."""
  tokens = draw_tokens(data, oracle_of, most)
  cut = data.draw(st.integers(0, len(tokens)))
  guesses = [*tokens[cut:], *data.draw(st.lists(st.integers(0, V - 1)))]
  guesses = guesses[:8]
  constraint = make()
  steps = data.draw(st.integers(0, cut))
  constraint.advance(tokens[:steps])
  constraint.advance(tokens[steps:cut])
  masks_GW = np.full((len(guesses) + 1, WORDS), 7, np.uint32)
  num = constraint.masks(guesses, masks_GW)
  for i in range(num + 1):
    want = oracle_of([*tokens[:cut], *guesses[:i]])
    assert set(walks.ids_of(masks_GW[i])) == want
  if num < len(guesses):
    assert guesses[num] not in oracle_of([*tokens[:cut], *guesses[:num]])
  forced = list(constraint.forced(8))
  assert constraint.masks(forced, np.zeros((9, WORDS), np.uint32)) == len(
    forced
  )


@settings(max_examples=80, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize('tags', [TAGS, CALLS])
def test_s3_the_grammar_starts_after_reasoning(tags, data):
  check(
    lambda: compose.AfterTag(inner(), TOKENIZER, tags=tags, is_open=True),
    lambda tokens: oracle(tokens, tags),
    data,
  )


@settings(max_examples=80, deadline=None)
@given(data=st.data(), budget=st.integers(0, 4), is_bound=st.booleans())
@pytest.mark.parametrize('tags', [TAGS, CALLS])
def test_a_budget_closes_the_reasoning(tags, data, budget, is_bound):
  check(
    lambda: compose.AfterTag(
      inner() if is_bound else None,
      TOKENIZER,
      tags=tags,
      is_open=True,
      budget=budget,
    ),
    lambda tokens: oracle(tokens, tags, budget=budget, is_bound=is_bound),
    data,
  )


@pytest.mark.parametrize('tags', [TAGS, CALLS])
def test_s3_every_cut_of_the_tag_is_the_tag(tags):
  """Whatever tokens spell it, the answer begins behind it."""
  close = tags[1]
  for start in range(len(close)):
    for end in range(start + 1, len(close) + 1):
      parts = (close[:start], close[start:end], close[end:])
      tokens = TOKENIZER.encode('so<') + [
        t for part in parts for t in TOKENIZER.encode(part)
      ]
      constraint = compose.AfterTag(inner(), TOKENIZER, tags=tags, is_open=True)
      constraint.advance(tokens)
      assert set(walks.allowed(constraint, TOKENIZER)) == after([])


@pytest.mark.parametrize('tags', [TAGS, CALLS])
def test_s3_no_token_ends_the_tag_and_goes_on(tags):
  for end in range(len(tags[1])):
    tokens = TOKENIZER.encode('so<') + TOKENIZER.encode(tags[1][:end])
    constraint = compose.AfterTag(inner(), TOKENIZER, tags=tags, is_open=True)
    constraint.advance(tokens)
    assert set(walks.allowed(constraint, TOKENIZER)) == oracle(tokens, tags)


@pytest.mark.parametrize('tags', [TAGS, CALLS])
@pytest.mark.parametrize('budget', [None, 2])
def test_s3_an_answer_may_begin_with_reasoning(tags, budget):
  ids = TOKENIZER.encode_template(tags[0])
  make = lambda: compose.AfterTag(
    inner(), TOKENIZER, tags=tags, is_open=False, budget=budget
  )
  for i, token in enumerate(ids):
    constraint = make()
    constraint.advance(ids[:i])
    want = {token} | (after([]) if i == 0 else set())
    assert set(walks.allowed(constraint, TOKENIZER)) == want
  constraint = make()
  constraint.advance(ids)
  for drawn in ([], TOKENIZER.encode('x'), TOKENIZER.encode('xy')):
    one = make()
    one.advance([*ids, *drawn])
    want = oracle(drawn, tags, budget=budget)
    assert set(walks.allowed(one, TOKENIZER)) == want
  masks_GW = np.zeros((20, WORDS), np.uint32)
  ahead = [*ids, *TOKENIZER.encode_template(tags[1]), *TOKENIZER.encode('no')]
  if budget is None:
    assert make().masks(ahead, masks_GW) == len(ahead)
    assert '!' in TOKENIZER.decode(walks.ids_of(masks_GW[len(ahead)]))


def test_s3_an_answer_may_begin_without_reasoning():
  constraint = compose.AfterTag(inner(), TOKENIZER, tags=TAGS, is_open=False)
  tokens = TOKENIZER.encode('yes')
  for i, token in enumerate(tokens):
    masks_GW = np.zeros((len(tokens) + 1, WORDS), np.uint32)
    num = constraint.masks(tokens[i:], masks_GW)
    assert num == len(tokens) - i
    if i:
      assert set(walks.ids_of(masks_GW[0])) == after(tokens[:i])
    constraint.advance([token])
  assert set(walks.allowed(constraint, TOKENIZER)) >= EOS


def test_what_looks_like_the_tag_may_be_the_answer():
  """The beginning is held until it is known what it is."""
  make = lambda: compose.AfterTag(
    walks.compiled('<th(is|ere)>', TOKENIZER, kind='regex').matcher(),
    TOKENIZER,
    tags=TAGS,
    is_open=False,
  )
  constraint = make()
  for text in ('<', 't', 'h'):
    constraint.advance(TOKENIZER.encode(text))
  letters = TOKENIZER.decode(walks.allowed(constraint, TOKENIZER))
  assert set('ie') <= set(letters)
  tail = TOKENIZER.encode('is>')
  masks_GW = np.zeros((len(tail) + 1, WORDS), np.uint32)
  assert constraint.masks(tail, masks_GW) == len(tail)
  assert set(walks.ids_of(masks_GW[-1])) == EOS
  constraint.advance(tail)
  assert set(walks.allowed(constraint, TOKENIZER)) == EOS
  reasons = make()
  reasons.advance(TOKENIZER.encode('<think>what?</think><'))
  letters = TOKENIZER.decode(walks.allowed(reasons, TOKENIZER))
  assert letters == 't'


def test_without_a_grammar_all_is_free():
  constraint = compose.AfterTag(
    None, TOKENIZER, tags=TAGS, is_open=False, budget=2
  )
  everything = set(range(V))
  assert set(walks.allowed(constraint, TOKENIZER)) == everything
  constraint.advance(TOKENIZER.encode('a</think>'))
  assert set(walks.allowed(constraint, TOKENIZER)) == everything
  assert constraint.forced(3) == ()


def test_reasoning_is_not_left_in_another_way():
  constraint = compose.AfterTag(inner(), TOKENIZER, tags=TAGS, is_open=True)
  constraint.advance(TOKENIZER.encode('</think'))
  past = next(t for t in range(V) if piece(t) == b'> ')
  for token in (min(EOS), past):
    with pytest.raises(types.ChatjaxError, match=str(token)):
      constraint.advance([token])
  late = compose.AfterTag(None, TOKENIZER, tags=TAGS, is_open=True, budget=0)
  with pytest.raises(types.ChatjaxError, match='closed'):
    late.advance(TOKENIZER.encode('x'))
  assert late.forced(99) == tuple(TOKENIZER.encode_template('</think>'))
  assert late.forced(2) == late.forced(99)[:2]


def without_bad(tokens, words, allowed):
  banned = {
    word[-1]
    for word in words
    if len(word) == 1 or tokens[1 - len(word) :] == list(word[:-1])
  }
  return allowed - banned or allowed


_WORDS = st.lists(
  st.lists(st.integers(0, 3), min_size=1, max_size=3), max_size=4
)


@settings(max_examples=200, deadline=None)
@given(words=_WORDS, data=st.data())
def test_bad_words_are_never_ended(words, data):
  tokens = data.draw(st.lists(st.integers(0, 4), max_size=6))
  guesses = data.draw(st.lists(st.integers(0, 4), max_size=5))
  constraint = compose.BadWords(words)
  constraint.advance(tokens)
  masks_GW = np.zeros((len(guesses) + 1, 1), np.uint32)
  num = constraint.masks(guesses, masks_GW)
  for i in range(num + 1):
    want = without_bad([*tokens, *guesses[:i]], words, set(range(32)))
    assert set(walks.ids_of(masks_GW[i])) == want
  if num < len(guesses):
    assert not bits.has(masks_GW[num], guesses[num])
  assert constraint.forced(3) == ()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bad_words_inside_a_grammar(data):
  words = [TOKENIZER.encode('yes'), TOKENIZER.encode('!')]
  check(
    lambda: compose.BadWords(words, inner()),
    lambda tokens: without_bad(tokens, words, after(tokens)),
    data,
    most=5,
  )


def test_a_grammar_wins_over_a_bad_word():
  word = TOKENIZER.encode('a')
  only = walks.compiled('a', TOKENIZER, kind='regex').matcher()
  constraint = compose.BadWords([word], only)
  assert walks.allowed(constraint, TOKENIZER) == word
  constraint.advance(word)
  assert set(walks.allowed(constraint, TOKENIZER)) == EOS


def test_tables_are_made_once():
  """Before the engine's thread needs them."""

  class Counting:
    def __init__(self):
      self.num_asked = 0

    def __getattr__(self, name):
      return getattr(TOKENIZER, name)

    def token_bytes(self, token):
      self.num_asked += 1
      return TOKENIZER.token_bytes(token)

  tokenizer = Counting()
  compose.prepare(tokenizer, TAGS)
  before = tokenizer.num_asked
  constraint = compose.AfterTag(inner(), tokenizer, tags=TAGS, is_open=True)
  constraint.advance(TOKENIZER.encode('</think'))
  walks.mask_of(constraint, WORDS)
  assert before >= V // 2
  assert tokenizer.num_asked - before < 20
