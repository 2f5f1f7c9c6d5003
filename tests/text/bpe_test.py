"""Byte-level BPE: cuts per `pre`, normal form, broken files."""

import pytest

from chatjax.testing import vocabularies
from chatjax.text import tokenizer as tokenizer_lib
from chatjax.text import vocabulary

# Pieces over every cut that the names of `pre` disagree on.
MERGES = ['a B', '1 2', '12 3', '123 4', 'Ġ 1', '! Ċ', "' L"]


def pieces(pre, text):
  """The text as cut by a tokenizer that merges all it may."""
  metadata = vocabularies.bpe_metadata(pre=pre)
  tokens = metadata['tokenizer.ggml.tokens']
  made = [merge.replace(' ', '') for merge in MERGES]
  metadata['tokenizer.ggml.tokens'] = [*tokens, *made]
  metadata['tokenizer.ggml.token_type'] += [1] * len(made)
  metadata['tokenizer.ggml.merges'] += MERGES
  tokenizer = tokenizer_lib.from_gguf(metadata)
  return [tokenizer.decode([i]) for i in tokenizer.encode(text)]


@pytest.mark.parametrize(
  ('pre', 'cut'),
  [
    ('gpt-2', ['1234', '!', '\n', ' 1', "'", 'L']),
    ('llama-bpe', ['123', '4', '!\n', ' ', '1', "'L"]),
    ('qwen2', ['1', '2', '3', '4', '!\n', ' ', '1', "'L"]),
    ('smollm', ['1', '2', '3', '4', '!', '\n', ' ', '1', "'", 'L']),
  ],
)
def test_cuts(pre, cut):
  assert pieces(pre, "1234!\n 1'L") == cut


@pytest.mark.parametrize(
  ('pre', 'same'),
  [
    ('llama3', 'llama-bpe'), ('llama-v3', 'llama-bpe'),
    ('falcon3', 'llama-bpe'), ('phi-2', 'gpt-2'), ('refact', 'smollm'),
    ('starcoder', 'smollm'),
  ],
)  # fmt: skip
def test_other_names_for_the_same_cut(pre, same):
  text = "1234!\n 1'L"
  assert pieces(pre, text) == pieces(same, text)
  metadata = vocabularies.bpe_metadata(pre=pre)
  del metadata['tokenizer.ggml.add_bos_token']
  assert tokenizer_lib.from_gguf(metadata).add_bos == (same == 'llama-bpe')


def test_a_capital_begins_a_word_of_tekken():
  assert pieces('tekken', "aB12!/ 1'L") == [
    'a', 'B', '1', '2', '!', '/', ' ', '1', "'L",
  ]  # fmt: skip
  assert pieces('llama-bpe', 'aB') == ['aB']


def test_only_qwen_normalizes():
  assert pieces('qwen2', 'e\u0301') == ['é']
  assert ''.join(pieces('gpt-2', 'e\u0301')[:1]) == 'e'


@pytest.mark.parametrize('pre', ['gpt-2', 'llama-bpe'])
def test_user_defined_words_are_ordinary_text(pre):
  metadata = vocabularies.bpe_metadata(pre=pre)
  first = len(metadata['tokenizer.ggml.tokens'])
  metadata['tokenizer.ggml.tokens'] += ['    ', 'ẞ', '[tag]', 'STOP']
  metadata['tokenizer.ggml.token_type'] += [4, 4, 4, 4]
  metadata['tokenizer.ggml.eot_token_id'] = first + 3
  tokenizer = tokenizer_lib.from_gguf(metadata)
  text = 'a    bẞ[tag]'
  a, space, b, eszett, *rest = tokenizer.encode(text)
  assert (space, eszett) == (first, first + 1)
  assert first + 2 not in rest
  assert tokenizer.decode([a, space, b, eszett, *rest]) == text
  assert tokenizer.special_ids['[tag]'] == first + 2
  assert first + 3 not in tokenizer.encode('STOP')
  assert not {'    ', 'ẞ'} & tokenizer.special_ids.keys()


def test_an_unknown_pre_is_an_error():
  metadata = vocabularies.bpe_metadata(pre='no-such')
  with pytest.raises(tokenizer_lib.VocabularyError, match="pre is 'no-such'"):
    tokenizer_lib.from_gguf(metadata)


@pytest.mark.parametrize(
  ('merge', 'message'),
  [
    ('a b c', "'a b c' is not a merge"),
    ('q zz', 'merges do not fit the vocabulary'),
  ],
)
def test_merges_that_do_not_fit(merge, message):
  metadata = vocabularies.bpe_metadata(merges=[merge])
  with pytest.raises(tokenizer_lib.VocabularyError, match=message):
    tokenizer_lib.from_gguf(metadata)


def test_pieces_outside_the_byte_alphabet():
  metadata = vocabularies.bpe_metadata()
  metadata['tokenizer.ggml.tokens'][0] = 'two words'
  with pytest.raises(vocabulary.VocabularyError, match='not byte-level BPE'):
    tokenizer_lib.from_gguf(metadata)


def test_every_byte_has_its_token():
  tokenizer = tokenizer_lib.from_gguf(vocabularies.bpe_metadata())
  single = {
    tokenizer.token_bytes(i)
    for i in range(tokenizer.vocab_size)
    if len(tokenizer.token_bytes(i)) == 1
  }
  assert single == {bytes([byte]) for byte in range(256)}


def test_a_merge_cannot_make_a_special_token():
  """Even a file whose merges spell one out cannot put it into text."""
  metadata = vocabularies.bpe_metadata(merges=['< |', '<| x'])
  metadata['tokenizer.ggml.tokens'] += ['<|x']
  metadata['tokenizer.ggml.token_type'] += [3]
  with pytest.raises(tokenizer_lib.VocabularyError, match='do not fit'):
    tokenizer_lib.from_gguf(metadata)
