"""A loaded model: it answers, scores, sweeps, and can be looked into."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import logging
from typing import Any

import jax

from chatjax import look as look_lib
from chatjax import types
from chatjax.chat import chunks as chunks_lib
from chatjax.chat import counterfactuals as counterfactuals_lib
from chatjax.chat import replay as replay_lib
from chatjax.chat import scoring
from chatjax.chat import session as session_lib
from chatjax.chat import sweep as sweep_lib
from chatjax.engine import engine as engine_lib
from chatjax.protocol import errors
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import python_body
from chatjax.protocol import request as request_lib
from chatjax.protocol import response
from chatjax.store import store as store_lib

_log = logging.getLogger(__name__)


class Chat:
  """A loaded model. Close it, or use it in a `with` block."""

  def __init__(
    self, session: session_lib.Session, limits: limits_lib.Limits | None = None
  ):
    self.session = session
    self._limits = limits or limits_lib.Limits()

  @property
  def model_id(self) -> str:
    return self.session.model_id

  @property
  def system_fingerprint(self) -> str:
    """While it stays the same, so do seeded answers."""
    return self.session.engine.fingerprint

  def chat(
    self, messages: Sequence[Mapping[str, Any]], **params: Any
  ) -> response.ChatCompletion:
    """Answers as a whole.

    Args:
      messages: as in OpenAI's interface; dicts, or message objects such as
        an answer's own `choices[0].message`.
      **params: its fields: temperature, seed, n, stop, logprobs, ... `user`
        is written to the log, and changes no token.

    Raises:
      types.RequestError: names the field at fault in `param`.
    """
    _refuse_stream(params)
    return self.session.create(self._parse(messages, params))

  def stream(
    self, messages: Sequence[Mapping[str, Any]], **params: Any
  ) -> chunks_lib.ChunkStream:
    """Answers in chunks; closing or dropping the stream stops the model."""
    _refuse_stream(params)
    return self.session.stream(self._parse(messages, params, stream=True))

  def tokenize(self, prompt: scoring.Prompt) -> tuple[int, ...]:
    """The token ids of a text, or of messages as they are rendered."""
    return self._prompt_ids(prompt)

  def detokenize(self, token_ids: Iterable[int]) -> str:
    """The text of tokens; control tokens as they are spelled."""
    return self.session.text_of([int(token_id) for token_id in token_ids])

  def score(
    self, prompt: scoring.Prompt, completion: scoring.Text, **options: Any
  ) -> scoring.Scored:
    """What the model says of a completion that it is given.

    The log-probabilities are those of the same answer drawn, bit for bit.

    Args:
      prompt: a text, messages as `chat` takes them, or token ids.
      completion: a text, or token ids such as an answer's.
      **options: see `score_many`.
    """
    (scored,) = self.score_many([(prompt, completion)], **options)
    return scored

  def score_many(
    self,
    pairs: Iterable[tuple[scoring.Prompt, scoring.Text]],
    *,
    top_logprobs: int = 0,
  ) -> list[scoring.Scored]:
    """Scores completions of prompts, all of them in flight together.

    Pairs of one prompt share its prefill.

    Args:
      pairs: (prompt, completion), each as `score` takes it.
      top_logprobs: alternatives to tell of per token, 0 to 20.

    Raises:
      types.RequestError: names what is at fault in `param`.
    """
    as_ids = [
      (self._prompt_ids(prompt), scoring.completion_ids(self.session, text))
      for prompt, text in pairs
    ]
    return scoring.score(self.session, as_ids, top_logprobs=top_logprobs)

  def sweep(
    self, messages: Sequence[Mapping[str, Any]], **params: Any
  ) -> sweep_lib.Sweep:
    """Answers under many settings, with one prefill for all of them.

    Each answer is what `chat` gives for its settings, bit for bit; those of
    one seed are drawn with the same noise. More than the engine's queue holds
    go in groups, with a prefill each.

    Args:
      messages: as for `chat`.
      **params: its fields. The numbers that say how tokens are drawn
        (temperature, top_p, seed, max_tokens, ...) may be arrays, which are
        broadcast against each other. Without a seed one is drawn for all.

    Raises:
      types.RequestError: names the field at fault in `param`.
    """
    shape, settings = sweep_lib.plan(params)
    requests = [self._parse(messages, one) for one in settings]
    answers = sweep_lib.answers(self.session, requests)
    return sweep_lib.Sweep(
      shape=shape, settings=tuple(settings), answers=tuple(answers)
    )

  def counterfactuals(
    self,
    prompt: scoring.Prompt,
    completion: scoring.Text,
    *,
    choice: int = 0,
    **params: Any,
  ) -> counterfactuals_lib.Counterfactuals:
    """What would have been drawn at each step under other settings.

    Args:
      prompt: a text, messages as `chat` takes them, or token ids.
      completion: the answer as token ids, or as a text: drawn or made up.
      choice: number of the answer among the choices of its request.
      **params: the answer's seed and the other settings: temperature, top_p,
        ...; numbers may be arrays, which are broadcast against each other.

    Raises:
      types.RequestError: names what is at fault in `param`.
    """
    return counterfactuals_lib.draw(
      self.session,
      self._prompt_ids(prompt),
      scoring.completion_ids(self.session, completion),
      params,
      choice=choice,
    )

  @property
  def params(self) -> Any:
    """The parameters: a nested dict of arrays."""
    return self.session.engine.params

  def loss(
    self, token_ids: Any, mask: Any = None, *, params: Any = None
  ) -> jax.Array:
    """The mean of -log p(token | those before it), in nats; differentiable.

    The dense forward of float weights, for `jax.grad` over `params`.

    Args:
      token_ids: [T] or [B, T], or a list of sequences of any lengths.
      mask: how much the prediction of each token counts, of the same shape;
        the first token's is not read. None counts all.
      params: in place of the model's own; a tree like `model.params`.

    Raises:
      types.ChatjaxError: the weights are int8.
    """
    engine = self.session.engine
    return look_lib.loss(engine, token_ids, mask, params=params)

  def look(
    self,
    prompt: scoring.Prompt,
    *,
    read: Collection[str] = (),
    add: Mapping[str, Any] | None = None,
    attention: Collection[str] = (),
  ) -> look_lib.Inspection:
    """Runs the dense forward and shows what passes at named points.

    Args:
      prompt: a text, messages as `chat` takes them, or token ids.
      read: points of the residual stream, such as 'embed', 'layer_3.attn',
        'layer_3.mlp', 'layer_3' or 'final_norm'; see `chatjax.nn.taps`.
      add: point -> array that broadcasts to [T, D], added there.
      attention: layers, such as 'layer_2', whose attention is shown.

    Raises:
      types.RequestError: there is no such point; the error lists them.
    """
    ids = self._prompt_ids(prompt)
    engine = self.session.engine
    return look_lib.look(engine, ids, read=read, add=add, attention=attention)

  def unembed(self, hidden: Any) -> jax.Array:
    """Logits f32[..., V] of the residual stream f32[..., D] at any layer.

    The last norm and the vocabulary, as after the last layer: a logit lens.
    """
    return look_lib.unembed(self.session.engine, hidden)

  def steered(self, add: Mapping[str, Any]) -> Chat:
    """The same model with vectors added to its residual stream.

    It has an engine of its own, compiled for it, with a cache of its own, and
    shares the weights. Close it, too.

    Args:
      add: point (see `look`) -> f32[D], added at every position of prompts and
        answers.
    """
    engine = self.session.engine
    steered = engine_lib.Engine(
      look_lib.steered(engine, add),
      engine.config,
      prompt_format=engine.fingerprint_parts['prompt_format'],
    )
    return Chat(self.session.on(steered), self._limits)

  def stored(self, completion_id: str) -> dict[str, Any]:
    """A kept answer, as OpenAI's object.

    Raises:
      types.RequestError: there is none of that id.
    """
    found = self.session.keeper.store.get(completion_id)
    if found is None:
      raise store_lib.not_found(completion_id)
    return found

  def replay(self, completion_id: str) -> replay_lib.Report:
    """Draws a kept answer again and says whether it is the same.

    Raises:
      types.RequestError: there is none of that id.
    """
    provenance = self.session.keeper.store.provenance(completion_id)
    if provenance is None:
      raise store_lib.not_found(completion_id)
    return replay_lib.replay(self.session, provenance)

  def close(self) -> None:
    """Stops the engine; running answers get an error. Closes the store."""
    self.session.engine.close()
    self.session.keeper.close()

  def __enter__(self) -> Chat:
    return self

  def __exit__(self, *unused_error: object) -> None:
    self.close()

  def _prompt_ids(self, prompt: scoring.Prompt) -> tuple[int, ...]:
    ids = scoring.ids_of_text(self.session, prompt)
    if ids is None:
      ids = self.session.prompt(self._parse(prompt, {})).token_ids
    return ids

  def _parse(self, messages, params, **more):
    body = {'model': self.model_id, 'messages': messages, **params, **more}
    parsed = request_lib.parse(python_body.plain(body), limits=self._limits)
    for name in ('user', 'safety_identifier'):
      if (told := getattr(parsed, name)) is not None:
        _log.info('%s=%r', name, told)
    return parsed.request


def _refuse_stream(params: Mapping[str, Any]) -> None:
  """The method says it already; a field could only contradict it."""
  if 'stream' in params:
    raise types.RequestError(
      f'stream={errors.shorten(params["stream"])} is given; leave it out and '
      'call .stream(...) for an answer in chunks, .chat(...) for a whole one.',
      param='stream',
    )
