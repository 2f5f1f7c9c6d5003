"""Keeps finished answers, with what it takes to draw them again."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import logging
import struct
import threading
from typing import Any

from chatjax import types
from chatjax.chat import generation
from chatjax.protocol import build
from chatjax.protocol import response
from chatjax.store import records
from chatjax.store import store as store_lib

_log = logging.getLogger(__name__)

# How long a client may be told why its answer was not kept.
_MAX_REASON = 300


class Keeper:
  """Keeps the answers of one model. Thread-safe; its calls block.

  Args:
    open_store: opens the store, at its first use; None keeps nothing.
    fingerprint_parts: what the model's fingerprint is made of.
  """

  def __init__(
    self,
    open_store: Callable[[], store_lib.Store] | None,
    *,
    fingerprint_parts: Mapping[str, Any],
  ):
    self._open_store = open_store
    self._parts = fingerprint_parts
    self._lock = threading.Lock()
    self._store: store_lib.Store | None = None

  def of(self, fingerprint_parts: Mapping[str, Any]) -> Keeper:
    """A keeper of another model's answers, in the same store."""
    open_store = self._open_store and (lambda: self.store)
    return Keeper(open_store, fingerprint_parts=fingerprint_parts)

  @property
  def store(self) -> store_lib.Store:
    """The store; raises `store.StoreError` if it cannot be opened."""
    with self._lock:
      if self._store is None:
        if self._open_store is None:
          raise store_lib.StoreError('There is no store here.')
        self._store = self._open_store()
      return self._store

  def close(self) -> None:
    """Closes the store, if it was opened; its next use opens it again."""
    with self._lock:
      if self._store is not None:
        self._store.close()

  def check(self, request: types.Request) -> None:
    """Refuses what can never be kept."""
    if request.store and self._open_store is None:
      raise types.RequestError(
        'Answers are not stored here; leave store out.', param='store'
      )

  def keep(
    self,
    running: generation.Generation,
    result: types.Completion,
    answer: response.ChatCompletion,
  ) -> response.ChatCompletion:
    """Keeps an answer if that was asked for.

    Args:
      running: the request, at its end.
      result: what came of it.
      answer: what the client is sent.

    Returns: the answer; if it could not be kept it says why, and is as good
      without.
    """
    if not running.source.store:
      return answer
    try:
      self.store.add(self._stored(running, result, answer))
    except store_lib.StoreError as error:
      _log.error('%s was not stored: %s', answer.id, error)
      told = {'store_error': str(error)[:_MAX_REASON]}
      block = answer.chatjax.model_copy(update=told)
      return answer.model_copy(update={'chatjax': block})
    return answer

  def keep_streamed(
    self, running: generation.Generation, deltas: Sequence[types.Delta]
  ) -> str | None:
    """Keeps what was sent as a stream; returns why not, if it could not."""
    if not running.source.store or running.is_running:
      return None
    result = running.collect(deltas)
    answer = self.keep(running, result, build.completion(running.meta, result))
    return answer.chatjax.store_error

  def _stored(
    self,
    running: generation.Generation,
    result: types.Completion,
    answer: response.ChatCompletion,
  ) -> records.Stored:
    shown = answer.model_dump(mode='json', exclude_unset=True)
    metadata = shown.pop('metadata', {})
    return records.Stored(
      id=answer.id,
      created=answer.created,
      model=answer.model,
      completion=shown,
      messages=running.source.given['messages'],
      metadata=metadata,
      provenance=provenance(
        running,
        result,
        request=running.source.given,
        parts=self._parts,
      ),
    )


def provenance(
  running: generation.Generation,
  result: types.Completion,
  *,
  request: Mapping[str, Any],
  parts: Mapping[str, Any],
) -> records.Provenance:
  """What it takes to draw an answer again.

  Args:
    running: the request, at its end.
    result: what came of it.
    request: its fields, as they were given.
    parts: of the fingerprint.
  """
  return records.Provenance(
    prompt_ids=running.request.prompt_ids,
    request=dict(request),
    resolved=resolved(running.request),
    fingerprint=running.meta.system_fingerprint,
    parts=parts,
    sampler_version=running.meta.sampler_version,
    choice_keys=running.meta.choice_keys,
    output_ids=tuple(choice.token_ids for choice in result.choices),
    logprob_bits=tuple(
      bits(choice.token_logprobs) for choice in result.choices
    ),
  )


def resolved(request: types.TokenRequest) -> dict[str, Any]:
  """All that decides the tokens besides the prompt, in plain JSON."""
  sampling = dataclasses.asdict(
    dataclasses.replace(request.sampling, logit_bias={})
  )
  bias = {str(key): x for key, x in request.sampling.logit_bias.items()}
  return {
    'seed': request.seed,
    'n': request.n,
    'max_tokens': request.max_tokens,
    'stop_ids': sorted(request.stop_ids),
    'is_constrained': request.constraint is not None,
    'sampling': {**sampling, 'logit_bias': bias},
  }


def bits(logprobs: tuple[float, ...]) -> tuple[str, ...]:
  """Float32 values as eight hex digits each."""
  return tuple(struct.pack('>f', x).hex() for x in logprobs)
