"""A GGUF file's tokenizer in the files of a hub folder."""

from __future__ import annotations

from collections.abc import Mapping
import json
from typing import Any

import tokenizers
from tokenizers import decoders
from tokenizers import models

from chatjax.text import bpe
from chatjax.text import vocabulary

Kind = vocabulary.Kind
_ADDED = (Kind.CONTROL, Kind.USER_DEFINED)


def files(
  metadata: Mapping[str, Any], chat_template: str | None
) -> dict[str, Any]:
  """File name -> JSON.

  Raises:
    vocabulary.VocabularyError: a tokenizer that is not byte-level BPE.
  """
  if metadata.get('tokenizer.ggml.model') != 'gpt2':
    raise vocabulary.VocabularyError(
      'Only byte-level BPE tokenizers can be written as tokenizer.json; this'
      f' file has {metadata.get("tokenizer.ggml.model")!r}.'
    )
  vocab = bpe.read_vocabulary(metadata)
  eos_id = metadata.get('tokenizer.ggml.eos_token_id')
  spell = lambda i: None if i is None else vocab.pieces[int(i)]
  config = {
    'tokenizer_class': 'PreTrainedTokenizerFast',
    'bos_token': spell(vocab.bos_id),
    'eos_token': spell(eos_id),
    'clean_up_tokenization_spaces': False,
  }
  if chat_template is not None:
    config['chat_template'] = chat_template
  return {
    'tokenizer.json': _tokenizer(vocab, metadata),
    'tokenizer_config.json': config,
    'generation_config.json': {
      'bos_token_id': vocab.bos_id,
      'eos_token_id': sorted(vocab.eos_ids),
    },
  }


def _tokenizer(
  vocab: vocabulary.Vocabulary, metadata: Mapping[str, Any]
) -> dict[str, Any]:
  frame = tokenizers.Tokenizer(models.BPE())
  normalizer, frame.pre_tokenizer = bpe.pipeline(metadata)
  if normalizer is not None:
    frame.normalizer = normalizer
  frame.decoder = decoders.ByteLevel()
  made = json.loads(frame.to_str())
  # Special tokens among the others keep their places.
  last = max(vocab.ids_of(Kind.NORMAL))
  made['model'] |= {
    'vocab': {vocab.pieces[i]: i for i in range(last + 1)},
    'merges': [list(pair) for pair in bpe.merges(metadata)],
    'ignore_merges': bpe.takes_words(metadata),
  }
  made['added_tokens'] = [
    {
      'id': i, 'content': vocab.pieces[i], 'single_word': False,
      'lstrip': False, 'rstrip': False, 'normalized': False,
      'special': vocab.kinds[i] == Kind.CONTROL,
    }
    for i in vocab.ids_of(*_ADDED)
  ]  # fmt: skip
  if vocab.add_bos:
    made['post_processor'] = _starts_with(vocab)
  return made


def _starts_with(vocab: vocabulary.Vocabulary) -> dict[str, Any]:
  """A post-processor that puts BOS before a text."""
  bos = vocab.pieces[vocab.bos_id]
  special = {'SpecialToken': {'id': bos, 'type_id': 0}}
  text = lambda name: {'Sequence': {'id': name, 'type_id': 0}}
  return {
    'type': 'TemplateProcessing',
    'single': [special, text('A')],
    'pair': [special, text('A'), special, text('B')],
    'special_tokens': {
      bos: {'id': bos, 'ids': [vocab.bos_id], 'tokens': [bos]}
    },
  }
