"""Vocabularies: real ones by model id, and a small SentencePiece one."""

import functools
import io

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from chatjax.text import tokenizer as tokenizer_lib

CORPUS = (
  'the quick brown fox jumps over the lazy dog',
  'the dog sleeps  and the fox   runs over the hill',
  'what the fox says the dog does not hear',
  'über die Brücke läuft der Fuchs',
)


@functools.cache
def _metadata(model_id):
  from chatjax.ckpt import gguf
  from chatjax.models import registry

  path = registry.fetch_weights(model_id, accept_license=True)
  with gguf.GGUF.open(path) as file:
    return file.metadata


@pytest.fixture(scope='session')
def gguf_metadata():
  """A function from model id to the metadata of its weight file."""
  return _metadata


@functools.cache
def _real_tokenizer(model_id):
  return tokenizer_lib.from_gguf(_metadata(model_id))


@pytest.fixture(scope='session')
def real_tokenizer():
  """A function from model id to its tokenizer."""
  return _real_tokenizer


@functools.cache
def _train(add_dummy_prefix):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(CORPUS * 4),
    model_writer=model,
    model_type='bpe',
    vocab_size=330,
    byte_fallback=True,
    normalization_rule_name='identity',
    remove_extra_whitespaces=False,
    add_dummy_prefix=add_dummy_prefix,
    user_defined_symbols=['\n', '▁▁', '<b>'],
    control_symbols=['<start_of_turn>', '<end_of_turn>'],
    minloglevel=2,
  )
  return model.getvalue()


@pytest.fixture(params=[False, True], ids=['plain', 'dummy_prefix'])
def trained_spm(request):
  """A trained SentencePiece model: its bytes and GGUF metadata of it."""
  proto = model_pb2.ModelProto.FromString(_train(request.param))
  values = {
    'model': 'llama',
    'tokens': [p.piece.replace('▁▁', '  ') for p in proto.pieces],
    'scores': [p.score for p in proto.pieces],
    'token_type': [p.type for p in proto.pieces],
    'bos_token_id': 1,
    'eos_token_id': 2,
    'add_space_prefix': request.param,
  }
  metadata = {f'tokenizer.ggml.{k}': v for k, v in values.items()}
  return proto.SerializeToString(), metadata
