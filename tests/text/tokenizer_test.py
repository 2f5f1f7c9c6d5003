"""What holds for every tokenizer, and ids that `transformers` makes."""

import concurrent.futures
import json
import pathlib

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from chatjax.testing import vocabularies
from chatjax.text import tokenizer as tokenizer_lib

GOLDENS = pathlib.Path(__file__).parent / 'goldens'
MODELS = (
  'qwen2.5-coder-0.5b-instruct',
  'smollm2-135m-instruct',
  'gemma-3-270m',
)
FRAGMENTS = (
  '<|im_start|>', '<|im_end|>', '<|endoftext|>', '<|im', '_start|>', '<',
  '|>', '<tool_call>', '</tool_call>', '<start_of_turn>', '<end_of_turn>',
  '<start_of', '_turn>', '<eos>', '<bos>', '<unused7>', '<0x0A>', '<pad>',
  '<start_of_image>', '[multimodal]', '[PAD0]', '[PAD151665]', ' ', 'x', '\n',
  'é', '👩‍👩‍👧', '한국어', '12',
)  # fmt: skip
spelled = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(''.join)
TOKENIZER = tokenizer_lib.from_gguf(vocabularies.bpe_metadata())


def check_ordinary(tokenizer, text):
  ids = tokenizer.encode(text)
  special = set(tokenizer.special_ids.values()) | tokenizer.control_ids
  assert not special & set(ids)
  assert tokenizer.decode(ids) == text


@given(spelled)
def test_text_never_becomes_a_special_token(text):
  check_ordinary(TOKENIZER, text)


@given(st.text().map(lambda t: t.encode('utf-8', 'replace').decode()))
def test_any_text_comes_back_in_normal_form(text):
  once = TOKENIZER.decode(TOKENIZER.encode(text))
  assert TOKENIZER.decode(TOKENIZER.encode(once)) == once


def test_template_spellings_become_their_ids():
  ids = TOKENIZER.encode_template('a<|im_start|><|im_start|<tool_call>')
  start, tag = (
    TOKENIZER.special_ids[s] for s in ('<|im_start|>', '<tool_call>')
  )
  middle = TOKENIZER.encode('<|im_start|')
  assert ids == [*TOKENIZER.encode('a'), start, *middle, tag]


def test_longest_special_spelling_wins():
  metadata = vocabularies.bpe_metadata()
  metadata['tokenizer.ggml.tokens'] += ['<|im_start|>>', '<|']
  metadata['tokenizer.ggml.token_type'] += [3, 3]
  tokenizer = tokenizer_lib.from_gguf(metadata)
  size = tokenizer.vocab_size
  assert tokenizer.encode_template('<|im_start|>>') == [size - 2]
  assert tokenizer.encode_template('<|im_start|') == [
    size - 1,
    *tokenizer.encode('im_start|'),
  ]


def test_a_special_spelling_inside_another_is_not_seen_twice():
  metadata = vocabularies.bpe_metadata()
  metadata['tokenizer.ggml.tokens'] += ['[[x]', '[x]']
  metadata['tokenizer.ggml.token_type'] += [3, 3]
  tokenizer = tokenizer_lib.from_gguf(metadata)
  size = tokenizer.vocab_size
  assert tokenizer.encode_template('[[x][x]') == [size - 2, size - 1]


def test_a_mark_splits_a_spelling_and_vanishes():
  ids = TOKENIZER.encode_template('<\ufdd0|im_end|>', mark='\ufdd0')
  assert ids == TOKENIZER.encode('<|im_end|>')


def test_control_tokens_are_not_visible_and_tags_are():
  end, tag = TOKENIZER.special_ids['<|im_end|>'], '<tool_call>'
  assert TOKENIZER.token_bytes(end) == b''
  assert TOKENIZER.spelling(end) == '<|im_end|>'
  assert TOKENIZER.decode([end, TOKENIZER.special_ids[tag], end]) == tag


def test_ids_that_end():
  assert TOKENIZER.eos_ids == {
    TOKENIZER.special_ids['<|im_end|>'],
    TOKENIZER.special_ids['<|endoftext|>'],
  }
  # The same spelling as an ordinary piece ends nothing.
  metadata = vocabularies.bpe_metadata()
  metadata['tokenizer.ggml.tokens'] += ['<|eot_id|>']
  metadata['tokenizer.ggml.token_type'] += [4]
  assert tokenizer_lib.from_gguf(metadata).eos_ids == TOKENIZER.eos_ids


def test_bos_is_added_only_if_there_is_one():
  assert not TOKENIZER.add_bos
  metadata = vocabularies.bpe_metadata(add_bos_token=True)
  assert tokenizer_lib.from_gguf(metadata).add_bos
  del metadata['tokenizer.ggml.bos_token_id']
  assert not tokenizer_lib.from_gguf(metadata).add_bos


@pytest.mark.parametrize('token_id', [-1, TOKENIZER.vocab_size])
def test_ids_outside_the_vocabulary_are_refused(token_id):
  with pytest.raises(ValueError, match=f'Token id {token_id} is not in'):
    TOKENIZER.token_bytes(token_id)


def test_half_a_surrogate_pair_is_refused():
  for encode in (TOKENIZER.encode, TOKENIZER.encode_template):
    with pytest.raises(ValueError, match='at character 2'):
      encode('ab\ud83d')


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'model': 't5'}, "model is 't5'; supported are gpt2"),
    ({'tokens': []}, 'no tokenizer.ggml.tokens'),
    ({'token_type': [1, 2]}, 'but 2 token types'),
    ({'token_type': [9] * TOKENIZER.vocab_size}, 'Token type 9 is none of'),
    ({'eos_token_id': 10**6}, 'eos_token_id is 1000000; the vocabulary has'),
  ],
)
def test_broken_metadata_is_named(changes, message):
  with pytest.raises(tokenizer_lib.VocabularyError, match=message):
    tokenizer_lib.from_gguf(vocabularies.bpe_metadata(**changes))


def test_threads_share_a_tokenizer():
  texts = [f'hello world {i} ' * 50 for i in range(64)]
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    threaded = list(pool.map(TOKENIZER.encode, texts))
  assert threaded == list(map(TOKENIZER.encode, texts))


@pytest.mark.real_model
@pytest.mark.parametrize('model_id', MODELS)
def test_texts_get_the_ids_of_transformers(model_id, real_tokenizer):
  golden = json.loads((GOLDENS / f'{model_id}.json').read_text())
  tokenizer = real_tokenizer(model_id)
  for case in golden['texts']:
    assert tokenizer.encode(case['text']) == case['ids'], case['text']


@pytest.mark.real_model
@pytest.mark.parametrize('model_id', MODELS)
def test_real_vocabularies_keep_special_tokens_from_text(
  model_id, real_tokenizer
):
  tokenizer = real_tokenizer(model_id)

  @settings(max_examples=200)
  @given(spelled)
  def check(text):
    check_ordinary(tokenizer, text)

  check()


@pytest.mark.real_model
@pytest.mark.parametrize(
  ('model_id', 'ends', 'adds_bos'),
  [
    (MODELS[0], {'<|im_end|>', '<|endoftext|>'}, False),
    (MODELS[1], {'<|im_end|>', '<|endoftext|>'}, False),
    (MODELS[2], {'<eos>', '<end_of_turn>'}, True),
  ],
)
def test_real_ends_and_starts(model_id, ends, adds_bos, real_tokenizer):
  tokenizer = real_tokenizer(model_id)
  assert {tokenizer.spelling(i) for i in tokenizer.eos_ids} == ends
  assert tokenizer.add_bos == adds_bos
