"""`tokenizer.model` of hub folders against the library that wrote it."""

import pytest
import sentencepiece

from chatjax.text import hub
from chatjax.text import spm_file
from chatjax.text import tokenizer as tokenizer_lib

TEXTS = ('the fox', ' the  dog\n日本', '', '<b>x</b>', '<s> <0x0A> fox 👍')


def build(model, *, size=340, added=None, **config):
  files = hub.Files(
    tokenizer={}, tokenizer_config=config, generation_config={}, config={},
    vocab_size=size, template='{{ "<call>" }}',
  )  # fmt: skip
  return spm_file.build(model, files, added or {})


def test_ids_of_the_library(trained_spm):
  model, _ = trained_spm
  original = sentencepiece.SentencePieceProcessor(model_proto=model)
  tokenizer = build(model)
  for text in TEXTS:
    ids = original.encode(text)
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids).lstrip(' ') == text.lstrip(' ')


def test_the_same_as_a_gguf_file(trained_spm):
  model, metadata = trained_spm
  ours, theirs = build(model, size=330), tokenizer_lib.from_gguf(metadata)
  assert ours.special_ids.items() >= theirs.special_ids.items()
  assert ours.special_ids.keys() - theirs.special_ids == {'<unk>'}
  assert (ours.bos_id, ours.add_bos) == (theirs.bos_id, theirs.add_bos)
  assert ours.eos_ids == theirs.eos_ids
  assert ours.control_ids == theirs.control_ids
  turn = '<start_of_turn>the fox<end_of_turn>\n <b>'
  assert ours.encode_template(turn) == theirs.encode_template(turn)
  for i in range(330):
    assert ours.token_bytes(i) == theirs.token_bytes(i)


def test_added_tokens(trained_spm):
  model, _ = trained_spm
  decoder = {
    '331': {'content': '<|end|>', 'special': True, 'rstrip': True},
    '332': {'content': 'NEW'},
  }
  tokenizer = build(
    model, added={'<call>': 330, '<|end|>': 331}, eos_token='<|end|>',
    add_bos_token=False, added_tokens_decoder=decoder,
  )  # fmt: skip
  assert not tokenizer.add_bos
  assert tokenizer.eos_ids == {331, tokenizer.special_ids['<end_of_turn>']}
  fox = tokenizer.encode('the fox')
  ids = tokenizer.encode_template('<call>the fox<|end|>\n the fox')
  assert ids == [330, *fox, 331, *fox]
  assert not {330, 331} & set(tokenizer.encode('a <call> <|end|>'))
  assert 332 in tokenizer.encode('a NEW b')
  assert tokenizer.decode([330, 331, 332, 333]) == '<call>NEW'


def test_spaces_before_later_text(trained_spm):
  model, _ = trained_spm
  text = '<end_of_turn>the fox'
  _, *later = build(model, legacy=False).encode_template(text)
  assert build(model, legacy=False).decode(later) == 'the fox'
  _, *legacy = build(model).encode_template(text)
  assert legacy == build(model).encode('the fox')


@pytest.mark.parametrize(
  ('model', 'message'),
  [
    (b'', 'is not of SentencePiece'),
    (b'IQ== 0\nIg== 1', 'not of SentencePiece'),
  ],
)
def test_files_that_are_none(model, message):
  with pytest.raises(hub.VocabularyError, match=message):
    build(model)


def test_a_piece_twice(trained_spm):
  with pytest.raises(hub.VocabularyError, match='SentencePiece cannot use'):
    build(trained_spm[0], added={'the': 330, '<x>': 331, '▁the': 332})


def test_more_pieces_than_the_model_has(trained_spm):
  with pytest.raises(hub.VocabularyError, match='the model has embeddings'):
    build(trained_spm[0], size=300)
