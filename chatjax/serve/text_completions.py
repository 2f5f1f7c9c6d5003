"""POST /v1/completions: texts that are continued."""

from __future__ import annotations

import functools

from starlette import concurrency
from starlette import requests
from starlette import responses

from chatjax.chat import session as session_lib
from chatjax.chat import texts as texts_lib
from chatjax.protocol import text_answer
from chatjax.protocol import text_completion
from chatjax.serve import answers
from chatjax.serve import completions
from chatjax.serve import guard
from chatjax.serve import service as service_lib
from chatjax.serve import visit as visit_lib


class TextCompletions:
  """Answers requests for plain texts; every prompt has its line in the log."""

  def __init__(self, service: service_lib.Service):
    self._service = service

  async def create(self, http: requests.Request) -> responses.Response:
    """Answers one request, or raises `types.ChatjaxError`."""
    body = await completions.read_json(
      http, self._service.limits.max_body_bytes
    )
    asked = await concurrency.run_in_threadpool(
      text_completion.parse_json, body, limits=self._service.limits
    )
    share = self._service.quota.share(guard.key_of(http.scope))
    share.take(asked.request.n * len(asked.prompts))
    answer_id = session_lib.new_id('cmpl')
    entries = [
      self._service.journal.open(f'{answer_id}-{which}')
      for which in range(len(asked.prompts))
    ]
    try:
      # Tokenizing long prompts must not hold up other streams.
      running = await concurrency.run_in_threadpool(
        texts_lib.start,
        self._service.session,
        asked,
        answer_id=answer_id,
        request_ids=[entry.request_id for entry in entries],
        timeout_s=self._service.timeouts.answer_s,
      )
    except BaseException:
      share.give_back()
      for entry in entries:
        self._service.journal.discard(entry)
      raise
    answering = visit_lib.Visit(
      running,
      list(zip(running.parts, entries, strict=True)),
      self._service.gate,
      share,
      request=asked.request,
      user=asked.user,
    )
    answer = await visit_lib.answer(
      http,
      answering,
      self._service.timeouts,
      whole=functools.partial(text_answer.completion, running.meta),
      chunks=text_answer.ChunkBuilder(running.meta),
    )
    answer.headers[answers.REQUEST_ID] = answer_id
    return answer
