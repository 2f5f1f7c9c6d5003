"""One running request: the engine's tokens in, deltas out."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import threading
from typing import Any
from typing import Protocol
from typing import Self
import weakref

from chatjax import types
from chatjax.chat import choice as choice_lib
from chatjax.chat import gather
from chatjax.chat import mailbox
from chatjax.engine import stats
from chatjax.protocol import response


class EngineError(types.ChatjaxError):
  """The engine failed; the request may be right."""


class Engine(Protocol):
  """What makes tokens. All methods may be called from any thread.

  Attributes:
    fingerprint: changes whenever the same seed may give other tokens.
    fingerprint_parts: what it is made of.
    is_alive: False once the engine can serve nothing more.
    error: why it is not alive.
    totals: what it has done.
    listeners: called with the timeline of every request that ends.
    num_open, num_running, num_swapped: choices that have not ended, and of
      them those that decode and those that were put out.
    num_pages_used, cache_usage: of the cache, and its share.
    num_compilations: since it was ready.
    max_rows, max_open: choices that decode at once, and that may be open.
  """

  totals: stats.Totals
  listeners: list[stats.Listener]
  vocab_size: int
  max_context: int
  fingerprint: str
  fingerprint_parts: Mapping[str, Any]

  @property
  def is_alive(self) -> bool: ...

  @property
  def error(self) -> Exception | None: ...

  @property
  def max_rows(self) -> int: ...

  @property
  def max_open(self) -> int: ...

  @property
  def num_open(self) -> int: ...

  @property
  def num_running(self) -> int: ...

  @property
  def num_swapped(self) -> int: ...

  @property
  def num_pages_used(self) -> int: ...

  @property
  def cache_usage(self) -> float: ...

  @property
  def num_compilations(self) -> int: ...

  @property
  def weight_bytes(self) -> int: ...

  def submit(self, request: types.TokenRequest, sink: types.Sink) -> None:
    """Queues a request; raises `types.RequestError` if it cannot be served."""

  def cancel(self, request_id: str, choice: int | None = None) -> None:
    """Ends a choice, or all of them. Idempotent; no `finish` may follow."""

  def close(self) -> None:
    """Ends the engine and every open request."""


class Generation:
  """Iterates over the deltas of one request, blocking or async.

  As a context manager it cancels what still runs when the block is left;
  dropped without that, it cancels as it is collected.

  Attributes:
    meta: what is the same on all chunks of the answer.
    num_cached: prompt tokens that were not computed again.
    prompt_tokens: what the model says of its prompt, once it is known, if that
      was asked for.
    num_generated: tokens that were counted so far.
    drafted: what became of guessed tokens so far.
    reasons: why choices have ended, by choice.
    failure: what ended it before its end.
    request: what the engine was asked.
    source: what that came of.
  """

  def __init__(
    self,
    engine: gather.Engine,
    request: types.TokenRequest,
    meta: response.Meta,
    choices: Sequence[choice_lib.ChoiceAssembler],
    inbox: mailbox.Mailbox | None = None,
    *,
    source: types.Request,
  ):
    self.meta = meta
    self.request = request
    self.source = source
    self.num_cached = 0
    self.prompt_tokens: tuple[types.PromptToken, ...] | None = None
    self.num_generated = 0
    self.drafted = types.Drafted()
    self.reasons: dict[int, types.FinishReason] = {}
    self.failure: types.ChatjaxError | None = None
    self._engine = engine
    self._choices = choices
    self._open = set(range(len(choices)))
    self._mailbox = inbox or mailbox.Mailbox()
    self._is_cancelled = threading.Event()
    # The engine knows the mailbox alone, so that nothing keeps a generation
    # that its reader has dropped.
    dropped = weakref.finalize(
      self, _cancel_open, engine, request.request_id, self._open
    )
    dropped.atexit = False  # the engine's thread may hold its lock for ever

  def submit(self) -> None:
    """Hands the request to the engine; raises `types.RequestError`."""
    self._engine.submit(self.request, self._mailbox)

  def cancel(self) -> None:
    """Stops all choices, from any thread; the iteration then ends."""
    self._is_cancelled.set()
    if self._open:
      self._engine.cancel(self.request.request_id)
      self._mailbox.put(mailbox.Cancelled())

  def fail(self, error: types.ChatjaxError) -> None:
    """Stops all choices, from any thread; the reader is raised `error`."""
    if self._open:
      self._engine.cancel(self.request.request_id)
      self._mailbox.put(error)

  def result(self) -> types.Completion:
    """Reads all of it; not for use after iterating."""
    with self:
      return self.collect(list(self))

  async def aresult(self) -> types.Completion:
    """Reads all of it; not for use after iterating."""
    with self:
      return self.collect([delta async for delta in self])

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused) -> None:
    self.cancel()

  def __iter__(self) -> Self:
    return self

  def __next__(self) -> types.Delta:
    while self.is_running:
      if delta := self.apply(self._mailbox.get()):
        return delta
    raise StopIteration

  def __aiter__(self) -> Self:
    return self

  async def __anext__(self) -> types.Delta:
    while self.is_running:
      if delta := self.apply(await self._mailbox.aget()):
        return delta
    raise StopAsyncIteration

  @property
  def is_running(self) -> bool:
    """Whether there is more to come."""
    return bool(self._open) and not self._is_cancelled.is_set()

  def apply(self, event: mailbox.Event) -> types.Delta | None:
    """Takes an event from its mailbox."""
    if isinstance(event, mailbox.Cancelled):
      return None
    if isinstance(event, mailbox.Started):
      self.num_cached = event.num_cached
      return None
    if isinstance(event, mailbox.Prompt):
      self.prompt_tokens = event.tokens
      return None
    if isinstance(event, types.Drafted):
      self.drafted += event
      return None
    if isinstance(event, Exception):
      self._open.clear()
      self.failure = _readable(event)
      raise self.failure from event
    return self._gain(*event)

  def _gain(
    self, choice: int, gained: Sequence[types.Token] | types.FinishReason
  ) -> types.Delta | None:
    if choice not in self._open:
      return None  # what the device made after a stop string
    if isinstance(gained, types.FinishReason):
      delta = self._choices[choice].finish(gained)
    else:
      delta = self._choices[choice].add(gained)
      if delta and delta.finish_reason:
        self._engine.cancel(self.request.request_id, choice)
    if delta:
      self.num_generated += len(delta.token_ids)
    if delta and delta.finish_reason:
      self._open.discard(choice)
      self.reasons[choice] = delta.finish_reason
    return delta

  def collect(self, deltas: Sequence[types.Delta]) -> types.Completion:
    """What all of the deltas come to."""
    if self._open:
      raise types.ChatjaxError('The request was cancelled before its end.')
    return types.Completion(
      choices=tuple(
        choice_lib.join([d for d in deltas if d.choice == choice])
        for choice in range(len(self._choices))
      ),
      prompt_ids=self.meta.prompt_ids,
      num_cached=self.num_cached,
      seed=self.meta.seed,
      drafted=self.drafted,
      prompt_logprobs=self._prompt_logprobs(),
    )

  def _prompt_logprobs(self) -> tuple[types.PromptLogprob | None, ...] | None:
    """One entry per prompt token; nothing is said of the first."""
    if self.prompt_tokens is None:
      return None
    named = self._choices[0].prompt_logprob
    return (None, *map(named, self.prompt_tokens))


def _cancel_open(
  engine: gather.Engine, request_id: str, open_choices: set[int]
) -> None:
  if open_choices:
    engine.cancel(request_id)


def _readable(error: Exception) -> types.ChatjaxError:
  """The engine's own words may hold paths: they go to the log, not out."""
  if isinstance(error, types.ChatjaxError):
    return error
  return EngineError(
    f'The engine failed ({type(error).__name__}); nothing is wrong with the '
    'request itself.'
  )
