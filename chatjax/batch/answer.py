"""One request of a batch -> one record: the way of the HTTP endpoints.

What depends on the hour or on the crowd is left out of a record: times, counts
of cached and of guessed tokens. Its ids follow from its content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
import concurrent.futures
import dataclasses
import json
from typing import Any

from chatjax import types
from chatjax.batch import content
from chatjax.batch import lines
from chatjax.batch import parts
from chatjax.chat import generation
from chatjax.chat import keeper
from chatjax.chat import patience
from chatjax.chat import session as session_lib
from chatjax.chat import texts as texts_lib
from chatjax.protocol import build
from chatjax.protocol import errors
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import request as request_lib
from chatjax.protocol import text_answer
from chatjax.protocol import text_completion
from chatjax.store import records

CREATED = 0  # when it ran is not told: it would differ every time
_MAX_PRIORITY = 1_000_000


class EngineStopped(types.ChatjaxError):
  """The engine can answer nothing more; the requests may be right."""


class Asker:
  """Answers the requests of batches with one model.

  Args:
    session: the model.
    limits: how big a request may be.
    pool: where requests are parsed and tokenized.
    priority: added to each request's own; larger goes later.
  """

  def __init__(
    self,
    session: session_lib.Session,
    *,
    limits: limits_lib.Limits,
    pool: concurrent.futures.Executor,
    priority: int = 0,
  ):
    self.session = session
    self.limits = limits
    self._pool = pool
    self._priority = priority
    self._num_asked = 0

  async def answer(
    self, line: int, key: str, asked: lines.Asked
  ) -> tuple[parts.Record, int]:
    """The record of a request, and how many tokens were drawn for it.

    Raises:
      EngineStopped: there is no answer to be had any more.
    """
    try:
      body, num_tokens = await self._body(asked, key)
      status = 200
    except types.ChatjaxError as error:
      if not self.session.engine.is_alive:
        raise EngineStopped(
          'The engine has stopped; all answers that were counted are safe. Run'
          ' the same command again.'
        ) from error
      told = errors.as_request_error(error)
      body, num_tokens, status = errors.body(told), 0, told.status
    response = {
      'status_code': status,
      'request_id': content.made_id('req_', key),
      'body': body,
    }
    record = _record(line, key, asked.custom_id, response=response)
    return record, num_tokens

  async def _body(
    self, asked: lines.Asked, key: str
  ) -> tuple[dict[str, Any], int]:
    answer = self._chat if asked.url == lines.CHAT else self._text
    refusals = patience.Refusals(self.session.engine)
    while True:
      try:
        return await answer(asked, key)
      except types.RequestError as error:
        refusals.take(error)
      await asyncio.sleep(patience.RETRY_S)

  async def _chat(
    self, asked: lines.Asked, key: str
  ) -> tuple[dict[str, Any], int]:
    running = await self._in_pool(self._start_chat, asked)
    result = await running.aresult()
    body = build.completion(running.meta, result).model_dump(
      mode='json', exclude_unset=True
    )
    return _settled(body, 'chatcmpl-', key, [result]), _num_tokens([result])

  async def _text(
    self, asked: lines.Asked, key: str
  ) -> tuple[dict[str, Any], int]:
    running = await self._in_pool(self._start_text, asked)
    results = await running.aresult()
    body = text_answer.completion(running.meta, results).model_dump(
      mode='json', exclude_unset=True
    )
    return _settled(body, 'cmpl-', key, results), _num_tokens(results)

  def _start_chat(self, asked: lines.Asked) -> generation.Generation:
    request = request_lib.parse(asked.body, limits=self.limits).request
    if request.store:
      raise errors.unsupported('store', "'store' in a batch", (False,))
    return self.session.start(self._settle(request, asked))

  def _start_text(self, asked: lines.Asked) -> texts_lib.Texts:
    text = text_completion.parse(asked.body, limits=self.limits)
    text = dataclasses.replace(text, request=self._settle(text.request, asked))
    answer_id = session_lib.new_id('cmpl')
    return texts_lib.start(
      self.session,
      text,
      answer_id=answer_id,
      request_ids=[f'{answer_id}-{i}' for i in range(len(text.prompts))],
      timeout_s=None,
    )

  def _settle(self, request: types.Request, asked: lines.Asked):
    """With a seed, and its place in the queue."""
    if request.stream:
      raise errors.unsupported('stream', "'stream' in a batch", (False,))
    seed = request.seed
    if seed is None:
      seed = content.seed(asked.custom_id, asked.body)
    priority = min(request.priority + self._priority, _MAX_PRIORITY)
    return dataclasses.replace(request, seed=seed, priority=priority)

  async def _in_pool(self, start, asked: lines.Asked):
    """Parsing and tokenizing long prompts must not hold up what runs."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(self._pool, start, asked)


def is_allowed(asked: lines.Asked, limits: limits_lib.Limits) -> bool:
  """Whether limits let a request through; it may be refused for another."""
  parse = (
    request_lib.parse if asked.url == lines.CHAT else text_completion.parse
  )
  try:
    parse(asked.body, limits=limits)
  except types.RequestError:
    return False
  return True


def refusal(line: int, key: str, error: lines.LineError) -> parts.Record:
  """The record of a line that is no request."""
  told = {
    'code': error.code,
    'message': str(error)[: errors.MAX_MESSAGE],
    'line': line,
  }
  return _record(line, key, error.custom_id, error=told)


def _record(
  line: int,
  key: str,
  custom_id: str | None,
  *,
  response: dict[str, Any] | None = None,
  error: dict[str, Any] | None = None,
) -> parts.Record:
  shown = {
    'id': content.made_id('batch_req_', key),
    'custom_id': custom_id,
    'response': response,
    'error': error,
  }
  text = json.dumps(shown, ensure_ascii=False, separators=(',', ':'))
  return parts.Record(
    line=line,
    key=key,
    is_error=response is None or response['status_code'] != 200,
    data=text.encode(),
  )


def _settled(
  body: dict[str, Any],
  kind: str,
  key: str,
  results: Sequence[types.Completion],
) -> dict[str, Any]:
  """The same whenever and wherever it was drawn."""
  body['id'] = content.made_id(kind, key)
  body['created'] = CREATED
  usage = body['usage']
  del usage['prompt_tokens_details']
  told = usage['completion_tokens_details']
  usage['completion_tokens_details'] = {
    'reasoning_tokens': told['reasoning_tokens']
  }
  for index, choice in enumerate(body['choices']):
    calls = choice.get('message', {}).get('tool_calls') or ()
    for which, call in enumerate(calls):
      call['id'] = content.made_id('call_', key, index, which)
  body['chatjax']['digest'] = drawn_digest(results)
  return body


def drawn_digest(results: Sequence[types.Completion]) -> str:
  """Of all drawn tokens and the bits of their log-probabilities."""
  choices = [choice for result in results for choice in result.choices]
  return records.digest(
    [choice.token_ids for choice in choices],
    [keeper.bits(choice.token_logprobs) for choice in choices],
  )


def _num_tokens(results: Sequence[types.Completion]) -> int:
  return sum(
    len(choice.token_ids) for result in results for choice in result.choices
  )
