"""SentencePiece rebuilt from GGUF metadata against the model itself."""

from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest
import sentencepiece

from chatjax.text import tokenizer as tokenizer_lib

FRAGMENTS = (
  'the', ' fox', '  ', '   ', '\n', '<b>', '</b>', '<end_of_turn>', 'ü', '日',
  'dog', '<0x41>', '<s>', '<unk>', '\t', '👍',
)  # fmt: skip
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=10).map(''.join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts)
def test_same_ids_as_the_model_it_was_made_of(trained_spm, text):
  model, metadata = trained_spm
  original = sentencepiece.SentencePieceProcessor(model_proto=model)
  assert build(metadata).encode(text) == original.encode(text)


_BUILT = {}


def build(metadata):
  key = metadata['tokenizer.ggml.add_space_prefix']
  if key not in _BUILT:
    _BUILT[key] = tokenizer_lib.from_gguf(metadata)
  return _BUILT[key]


def test_decode_is_the_join_of_the_bytes(trained_spm):
  _, metadata = trained_spm
  tokenizer = build(metadata)
  text = 'the fox  日本\n'
  # The space that a dummy prefix adds stays: it is one of the tokens' bytes.
  prefix = ' ' * metadata['tokenizer.ggml.add_space_prefix']
  ids = tokenizer.encode(text)
  assert tokenizer.decode(ids) == prefix + text
  assert b''.join(map(tokenizer.token_bytes, ids)).decode() == prefix + text


def test_control_pieces_only_by_template(trained_spm):
  _, metadata = trained_spm
  tokenizer = build(metadata)
  end = tokenizer.special_ids['<end_of_turn>']
  assert tokenizer.encode_template('<end_of_turn>') == [end]
  assert end not in tokenizer.encode('<end_of_turn>')
  assert tokenizer.eos_ids == {2, end}
  assert '<b>' not in tokenizer.special_ids


TAGS = ('<|im_start|>', '<|im_end|>', '<call>')


@pytest.mark.parametrize('key', ['chat_template', 'chat_template.tool_use'])
def test_user_defined_tags_only_by_template(trained_spm, key):
  """Converters call all added tokens user defined that are not special."""
  _, metadata = trained_spm
  start, end, call = range(len(metadata['tokenizer.ggml.tokens']), 333)
  changed = metadata | {f'tokenizer.{key}': "{{ '<call>' }} <|im_start|>"}
  more = {'tokens': TAGS, 'scores': [0] * 3, 'token_type': [4] * 3}
  for name, values in more.items():
    changed[f'tokenizer.ggml.{name}'] = [
      *metadata[f'tokenizer.ggml.{name}'], *values,
    ]  # fmt: skip
  tokenizer = tokenizer_lib.from_gguf(changed)
  plain = tokenizer.encode('the fox')
  assert tokenizer.encode_template('<|im_start|>the fox<call><|im_end|>') == [
    start, *plain, call, end,
  ]  # fmt: skip
  for tag in TAGS:
    assert not {start, end, call} & set(tokenizer.encode(f'a {tag}b'))
  # What ends a turn does not show; other tags do, as calls do.
  assert tokenizer.eos_ids == {2, tokenizer.special_ids['<end_of_turn>'], end}
  assert tokenizer.decode([end, call]) == '<call>'
  assert '<b>' not in tokenizer.special_ids


def test_unknown_piece_by_id(trained_spm):
  """Gemma's file calls its unknown piece a control piece."""
  _, metadata = trained_spm
  kinds = list(metadata['tokenizer.ggml.token_type'])
  kinds[0] = 3
  changed = metadata | {'tokenizer.ggml.token_type': kinds}
  with pytest.raises(tokenizer_lib.VocabularyError, match='no unknown piece'):
    tokenizer_lib.from_gguf(changed)
  changed['tokenizer.ggml.unknown_token_id'] = 0
  text = 'the fox 日'
  ids = tokenizer_lib.from_gguf(changed).encode(text)
  assert ids == build(metadata).encode(text)


def test_missing_scores_and_bytes(trained_spm):
  _, metadata = trained_spm
  with pytest.raises(tokenizer_lib.VocabularyError, match='but no scores'):
    tokenizer_lib.from_gguf(metadata | {'tokenizer.ggml.scores': None})
  kinds = list(metadata['tokenizer.ggml.token_type'])
  kinds[kinds.index(6)] = 5
  with pytest.raises(tokenizer_lib.VocabularyError, match='255 byte pieces'):
    tokenizer_lib.from_gguf(metadata | {'tokenizer.ggml.token_type': kinds})
