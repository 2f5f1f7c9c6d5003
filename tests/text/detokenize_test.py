"""Streams of ids: cases U1 to U4."""

import functools
import itertools
import random

from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
import pytest

from chatjax.testing import vocabularies
from chatjax.text import detokenize
from chatjax.text import tokenizer as tokenizer_lib

TOKENIZER = tokenizer_lib.from_gguf(vocabularies.bpe_metadata())
MODELS = (
  'qwen2.5-coder-0.5b-instruct',
  'smollm2-135m-instruct',
  'gemma-3-270m',
)
TRICKY = '日本語 👩‍👩‍👧‍👦 👍🏽 🇪🇺 한국어 각 e\u0301 \U0001d539 \u200d\ufeff'


def stream(token_bytes, ids):
  """The text piece by piece, the flushed rest last."""
  detokenizer = detokenize.Detokenizer()
  pieces = [detokenizer.feed(token_bytes(i)) for i in ids]
  return [*pieces, detokenizer.flush()]


def single_byte(token_id):
  return bytes([token_id])


@given(st.lists(st.integers(0, TOKENIZER.vocab_size - 1)))
def test_u1_stream_equals_full_decode(ids):
  pieces = stream(TOKENIZER.token_bytes, ids)
  assert ''.join(pieces) == TOKENIZER.decode(ids)


# Bytes that start, continue and break characters of every length.
border_bytes = st.sampled_from(
  bytes.fromhex('41 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 ed ef f0 f4 f5 ff')
)


@given(st.lists(border_bytes | st.integers(0, 255)))
@example(list(b'\xf0\x9f\x91'))
@example(list(b'\xed\xa0\x80\xe0\x80\x80\xf4\x90\x80\x80'))
def test_u1_bytes(byte_list):
  pieces = stream(single_byte, byte_list)
  assert ''.join(pieces) == bytes(byte_list).decode(errors='replace')


def test_u1_all_short_sequences_of_border_bytes():
  some = bytes.fromhex('41 80 90 a0 c2 e0 ed ef f0 f4 ff')
  for length in (1, 2, 3, 4):
    for sequence in itertools.product(some, repeat=length):
      pieces = stream(single_byte, sequence)
      assert ''.join(pieces) == bytes(sequence).decode(errors='replace')


@functools.cache
def character_starts():
  """All bytes that stand for no character yet but may begin one."""
  points = [*range(0x80, 0xD800, 64), *range(0xE000, 0x110000, 64)]
  encoded = [chr(point).encode() for point in points]
  return {data[:size] for data in encoded for size in range(1, len(data))}


@given(st.lists(border_bytes, max_size=8).map(bytes))
@example(b'\xed\xa0')
@example(b'\xe0\xa0')
def test_held_back_only_while_it_can_become_a_character(data):
  detokenizer = detokenize.Detokenizer()
  seen = ''.join(detokenizer.feed(single_byte(byte)) for byte in data)
  held_lens = [
    n for n in range(1, len(data) + 1) if data[-n:] in character_starts()
  ]
  assert detokenizer.is_open == bool(held_lens)
  out = data[: len(data) - max(held_lens, default=0)]
  assert seen == out.decode(errors='replace')


def test_u2_the_stream_ends_inside_a_character():
  ids = TOKENIZER.encode('a👍')[:-1]
  assert stream(TOKENIZER.token_bytes, ids)[-1] == '\ufffd'
  assert ''.join(stream(TOKENIZER.token_bytes, ids)) == 'a\ufffd'


def test_u4_whole_characters_only():
  ids = list(TRICKY.encode())
  pieces = stream(single_byte, ids)
  assert ''.join(pieces) == TRICKY
  assert '\ufffd' not in ''.join(pieces)
  assert [p for p in pieces if p] == list(TRICKY)


def test_feeding_several_bytes_at_once():
  detokenizer = detokenize.Detokenizer()
  data = TRICKY.encode()
  cut = len(data) // 2
  text = detokenizer.feed(data[:cut]) + detokenizer.feed(data[cut:])
  assert text + detokenizer.flush() == TRICKY


@pytest.mark.real_model
@pytest.mark.parametrize('model_id', MODELS)
def test_real_vocabularies(model_id, real_tokenizer):
  tokenizer = real_tokenizer(model_id)
  assert ''.join(
    stream(tokenizer.token_bytes, tokenizer.encode(TRICKY))
  ) == tokenizer.decode(tokenizer.encode(TRICKY))

  @given(st.randoms(use_true_random=False))
  def check(rng: random.Random):
    ids = [rng.randrange(tokenizer.vocab_size) for _ in range(200)]
    # Byte pieces are few: bring them in.
    ids += tokenizer.encode('\ufffd\U000e0041籙')[: rng.randrange(8)] * 3
    rng.shuffle(ids)
    text = ''.join(stream(tokenizer.token_bytes, ids))
    assert text == tokenizer.decode(ids)

  check()


@pytest.mark.real_model
@pytest.mark.parametrize('model_id', MODELS)
def test_u1_every_token_alone(model_id, real_tokenizer):
  tokenizer = real_tokenizer(model_id)
  for token_id in range(tokenizer.vocab_size):
    pieces = stream(tokenizer.token_bytes, [token_id])
    assert ''.join(pieces) == tokenizer.decode([token_id])
