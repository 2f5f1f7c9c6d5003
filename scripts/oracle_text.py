"""Tokenizers of GGUF files for the golden makers: `encode` and `render`.

Written apart from `chatjax/text`, so that the committed ids check it too.
"""

from __future__ import annotations

from collections.abc import Sequence

import jinja2.sandbox
import oracle
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as spm_proto
import tokenizers
from tokenizers import decoders
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers

_CONTROL = 3
_USER_DEFINED = 4
_QWEN2_SPLIT = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
  r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)


def bpe(reader: oracle.Reader) -> tokenizers.Tokenizer:
  """The tokenizer of a file that has a byte-level one."""
  tokens = reader.value('tokenizer.ggml.tokens')
  merges = reader.value('tokenizer.ggml.merges')
  made = tokenizers.Tokenizer(
    models.BPE(
      vocab={token: i for i, token in enumerate(tokens)},
      merges=[tuple(merge.split(' ')) for merge in merges],
    )
  )
  pre = reader.value('tokenizer.ggml.pre')
  if pre in ('qwen2', 'deepseek-r1-qwen'):
    if pre == 'qwen2':
      made.normalizer = normalizers.NFC()
    first = pre_tokenizers.Split(
      tokenizers.Regex(_QWEN2_SPLIT), behavior='isolated'
    )
    use_regex = False
  elif pre == 'smollm':
    first = pre_tokenizers.Digits(individual_digits=True)
    use_regex = True
  else:
    raise ValueError(
      f'Unknown pre-tokenizer {pre!r}; have qwen2, deepseek-r1-qwen and smollm.'
    )
  last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
  made.pre_tokenizer = pre_tokenizers.Sequence([first, last])
  made.decoder = decoders.ByteLevel()
  types = reader.value('tokenizer.ggml.token_type')
  special = [
    tokenizers.AddedToken(token, normalized=False, special=True)
    for token, kind in zip(tokens, types, strict=True)
    if kind in (_CONTROL, _USER_DEFINED)
  ]
  made.add_special_tokens(special)
  return made


def _sentencepiece(
  reader: oracle.Reader,
) -> sentencepiece.SentencePieceProcessor:
  proto = spm_proto.ModelProto()
  keys = ('tokens', 'scores', 'token_type')
  columns = [reader.value(f'tokenizer.ggml.{key}') for key in keys]
  for piece, score, kind in zip(*columns, strict=True):
    # SentencePiece writes a space as U+2581; GGUF keeps runs of plain ones.
    proto.pieces.add(piece=piece.replace(' ', '\u2581'), score=score, type=kind)
  proto.trainer_spec.model_type = spm_proto.TrainerSpec.BPE
  proto.trainer_spec.byte_fallback = True
  for name in ('unknown', 'bos', 'eos', 'padding'):
    short = {'unknown': 'unk', 'padding': 'pad'}.get(name, name)
    token_id = reader.value(f'tokenizer.ggml.{name}_token_id')
    setattr(proto.trainer_spec, f'{short}_id', token_id)
  proto.normalizer_spec.name = 'identity'
  proto.normalizer_spec.add_dummy_prefix = False
  proto.normalizer_spec.remove_extra_whitespaces = False
  return sentencepiece.SentencePieceProcessor(
    model_proto=proto.SerializeToString()
  )


class Tokenizer:
  """Text to ids as a GGUF file's own tokenizer has it."""

  def __init__(self, reader: oracle.Reader):
    self._template = reader.value('tokenizer.chat_template')
    self._bos = []
    if reader.value('tokenizer.ggml.add_bos_token', False):
      self._bos = [reader.value('tokenizer.ggml.bos_token_id')]
    if reader.value('tokenizer.ggml.model') == 'gpt2':
      made = bpe(reader)
      self._encode = lambda text: made.encode(text).ids
      self._decode = made.decode
    else:
      processor = _sentencepiece(reader)
      self._encode, self._decode = processor.encode, processor.decode

  @property
  def has_template(self) -> bool:
    return self._template is not None

  def encode(self, text: str) -> list[int]:
    """Ids of a text, after a BOS where the file asks for one."""
    return self._bos + list(self._encode(text))

  def decode(self, ids: Sequence[int]) -> str:
    """The text of ids, without what no text holds."""
    return self._decode(list(ids))

  def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
    """Ids of messages in the file's own template, up to the answer."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
      trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(self._template)
    return self.encode(
      template.render(messages=messages, add_generation_prompt=True)
    )
