"""Grammars to matchers, whatever language they are written in."""

from __future__ import annotations

import collections
import json
import threading
from typing import Any

import llguidance
import numpy as np

from chatjax import types
from chatjax.grammar import bits
from chatjax.grammar import lark as lark_lib
from chatjax.grammar import limits as limits_lib
from chatjax.grammar import locate
from chatjax.grammar import matcher as matcher_lib
from chatjax.grammar import pattern as pattern_lib
from chatjax.grammar import refusal
from chatjax.grammar import schema as schema_lib
from chatjax.grammar import vocabulary
from chatjax.text import tokenizer as tokenizer_lib

Limits = limits_lib.Limits

# A compiled grammar is never smaller, however short its source.
_ENTRY_BYTES = 2**14


class Compiled:
  """A grammar that choices can start in. Thread-safe."""

  def __init__(
    self,
    start: llguidance.LLMatcher,
    *,
    num_tokens: int,
    eos_ids: frozenset[int],
  ):
    self._start = start
    self._num_tokens = num_tokens
    self._eos_ids = eos_ids

  def matcher(self) -> matcher_lib.Matcher:
    """One for one choice, at the start."""
    return matcher_lib.Matcher(
      self._start.deep_copy(),
      num_tokens=self._num_tokens,
      eos_ids=self._eos_ids,
    )


class Compiler:
  """Compiles grammars for one tokenizer, and keeps them. Thread-safe.

  Args:
    tokenizer: of the model.
    vocab_size: of the model's logits, where it is not the tokenizer's. Ids
      that only one of them has are never allowed.
    limits: what a grammar may cost.
  """

  def __init__(
    self,
    tokenizer: tokenizer_lib.Tokenizer,
    *,
    vocab_size: int | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
  ):
    self._tokenizer = tokenizer
    self._num_tokens = min(
      tokenizer.vocab_size, vocab_size or tokenizer.vocab_size
    )
    self._limits = limits
    self._lock = threading.Lock()
    self._vocabulary: llguidance.LLTokenizer | None = None
    self._kept: collections.OrderedDict[object, Compiled]
    self._kept = collections.OrderedDict()
    self._kept_bytes = 0

  def compile(self, grammar: types.Grammar) -> Compiled:
    """Compiles a grammar, or finds it compiled.

    Takes milliseconds, seconds at worst: keep it off an event loop. The first
    call builds the vocabulary.

    Raises:
      types.RequestError: the grammar is wrong, too large, or holds something
        that would not be enforced; or the model has no token to end it with.
    """
    if not any(i < self._num_tokens for i in self._tokenizer.eos_ids):
      raise refusal.of(
        'This model names no token that ends a text, so that the'
        f' {refusal.NAMES[grammar.kind]} could not end; leave it out.',
        grammar.param,
      )
    source = self._source(grammar)
    with self._lock:
      if source in self._kept:
        self._kept.move_to_end(source)
        return self._kept[source]
    compiled = self._compile(source, grammar)
    with self._lock:
      self._keep(source, compiled)
    return compiled

  def _source(self, grammar: types.Grammar) -> str:
    """The grammar in llguidance's own notation, checked."""
    limits, param = self._limits, grammar.param
    match grammar.kind:
      case 'json_object':
        return schema_lib.source({'type': 'object'})
      case 'json_schema':
        return schema_lib.source(self._schema(grammar))
      case 'regex':
        pattern_lib.check(grammar.source, param=param, limits=limits)
        return llguidance.LLMatcher.grammar_from_regex(grammar.source)
      case 'choice':
        return _choice(grammar.source, param=param, limits=limits)
      case 'lark':
        text = lark_lib.check(grammar.source, param=param, limits=limits)
        return llguidance.LLMatcher.grammar_from_lark(text)

  def _schema(self, grammar: types.Grammar) -> dict[str, Any]:
    return schema_lib.check(
      grammar.source,
      is_strict=grammar.is_strict,
      param=grammar.param,
      limits=self._limits,
    )

  def _is_refused(self, schema: dict[str, Any]) -> bool:
    return self._start(schema_lib.source(schema)).is_error()

  def _compile(self, source: str, grammar: types.Grammar) -> Compiled:
    start = self._start(source)
    if start.is_error():
      pointer = None
      if grammar.kind == 'json_schema':
        pointer = locate.fault(self._schema(grammar), self._is_refused)
      raise refusal.of(
        f'The {refusal.NAMES[grammar.kind]} cannot be enforced: '
        f'{_reason(start)}; change it.',
        pointer=pointer,
        param=grammar.param,
      )
    return Compiled(
      start, num_tokens=self._num_tokens, eos_ids=self._tokenizer.eos_ids
    )

  def _start(self, source: str) -> llguidance.LLMatcher:
    """A matcher that has proven that a first token can be found."""
    with self._lock:
      if self._vocabulary is None:
        self._vocabulary = vocabulary.build(self._tokenizer, self._num_tokens)
    start = llguidance.LLMatcher(
      self._vocabulary, source, log_level=0, limits=limits_lib.parser_limits()
    )
    if not start.is_error():
      mask_W = np.zeros(bits.num_words(self._num_tokens), np.uint32)
      start.unsafe_compute_mask_ptr(mask_W.ctypes.data, mask_W.nbytes)
    return start

  def _keep(self, source: str, compiled: Compiled) -> None:
    if source in self._kept:
      return
    self._kept[source] = compiled
    self._kept_bytes += _size(source)
    while self._kept_bytes > self._limits.cache_bytes:
      oldest, _ = self._kept.popitem(last=False)
      self._kept_bytes -= _size(oldest)


def _reason(start: llguidance.LLMatcher) -> str:
  if start.get_error().startswith('NoExtensionBias'):
    return 'it allows no text'
  return matcher_lib.first_line(start.get_error())


def _choice(options: object, *, param: str | None, limits: Limits) -> str:
  """One of these strings, exactly."""
  is_list = isinstance(options, list | tuple) and bool(options)
  if not is_list or not all(isinstance(x, str) for x in options):
    raise refusal.of('A choice must be a list of at least one string.', param)
  refusal.check_size(''.join(options), limits.bytes, 'choice', param)
  if len(options) > limits.enum_values:
    raise refusal.of(
      f'The choice has {len(options)} strings; at most '
      f'{limits.enum_values} are allowed.',
      param,
    )
  body = ' | '.join(json.dumps(x, ensure_ascii=False) for x in options)
  return llguidance.LLMatcher.grammar_from_lark(f'start: TEXT\nTEXT: {body}\n')


def _size(source: str) -> int:
  return _ENTRY_BYTES + len(source)
