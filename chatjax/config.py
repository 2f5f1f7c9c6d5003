"""Frozen configs: how a model is computed, how it is run and served."""

from __future__ import annotations

import dataclasses
import types as builtin_types
import typing
from typing import Any
from typing import Literal

from chatjax import types

Dtype = Literal[
    'int8', 'int8_weight', 'int4_weight', 'fp8', 'bfloat16', 'float32'
]  # fmt: skip
DTYPES: tuple[str, ...] = typing.get_args(Dtype)
# Those of arrays; the rest are quantizations, as `nn/quant.py` has them.
FLOATS = ('bfloat16', 'float32')
CacheDtype = Literal['auto', 'float32', 'bfloat16', 'int8']
CACHE_DTYPES: tuple[str, ...] = typing.get_args(CacheDtype)


class ConfigError(types.ChatjaxError, ValueError):
  """A config that cannot be right; the message names field and value."""


def check(condition: bool, message: str) -> None:
  """Raises `ConfigError` if a config is not as it must be."""
  if not condition:
    raise ConfigError(message)


def check_positive(config: Any, names: str) -> None:
  """Refuses fields that are not positive; `names` has spaces between."""
  for name in names.split():
    value = getattr(config, name)
    check(value > 0, f'{name}={value} must be positive.')


def check_types(config: Any) -> None:
  """Refuses fields that are not what their annotations say."""
  for name, hint in typing.get_type_hints(type(config)).items():
    value = getattr(config, name)
    if typing.get_origin(hint) is Literal:
      allowed = typing.get_args(hint)
      check(
        value in allowed,
        f'{name}={value!r} is not one of {", ".join(allowed)}.',
      )
    else:
      kind = getattr(hint, '__name__', None) or str(hint)
      check(_fits(value, hint), f'{name}={value!r} is not of type {kind}.')


