"""Plain texts that are continued: one request to the engine for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from typing import Self

from chatjax import types
from chatjax.chat import echo as echo_lib
from chatjax.chat import generation
from chatjax.chat import mailbox
from chatjax.chat import session as session_lib
from chatjax.protocol import text_answer
from chatjax.protocol import text_completion


class Texts:
  """Iterates over the deltas of all prompts' choices, as they come.

  Choice c of prompt p is choice p * n + c. If one prompt fails, all end.

  Attributes:
    meta: what is the same on all chunks of the answer.
    parts: the running request of each prompt.
  """

  def __init__(
    self,
    meta: text_answer.Meta,
    asked: text_completion.TextRequest,
    parts: Sequence[generation.Generation],
    inbox: mailbox.Mailbox,
    session: session_lib.Session,
  ):
    self.meta = meta
    self.parts = parts
    self._asked = asked
    self._inbox = inbox
    self._tokenizer = session.tokenizer
    self._begun: set[int] = set()

  @property
  def num_cached(self) -> int:
    """Prompt tokens that were not computed again."""
    return sum(part.num_cached for part in self.parts)

  @property
  def drafted(self) -> types.Drafted:
    """What became of guessed tokens."""
    return sum((part.drafted for part in self.parts), types.Drafted())

  def cancel(self) -> None:
    """Stops all of it, from any thread; the iteration then ends."""
    for part in self.parts:
      part.cancel()

  def fail(self, error: types.ChatjaxError) -> None:
    """Stops all of it, from any thread; the reader is raised `error`."""
    for part in self.parts:
      part.fail(error)

  async def aresult(self) -> tuple[types.Completion, ...]:
    """Reads all of it, one completion per prompt; not after iterating."""
    n = self.meta.shared.n
    deltas: list[list[types.Delta]] = [[] for _ in self.parts]
    try:
      async for delta in self:
        which, choice = divmod(delta.choice, n)
        deltas[which].append(dataclasses.replace(delta, choice=choice))
      return tuple(
        part.collect(gained)
        for part, gained in zip(self.parts, deltas, strict=True)
      )
    finally:
      self.cancel()

  def __aiter__(self) -> Self:
    return self

  async def __anext__(self) -> types.Delta:
    while any(part.is_running for part in self.parts):
      which, event = await self._inbox.aget()
      if delta := self._apply(which, event):
        return delta
    raise StopAsyncIteration

  def _apply(self, which: int, event: mailbox.Event) -> types.Delta | None:
    try:
      delta = self.parts[which].apply(event)
    except types.ChatjaxError:
      self.cancel()
      raise
    if delta and self._asked.is_scored_only:
      delta = _unheard(delta)
    if delta is None:
      return None
    choice = which * self.meta.shared.n + delta.choice
    delta = dataclasses.replace(delta, choice=choice)
    if self._asked.has_echo and choice not in self._begun:
      self._begun.add(choice)
      delta = self._with_echo(delta, which)
    return delta

  def _with_echo(self, delta: types.Delta, which: int) -> types.Delta:
    sampling, part = self._asked.request.sampling, self.parts[which]
    text, logprobs = echo_lib.echo(
      self._tokenizer,
      self._asked.prompts[which],
      part.meta.prompt_ids,
      part.prompt_tokens if sampling.logprobs else None,
      num_top=sampling.top_logprobs,
    )
    return dataclasses.replace(
      delta, text=text + delta.text, logprobs=logprobs + delta.logprobs
    )


def start(
  session: session_lib.Session,
  asked: text_completion.TextRequest,
  *,
  answer_id: str,
  request_ids: Sequence[str],
  timeout_s: float | None,
) -> Texts:
  """Submits the prompts; none of them runs if one is refused.

  Args:
    session: the model.
    asked: what is asked.
    answer_id: of the whole.
    request_ids: of the prompts, to the engine.
    timeout_s: after which it fails with 504.

  Raises:
    types.RequestError: it cannot be served as it stands.
  """
  request = _as_drawn(asked)
  shared = mailbox.Mailbox()
  parts: list[generation.Generation] = []
  try:
    for which, prompt in enumerate(asked.prompts):
      running = session.start_text(
        request,
        _ids(session, prompt, asked.add_special_tokens),
        request_id=request_ids[which],
        timeout_s=timeout_s,
        inbox=_inbox(shared, which),
      )
      parts.append(running)
  except BaseException:
    for running in parts:
      running.cancel()
    raise
  meta = text_answer.Meta(
    id=answer_id,
    prompts=tuple(part.meta for part in parts),
    num_prompt_top=asked.request.prompt_logprobs,
  )
  return Texts(meta, asked, parts, shared, session)


def _as_drawn(asked: text_completion.TextRequest) -> types.Request:
  """One seed for all prompts; prompts are scored for either report."""
  request, num_top = asked.request, asked.request.prompt_logprobs
  if asked.has_echo and request.sampling.logprobs:
    num_top = max(num_top or 0, request.sampling.top_logprobs)
  seed = session_lib.new_seed() if request.seed is None else request.seed
  return dataclasses.replace(request, seed=seed, prompt_logprobs=num_top)


def _ids(
  session: session_lib.Session, prompt: text_completion.Prompt, has_start: bool
) -> tuple[int, ...]:
  if isinstance(prompt, str):
    prompt = tuple(session.text_ids(prompt, has_start=has_start))
  if not prompt:
    raise types.RequestError(
      'A prompt is empty, and no token is put in front of it; give a text or '
      'token ids.',
      param='prompt',
    )
  return prompt


def _inbox(shared: mailbox.Mailbox, which: int) -> mailbox.Mailbox:
  """All prompts are read together; each event says whose it is."""
  return mailbox.Mailbox(lambda event: shared.put((which, event)))


def _unheard(delta: types.Delta) -> types.Delta | None:
  """The end alone: the engine cannot draw nothing."""
  if delta.finish_reason is None:
    return None
  return types.Delta(
    choice=delta.choice, finish_reason=types.FinishReason.LENGTH
  )
