"""Asks one OpenAI-compatible server over HTTP.

asyncio and h11 alone: a client with little work of its own, since it often
shares the processor with the server that it measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Mapping
import contextlib
import json
import os
import ssl
import time
from typing import Any
from urllib import parse

import h11

from chatjax import types
from chatjax.cli import bench_serve_answer
from chatjax.cli import bench_serve_workload

CHAT, MODELS = '/v1/chat/completions', '/v1/models'
_READ_BYTES = 2**16
_PORTS = {'http': 80, 'https': 443}


class ServerError(types.ChatjaxError):
  """The server cannot be measured at all; the message says why."""


class BadUrlError(types.ChatjaxError):
  """No address of a server."""


class Client:
  """One server and one of its models.

  Args:
    base_url: where it listens, with or without a final /v1.
    api_key: sent with every request.
    timeout_s: for one answer, from sending to its end.
    extra_body: fields added to every request.

  Attributes:
    model: the id that requests name; empty until it is chosen.
  """

  def __init__(
    self,
    base_url: str,
    *,
    model: str = '',
    api_key: str | None = None,
    timeout_s: float = 600.0,
    extra_body: Mapping[str, Any] | None = None,
  ):
    self.model = model
    self._url = _split(base_url)
    self._timeout_s = timeout_s
    self._extra_body = dict(extra_body or {})
    headers = [
      ('Host', _address(self._url)),
      ('Connection', 'close'),
      ('User-Agent', 'chatjax'),
    ]
    if api_key:
      headers.append(('Authorization', f'Bearer {api_key}'))
    self._headers = headers

  @property
  def base_url(self) -> str:
    """Without user name, password and /v1."""
    return f'{self._url.scheme}://{_address(self._url)}{self._url.path}'

  @property
  def host(self) -> str:
    return self._url.hostname

  async def get(self, path: str) -> tuple[int, bytes]:
    """(status, body) of a GET.

    Raises:
      ServerError: nobody answers.
    """
    try:
      async with asyncio.timeout(self._timeout_s):
        async with self._exchange('GET', path) as (status, pieces):
          return status, b''.join([piece async for piece in pieces])
    except (OSError, h11.RemoteProtocolError) as error:
      raise ServerError(
        f'No server answers at {self.base_url} ({_reason(error)}); start'
        ' it, or give its address with --base_url.'
      ) from None

  async def first_model(self) -> str:
    """The id of the model that the server lists first.

    Raises:
      ServerError: nobody answers, or not with a list.
    """
    status, body = await self.get(MODELS)
    try:
      return json.loads(body)['data'][0]['id']
    except (ValueError, LookupError, TypeError):
      raise ServerError(
        f'{self.base_url} lists no models (status {status}); name one'
        ' with --model.'
      ) from None

  async def ask(
    self, prompt: bench_serve_workload.Prompt
  ) -> bench_serve_answer.Answer:
    """One streamed answer; failures are in its `error`.

    The clock starts before the connection is opened: each request has one of
    its own.
    """
    body = json.dumps(self._body(prompt)).encode()
    start_s = time.perf_counter()
    try:
      async with asyncio.timeout(self._timeout_s):
        return await self._ask(body, start_s, prompt.n)
    except TimeoutError:
      reason = f'no answer within {self._timeout_s:g} s'
    except bench_serve_answer.BadAnswerError as error:
      reason = str(error)
    except (OSError, h11.RemoteProtocolError) as error:
      reason = _reason(error)
    return bench_serve_answer.Answer(
      start_s=start_s, latency_s=time.perf_counter() - start_s, error=reason
    )

  def _body(self, prompt: bench_serve_workload.Prompt) -> dict[str, Any]:
    return {
      'model': self.model,
      **prompt.body(),
      'stream': True,
      'stream_options': {'include_usage': True},
      **self._extra_body,
    }

  async def _ask(
    self, body: bytes, start_s: float, num_choices: int
  ) -> bench_serve_answer.Answer:
    events = bench_serve_answer.Events()
    recorder = bench_serve_answer.Recorder(start_s)
    async with self._exchange('POST', CHAT, body) as (status, pieces):
      if status != 200:
        text = b''.join([piece async for piece in pieces])
        raise bench_serve_answer.BadAnswerError(_refusal(status, text))
      async for piece in pieces:
        now_s = time.perf_counter()
        for data in events.feed(piece):
          recorder.add(data, now_s)
    return recorder.finish(time.perf_counter(), num_choices)

  @contextlib.asynccontextmanager
  async def _exchange(
    self, method: str, path: str, body: bytes = b''
  ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
    """One request: the status of the response and the pieces of its body."""
    url = self._url
    reader, writer = await asyncio.open_connection(
      url.hostname,
      url.port or _PORTS[url.scheme],
      ssl=ssl.create_default_context() if url.scheme == 'https' else None,
    )
    try:
      http = h11.Connection(h11.CLIENT)
      headers = [*self._headers, ('Content-Length', str(len(body)))]
      if body:
        headers.append(('Content-Type', 'application/json'))
      request = h11.Request(
        method=method, target=url.path + path, headers=headers
      )
      writer.write(
        http.send(request)
        + http.send(h11.Data(body))
        + http.send(h11.EndOfMessage())
      )
      await writer.drain()
      head = await _next(http, reader)
      while isinstance(head, h11.InformationalResponse):
        head = await _next(http, reader)
      yield head.status_code, _pieces(http, reader)
    finally:
      writer.close()


async def _next(
  http: h11.Connection, reader: asyncio.StreamReader
) -> h11.Event:
  while (event := http.next_event()) is h11.NEED_DATA:
    http.receive_data(await reader.read(_READ_BYTES))
  if isinstance(event, h11.ConnectionClosed):
    raise h11.RemoteProtocolError('the connection was closed')
  return event


async def _pieces(
  http: h11.Connection, reader: asyncio.StreamReader
) -> AsyncIterator[bytes]:
  while not isinstance(event := await _next(http, reader), h11.EndOfMessage):
    yield event.data


def _split(base_url: str) -> parse.SplitResult:
  url = base_url.rstrip('/').removesuffix('/v1')
  try:
    parts = parse.urlsplit(url)
    is_whole = parts.scheme in _PORTS and parts.hostname and parts.port != 0
  except ValueError:  # no number for a port, half an IPv6 address
    is_whole = False
  if not is_whole or parts.query or parts.fragment:
    raise BadUrlError(
      f'{base_url!r} is not the address of a server; write it like'
      ' http://127.0.0.1:8000.'
    )
  return parts


def _address(url: parse.SplitResult) -> str:
  return url.netloc.rpartition('@')[2]


def _refusal(status: int, body: bytes) -> str:
  try:
    message = bench_serve_answer.told(json.loads(body))
  except ValueError:
    message = bench_serve_answer.told(body.decode(errors='replace'))
  return f'status {status}: {message}'


def _reason(error: Exception) -> str:
  number = getattr(error, 'errno', None)
  text = os.strerror(number) if number else str(error)
  return ' '.join(text.split()).rstrip('.') or type(error).__name__