def _fits(value: Any, hint: Any) -> bool:
  if typing.get_origin(hint) is builtin_types.UnionType:
    return any(_fits(value, option) for option in typing.get_args(hint))
  if typing.get_origin(hint) is tuple:
    kind = typing.get_args(hint)[0]  # of any length
    return isinstance(value, tuple) and all(_fits(x, kind) for x in value)
  if hint is float and type(value) is int:
    return True
  return type(value) is hint


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
  """Devices that run one model together; see `nn/sharding.py`.

  Attributes:
    data: splits the rows of a step; weights and pages are on each slice.
    expert: splits experts.
    model: splits heads, MLPs and vocabulary.
  """

  data: int = 1
  expert: int = 1
  model: int = 1

  def __post_init__(self):
    check_types(self)
    check_positive(self, 'data expert model')

  @property
  def num_devices(self) -> int:
    return self.data * self.expert * self.model


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineConfig:
  """How a model is run. All of it enters the system fingerprint.

  Attributes:
    dtype: weights; 'int8' has groups of 64 inputs where the native kernel
      runs, else per-channel weights and per-token activations. 'int8_weight'
      and 'int4_weight' leave the activations floats; 'fp8' is of both.
    cache_dtype: keys and values; 'auto' is bfloat16 beside bfloat16 weights,
      else float32. 'int8' has a factor per position and head.
    max_rows: sequences that decode at once.
    context: positions per sequence, prompt included.
    page_size: positions per cache page, also the attention block.
    chunk: prompt tokens per prefill program; a multiple of `page_size`.
    cache_tokens: positions in the page pool; 0 is `max_rows * context`
      bounded by 16,384. Layers with a sliding window have a smaller pool.
    decode_steps: tokens per row and dispatch at most.
    prefill_burst: prefill chunks between two decode blocks at most, while
      rows are decoding: more starts answers sooner, less writes them steadier.
    lookahead: decode blocks dispatched before the last one is read; None is 0
      on a CPU, where the device works on the caller's cores, else 1.
    max_queue: choices that may wait for a row; one more is refused.
    priority_step: later arrivals that one step of priority overtakes.
    prefix_cache: whether prompts share what they begin with.
    draft_width: rows of a decode step up to which free ones verify guessed
      tokens; 0 is no speculation.
    mesh: devices that run the model together.
  """

  dtype: Dtype = 'int8'
  cache_dtype: CacheDtype = 'auto'
  max_rows: int = 8
  context: int = 4096
  page_size: int = 64
  chunk: int = 128
  cache_tokens: int = 0
  decode_steps: int = 4
  prefill_burst: int = 8
  lookahead: int | None = None
  max_queue: int = 256
  priority_step: int = 1000
  prefix_cache: bool = True
  draft_width: int = 8
  mesh: MeshConfig = MeshConfig()

  def __post_init__(self):
    check_types(self)
    check_positive(
        self, 'max_rows context page_size chunk decode_steps prefill_burst'
        ' max_queue priority_step'
    )  # fmt: skip
    check(self.max_rows <= 256, f'max_rows={self.max_rows} is over 256.')
    check(
      self.decode_steps <= self.page_size,
      f'decode_steps={self.decode_steps} is over page_size={self.page_size}.',
    )
    for name in ('lookahead', 'draft_width'):
      value = getattr(self, name)
      check(value is None or value >= 0, f'{name}={value} must be 0 or more.')
    check(
      self.chunk % self.page_size == 0,
      f'chunk={self.chunk} is not a multiple of page_size={self.page_size}.',
    )
    check(
      self.context % self.chunk == 0,
      f'context={self.context} is not a multiple of chunk={self.chunk}.',
    )
    check(
      self.cache_tokens % self.page_size == 0,
      f'cache_tokens={self.cache_tokens} is not a multiple of'
      f' page_size={self.page_size}.',
    )
    check(
      self.cache_tokens == 0 or self.cache_tokens >= self.context,
      f'cache_tokens={self.cache_tokens} holds less than one sequence of'
      f' context={self.context}.',
    )

  def num_pages(self, window: int | None = None) -> int:
    """Pages in the pool of layers that see so many positions (None: all).

    Page 0 and a spare for a forked tail are included.
    """
    bound = max(self.context, 16_384 // self.page_size * self.page_size)
    tokens = self.cache_tokens or min(self.max_rows * self.context, bound)
    if window is not None:
      # A row holds its window and what it writes; a prompt is prefilled beside
      # them, and as much again is kept of prefixes.
      of_a_row = -(-window // self.page_size) + self.chunk // self.page_size + 1
      rows = 2 * self.max_rows + 1
      tokens = min(tokens, rows * of_a_row * self.page_size)
    return tokens // self.page_size + 2

  @property
  def stored_cache_dtype(self) -> str:
    """What `cache_dtype` means beside these weights."""
    if self.cache_dtype != 'auto':
      return self.cache_dtype
    return 'bfloat16' if self.dtype == 'bfloat16' else 'float32'

  @property
  def num_rows(self) -> int:
    """Rows of the decode program; one alone would take XLA's slow path."""
    return max(2, self.max_rows)

  @property
  def pages_per_row(self) -> int:
    return self.context // self.page_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeConfig:
  """Where, for whom and how long the HTTP server answers; see its flags."""

  host: str = '127.0.0.1'
  port: int = 8000
  max_n: int = 8
  max_per_key: int = 0
  timeout_s: float = 0
  write_timeout_s: float = 60
  drain_timeout_s: float = 30

  def __post_init__(self):
    check_types(self)
    check(0 <= self.port < 65536, f'port={self.port} is not in 0..65535.')
    check(self.max_n > 0, f'max_n={self.max_n} must be positive.')
    check(self.max_per_key >= 0, f'max_per_key={self.max_per_key} is negative.')
    for name in ('timeout_s', 'write_timeout_s', 'drain_timeout_s'):
      is_time = 0 <= getattr(self, name) < float('inf')
      check(is_time, f'{name}={getattr(self, name)} must be 0 or more.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """One run: a model by its registry id, the engine, the server.

  Attributes:
    output_format: how the model writes calls and reasoning; None is what its
      registry entry or chat template says.
    store: URL of the database of stored answers; None is a file in
      `CHATJAX_HOME`.
  """

  model: str = 'qwen2.5-coder-0.5b-instruct'
  output_format: str | None = None
  store: str | None = None
  engine: EngineConfig = EngineConfig()
  serve: ServeConfig = ServeConfig()

  def __post_init__(self):
    check_types(self)
