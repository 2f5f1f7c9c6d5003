"""A loaded model that answers requests: prompt, limits, seed, engine."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import copy
import dataclasses
import functools
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
from chatjax.chat import format as format_lib
from chatjax.chat import gather
from chatjax.chat import generation
from chatjax.chat import keeper as keeper_lib
from chatjax.chat import mailbox
from chatjax.chat import outputs as outputs_lib
from chatjax.chat import thinking
from chatjax.chat import tool_list
from chatjax.chat import verbosity
from chatjax.chat.parsers import formats
from chatjax.chat.parsers import plain
from chatjax.grammar import compiler as compiler_lib
from chatjax.protocol import build
from chatjax.protocol import errors
from chatjax.protocol import response
from chatjax.store import store as store_lib
from chatjax.text import tokenizer as tokenizer_lib


class ChatFormat(Protocol):
  """How messages become a prompt; see `format.ChatFormat`.

  Attributes:
    variables: what a request may say to the template.
    template_source: the template itself.
  """

  template_source: str

  @property
  def variables(self) -> Collection[str]: ...

  def prompt(
    self,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool,
    continue_final_message: bool,
    tools: Sequence[Mapping[str, Any]] | None,
    **kwargs: Any,
  ) -> format_lib.Prompt: ...


class Submittable(Protocol):
  """A request, or several, before the engine has it."""

  def submit(self) -> None: ...


def new_id(kind: str = 'chatcmpl') -> str:
  """Of a request that was never made before."""
  return f'{kind}-{uuid.uuid4().hex}'


def new_seed() -> int:
  """For a request that brings none."""
  return secrets.randbits(64) + types.MIN_SEED


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
    output_format: formats.OutputFormat = plain.PLAIN,
    open_store: Callable[[], store_lib.Store] | None = None,
  ):
    self.engine = engine
    self.tokenizer = tokenizer
    self.chat_format = chat_format
    compiler = compiler_lib.Compiler(tokenizer, vocab_size=engine.vocab_size)
    self._planner = outputs_lib.Planner(tokenizer, output_format, compiler)
    self._text_planner = outputs_lib.Planner(tokenizer, plain.PLAIN, compiler)
    self.model_id = model_id
    self.created = int(time.time())
    self.output_format = output_format.name
    self._sampler_version = sampler_version
    self.keeper = keeper_lib.Keeper(
      open_store, fingerprint_parts=engine.fingerprint_parts
    )

  def on(self, engine: generation.Engine) -> Session:
    """The same session on another engine."""
    session = copy.copy(self)
    session.engine = engine
    session.keeper = self.keeper.of(engine.fingerprint_parts)
    return session

  def start(
    self,
    request: types.Request,
    *,
    request_id: str | None = None,
    timeout_s: float | None = None,
    prompt: format_lib.Prompt | None = None,
    engine: gather.Engine | None = None,
  ) -> generation.Generation:
    """Submits a request.

    Args:
      request: what is asked.
      request_id: from `new_id`, where it has to be known before.
      timeout_s: after which it fails with 504.
      prompt: in place of what its messages come to.
      engine: what it is submitted to, in place of the session's.

    Raises:
      types.RequestError: it cannot be served as it stands.
    """
    self._check(request)
    thought = self._thought(request)
    if prompt is None:
      prompt = self._render(request, thought.variables)
    outputs = self._planner.plan(
      request,
      prompt=prompt.text,
      budget=thought.budget,
      can_think=self._can_think,
    )
    self._check_room(prompt.token_ids, 'messages')
    tokens = self._token_request(
      request, prompt.token_ids, request_id or new_id(), timeout_s
    )
    return self._run(
      request, tokens, outputs, engine=engine, tag_ids=self._tag_ids
    )

  def start_text(
    self,
    request: types.Request,
    prompt_ids: tuple[int, ...],
    *,
    request_id: str,
    timeout_s: float | None,
    inbox: mailbox.Mailbox,
  ) -> generation.Generation:
    """Submits a request without messages; otherwise as `start`.

    Args:
      request: what is asked.
      prompt_ids: what is continued. Whatever follows is text: no reasoning, no
        calls; tokens that show nothing have log-probabilities, too.
      request_id: from `new_id`.
      timeout_s: after which it fails with 504.
      inbox: of the generation.
    """
    self._check(request)
    # What the model takes may be more than what the tokenizer can spell.
    bound = min(self.engine.vocab_size, self.tokenizer.vocab_size)
    _check_ids('prompt', prompt_ids, bound)
    self._check_room(prompt_ids, 'prompt')
    outputs = self._text_planner.plan(request, prompt='', budget=None)
    tokens = self._token_request(request, prompt_ids, request_id, timeout_s)
    return self._run(request, tokens, outputs, inbox, reports_hidden=True)

  def _run(
    self,
    request: types.Request,
    tokens: types.TokenRequest,
    outputs: outputs_lib.Outputs,
    inbox: mailbox.Mailbox | None = None,
    engine: gather.Engine | None = None,
    **reading: Any,
  ) -> generation.Generation:
    """Submits tokens; `reading` is how a choice reads what comes of them."""
    hidden_ids = (
      self.tokenizer.control_ids | self.tokenizer.eos_ids | tokens.stop_ids
    )
    choices = [
      choice_lib.ChoiceAssembler(
        choice,
        self.tokenizer,
        request.sampling,
        hidden_ids=hidden_ids,
        parser=outputs.parser(),
        call_ends=outputs.call_ends,
        is_named=outputs.is_named,
        **reading,
      )
      for choice in range(request.n)
    ]
    running = generation.Generation(
      engine or self.engine,
      dataclasses.replace(tokens, constraint=outputs.constraint),
      self._meta(request, tokens),
      choices,
      inbox,
      source=request,
    )
    self.submit(running)
    return running

  def prompt(self, request: types.Request) -> format_lib.Prompt:
    """The prompt that a request comes to."""
    return self._render(request, self._thought(request).variables)

  def text_ids(self, text: str, *, has_start: bool) -> list[int]:
    """The tokens of ordinary text.

    Args:
      text: whatever it spells, no control token comes of it.
      has_start: whether the token that starts every text is added, if this
        tokenizer has one.
    """
    bos_id = self.tokenizer.bos_id
    starts = has_start and self.tokenizer.add_bos and bos_id is not None
    return [*([bos_id] if starts else []), *self.tokenizer.encode(text)]

  def text_of(self, token_ids: Sequence[int]) -> str:
    """The text of tokens; control tokens as they are spelled."""
    _check_ids('tokens', token_ids, self.tokenizer.vocab_size)
    controls = self.tokenizer.control_ids
    return b''.join(
      self.tokenizer.spelling(token_id).encode()
      if token_id in controls
      else self.tokenizer.token_bytes(token_id)
      for token_id in token_ids
    ).decode(errors='replace')

  def create(self, request: types.Request) -> response.ChatCompletion:
    """Answers as a whole."""
    return self.answer(self.start(request))

  def answer(self, running: generation.Generation) -> response.ChatCompletion:
    """Waits for the whole answer of a request that was started."""
    result = running.result()
    answer = build.completion(running.meta, result)
    return self.keeper.keep(running, result, answer)

  def stream(self, request: types.Request) -> chunks_lib.ChunkStream:
    """Answers in chunks; closing or dropping the stream stops the model."""
    return chunks_lib.ChunkStream(self.start(request), self.keeper)

  def submit(self, running: Submittable) -> None:
    """Hands tokens to the engine; raises `types.RequestError`."""
    try:
      running.submit()
    except types.RequestError:
      raise
    except types.ChatjaxError as error:  # it died since it was asked
      raise _stopped() from error

  @property
  def _tag_ids(self) -> frozenset[int]:
    """Control tokens that the output format knows."""
    controls = self._planner.output_format.controls
    ids = {self.tokenizer.special_ids.get(spelling) for spelling in controls}
    return self.tokenizer.control_ids & ids

  @property
  def _can_think(self) -> bool:
    """Whether the model's template knows the tags of its output format."""
    tags = self._planner.output_format.reasoning_tags
    return tags is not None and tags[1] in self.chat_format.template_source

  def _thought(self, request: types.Request) -> thinking.Thinking:
    return thinking.resolve(
      request, variables=self.chat_format.variables, can_think=self._can_think
    )

  def _render(
    self, request: types.Request, variables: Mapping[str, Any]
  ) -> format_lib.Prompt:
    # A caller's own word about the template goes before ours.
    kwargs = {**variables, **request.chat_template_kwargs}
    # All tools, also where few may be called: the prompt stays in the cache.
    hides_tools = request.tool_choice.mode == 'none'
    prompt = functools.partial(
      self.chat_format.prompt,
      add_generation_prompt=request.add_generation_prompt,
      continue_final_message=request.continue_final_message,
      tools=None if hides_tools else tool_list.as_dicts(request.tools),
      **kwargs,
    )
    *others, last = verbosity.ways(request.messages, request.verbosity)
    for messages in others:
      with contextlib.suppress(types.RequestError):
        return prompt(messages)
    return prompt(last)

  def _check(self, request: types.Request) -> None:
    if request.model not in (None, self.model_id):
      raise errors.model_not_found(request.model, self.model_id)
    if not self.engine.is_alive:
      raise _stopped()
    self.keeper.check(request)
    for param in ('logit_bias', 'stop_token_ids', 'allowed_token_ids'):
      token_ids = getattr(request.sampling, param) or ()
      _check_ids(param, token_ids, self.engine.vocab_size)

  def _check_room(self, prompt_ids: Sequence[int], param: str) -> None:
    if len(prompt_ids) < self.engine.max_context:
      return
    raise types.RequestError(
      f'The {param} {"is" if param == "prompt" else "are"} {len(prompt_ids)} '
      f'tokens long; the context of {self.engine.max_context} tokens leaves no '
      f'room for an answer. Shorten the {param}.',
      param=param,
      code='context_length_exceeded',
    )

  def _token_request(
    self,
    request: types.Request,
    prompt_ids: tuple[int, ...],
    request_id: str,
    timeout_s: float | None,
  ) -> types.TokenRequest:
    room = self.engine.max_context - len(prompt_ids)
    sampling = request.sampling
    eos_ids = frozenset() if sampling.ignore_eos else self.tokenizer.eos_ids
    return types.TokenRequest(
      request_id=request_id,
      prompt_ids=prompt_ids,
      sampling=sampling,
      seed=new_seed() if request.seed is None else request.seed,
      stop_ids=eos_ids | frozenset(sampling.stop_token_ids),
      max_tokens=min(sampling.max_tokens or room, room),
      n=request.n,
      priority=request.priority,
      cache_salt=_salt(request),
      timeout_s=timeout_s,
      speculation=request.speculation,
      prediction_ids=self._prediction_ids(request),
      prompt_logprobs=request.prompt_logprobs,
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
      has_tools=bool(request.tools),
      uses_functions=request.uses_functions,
      is_named_choice=request.tool_choice.is_named,
      metadata=request.metadata,
      service_tier=request.service_tier or 'default',
    )


def _check_ids(param: str, token_ids: Iterable[int], bound: int) -> None:
  for token_id in token_ids:
    if not 0 <= token_id < bound:
      raise types.RequestError(
        f'{param} names the token {token_id}; this model has the tokens '
        f'0 to {bound - 1}.',
        param=param,
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
