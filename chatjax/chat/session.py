"""A loaded model that answers requests: prompt, limits, seed, engine."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import json
import secrets
import time
from typing import Any
from typing import Protocol
import uuid

from chatjax import types
from chatjax.chat import choice as choice_lib
from chatjax.chat import choice_keys
from chatjax.chat import chunks as chunks_lib
from chatjax.chat import generation
from chatjax.protocol import build
from chatjax.protocol import errors
from chatjax.protocol import response
from chatjax.text import tokenizer as tokenizer_lib


class ChatFormat(Protocol):
  """How messages become a prompt."""

  def encode(self, messages: Sequence[Mapping[str, Any]]) -> Sequence[int]: ...


def new_id() -> str:
  """Of a request that was never made before."""
  return f'chatcmpl-{uuid.uuid4().hex}'


class Session:
  """One model behind the chat interface. Thread-safe."""

  def __init__(
    self,
    engine: generation.Engine,
    tokenizer: tokenizer_lib.Tokenizer,
    chat_format: ChatFormat,
    *,
    model_id: str,
    sampler_version: int,
  ):
    self.engine = engine
    self.tokenizer = tokenizer
    self.chat_format = chat_format
    self.model_id = model_id
    self.created = int(time.time())
    self._sampler_version = sampler_version

  def start(
    self,
    request: types.Request,
    *,
    request_id: str | None = None,
    timeout_s: float | None = None,
  ) -> generation.Generation:
    """Submits a request.

    Args:
      request: what is asked.
      request_id: from `new_id`, where it has to be known before.
      timeout_s: after which it fails with 504.

    Raises:
      types.RequestError: it cannot be served as it stands.
    """
    self._check(request)
    prompt_ids = tuple(self.chat_format.encode(request.messages))
    tokens = self._token_request(
      request, prompt_ids, request_id or new_id(), timeout_s
    )
    meta = self._meta(request, tokens)
    hidden_ids = (
      self.tokenizer.control_ids | self.tokenizer.eos_ids | tokens.stop_ids
    )
    choices = [
      choice_lib.ChoiceAssembler(
        choice, self.tokenizer, request.sampling, hidden_ids
      )
      for choice in range(request.n)
    ]
    running = generation.Generation(self.engine, tokens, meta, choices)
    self._submit(running)
    return running

  def create(self, request: types.Request) -> response.ChatCompletion:
    """Answers as a whole."""
    running = self.start(request)
    return build.completion(running.meta, running.result())

  def stream(self, request: types.Request) -> chunks_lib.ChunkStream:
    """Answers in chunks; closing or dropping the stream stops the model."""
    return chunks_lib.ChunkStream(self.start(request))

  def _submit(self, running: generation.Generation) -> None:
    try:
      running.submit()
    except types.RequestError:
      raise
    except types.ChatjaxError as error:  # it died since it was asked
      raise _stopped() from error

  def _check(self, request: types.Request) -> None:
    if request.model not in (None, self.model_id):
      raise errors.model_not_found(request.model, self.model_id)
    if not self.engine.is_alive:
      raise _stopped()
    for param in ('logit_bias', 'stop_token_ids'):
      for token_id in getattr(request.sampling, param):
        if not 0 <= token_id < self.engine.vocab_size:
          raise types.RequestError(
            f'{param} names the token {token_id}; this model has the tokens '
            f'0 to {self.engine.vocab_size - 1}.',
            param=param,
          )

  def _token_request(
    self,
    request: types.Request,
    prompt_ids: tuple[int, ...],
    request_id: str,
    timeout_s: float | None,
  ) -> types.TokenRequest:
    room = self.engine.max_context - len(prompt_ids)
    if room < 1:
      raise types.RequestError(
        f'The messages are {len(prompt_ids)} tokens long; the context of '
        f'{self.engine.max_context} tokens leaves no room for an answer. '
        'Shorten the messages.',
        param='messages',
        code='context_length_exceeded',
      )
    sampling = request.sampling
    eos_ids = frozenset() if sampling.ignore_eos else self.tokenizer.eos_ids
    drawn = secrets.randbits(64) + types.MIN_SEED
    return types.TokenRequest(
      request_id=request_id,
      prompt_ids=prompt_ids,
      sampling=sampling,
      seed=drawn if request.seed is None else request.seed,
      stop_ids=eos_ids | frozenset(sampling.stop_token_ids),
      max_tokens=min(sampling.max_tokens or room, room),
      n=request.n,
      priority=request.priority,
      cache_salt=_salt(request),
      timeout_s=timeout_s,
      speculation=request.speculation,
      prediction_ids=self._prediction_ids(request),
    )

  def _prediction_ids(self, request: types.Request) -> tuple[int, ...]:
    """The predicted answer as far as it could be one."""
    if request.prediction is None:
      return ()
    token_ids = self.tokenizer.encode(request.prediction)
    return tuple(token_ids[: self.engine.max_context])

  def _meta(
    self, request: types.Request, tokens: types.TokenRequest
  ) -> response.Meta:
    return response.Meta(
      id=tokens.request_id,
      created=int(time.time()),
      model=self.model_id,
      system_fingerprint=self.engine.fingerprint,
      seed=tokens.seed,
      choice_keys=tuple(
        choice_keys.choice_key(tokens.seed, choice)
        for choice in range(tokens.n)
      ),
      sampler_version=self._sampler_version,
      n=tokens.n,
      prompt_ids=tokens.prompt_ids,
      has_logprobs=request.sampling.logprobs,
      has_token_ids=request.return_token_ids,
      include_usage=request.include_usage,
    )


def _salt(request: types.Request) -> str:
  """One name for the pair: different pairs have different ones."""
  pair = request.prompt_cache_key, request.cache_salt
  return '' if pair == (None, None) else json.dumps(pair)


def _stopped() -> types.RequestError:
  return types.RequestError(
    'The engine has stopped; restart the server.',
    code='engine_stopped',
    status=503,
  )
