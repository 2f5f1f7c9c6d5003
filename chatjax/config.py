"""Frozen configs: an architecture, how it is computed, how it is run."""

from __future__ import annotations

import dataclasses
import enum
import types as builtin_types
import typing
from typing import Any
from typing import Literal

from chatjax import types

Dtype = Literal[
    'int8', 'int8_weight', 'int4_weight', 'fp8', 'bfloat16', 'float32'
]  # fmt: skip
DTYPES: tuple[str, ...] = typing.get_args(Dtype)
# None has more; a damaged file that says so must not fill the memory.
MAX_LAYERS = 1000
# Those of arrays; the rest are quantizations, as `nn/quant.py` has them.
FLOATS = ('bfloat16', 'float32')
CacheDtype = Literal['auto', 'float32', 'bfloat16', 'int8']
CACHE_DTYPES: tuple[str, ...] = typing.get_args(CacheDtype)


class LayerKind(enum.Enum):
  """What a layer's attention may see."""

  GLOBAL = 'global'
  LOCAL = 'local'  # a sliding window


class ConfigError(types.ChatjaxError, ValueError):
  """A config that cannot be right; the message names field and value."""


def _check(condition: bool, message: str) -> None:
  if not condition:
    raise ConfigError(message)


def _check_positive(config: Any, names: str) -> None:
  for name in names.split():
    value = getattr(config, name)
    _check(value > 0, f'{name}={value} must be positive.')


def _check_types(config: Any) -> None:
  """Refuses fields that are not what their annotations say."""
  for name, hint in typing.get_type_hints(type(config)).items():
    value = getattr(config, name)
    if typing.get_origin(hint) is Literal:
      allowed = typing.get_args(hint)
      _check(
        value in allowed,
        f'{name}={value!r} is not one of {", ".join(allowed)}.',
      )
    else:
      kind = getattr(hint, '__name__', None) or str(hint)
      _check(_fits(value, hint), f'{name}={value!r} is not of type {kind}.')


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
class Yarn:
  """Rotary embedding stretched to a longer context (arXiv:2309.00071).

  Attributes:
    factor: how much longer.
    original_context: positions before the stretching.
    beta_fast: dimensions that turn oftener in them are left as they are.
    beta_slow: those that turn less often are stretched by the whole factor.
    truncate: the border dimensions are whole numbers.
    attention_factor: on cosines and sines; None is `0.1 * ln(factor) + 1`.
  """

  factor: float
  original_context: int
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  truncate: bool = True
  attention_factor: float | None = None

  def __post_init__(self):
    _check_types(self)
    _check_positive(self, 'factor original_context beta_fast beta_slow')


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearRope:
  """Rotary embedding of positions divided by `factor` (arXiv:2306.15595)."""

  factor: float

  def __post_init__(self):
    _check_types(self)
    _check_positive(self, 'factor')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Llama3Rope:
  """Rotary embedding whose slow dimensions are stretched (arXiv:2407.21783).

  Attributes:
    factor: how much longer.
    original_context: positions before the stretching.
    low_frequency: dimensions that turn less often in them are stretched by the
      whole factor.
    high_frequency: those that turn oftener are left as they are.
  """

  factor: float
  original_context: int
  low_frequency: float = 1.0
  high_frequency: float = 4.0

  def __post_init__(self):
    _check_types(self)
    _check_positive(self, 'factor original_context low_frequency')
    _check(
      self.high_frequency > self.low_frequency,
      f'high_frequency={self.high_frequency} must be over'
      f' low_frequency={self.low_frequency}.',
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongRope:
  """Rotary embedding with a factor for each dimension (arXiv:2402.13753).

  GGUF files state the stretching of Llama 3.1 by such factors too.

  Attributes:
    factors: what each frequency is divided by, one for two dimensions.
    attention_factor: what rotated queries and keys are multiplied with.
  """

  factors: tuple[float, ...]
  attention_factor: float = 1.0

  def __post_init__(self):
    _check_types(self)
    _check_positive(self, 'attention_factor')
    _check(
      all(x > 0 for x in self.factors),
      f'factors={self.factors} must be positive.',
    )


RopeScaling = Yarn | LinearRope | Llama3Rope | LongRope


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Sizes and control flow of one generic decoder.

  Attributes:
    layer_kinds: one per layer.
    rope_theta: base of the rotary embedding on global layers.
    local_rope_theta: the same on sliding-window layers; None is `rope_theta`.
    rope_scaling: how the rotary embedding is stretched, if it is; not that of
      layers with a base of their own.
    rope_layers: whether each layer rotates its queries and keys; empty is all.
    rotary_dim: leading dimensions of a head that are rotated; None is all.
    sliding_window: positions that a local layer sees, its own included.
    query_scale: factor on queries; None is `head_dim ** -0.5`.
    embed_scale: factor on token embeddings.
    qk_norm: RMS norm over each query and key head.
    qk_norm_whole: the same over all heads together.
    pre_norms: a norm before attention and before the MLP.
    post_norms: a norm after attention and after the MLP.
    norm_offset: added to the factors of norms, which some checkpoints keep
      less one.
    attn_softcap: bounds attention's logits x to cap * tanh(x / cap).
    final_softcap: the same of the logits of tokens.
    tie_embeddings: the embedding table is the unembedding too.
    max_context: positions the model was trained for.
    num_experts: MLPs of which the router takes some for each position; 0 is
      one MLP of width `mlp_dim` for all.
    experts_per_token: how many it takes.
    moe_dim: width of an expert.
    norm_topk: the weights of the experts taken add up to one.
    moe_bias: biases on the router and on the experts.
    attention_sinks: a learned logit per head joins the softmax and has no
      value: what it gets is given to no position.
    out_bias: a bias on what attention gives.
  """

  vocab_size: int
  num_layers: int
  embed_dim: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  mlp_dim: int
  max_context: int
  layer_kinds: tuple[LayerKind, ...] = ()
  norm_eps: float = 1e-6
  rope_theta: float = 10_000.0
  local_rope_theta: float | None = None
  rope_scaling: RopeScaling | None = None
  rope_layers: tuple[bool, ...] = ()
  rotary_dim: int | None = None
  sliding_window: int | None = None
  query_scale: float | None = None
  embed_scale: float = 1.0
  activation: Literal['silu', 'gelu_tanh', 'clamped_swiglu'] = 'silu'
  qkv_bias: bool = False
  qk_norm: bool = False
  qk_norm_whole: bool = False
  pre_norms: bool = True
  post_norms: bool = False
  norm_offset: float = 0.0
  attn_softcap: float | None = None
  final_softcap: float | None = None
  tie_embeddings: bool = True
  num_experts: int = 0
  experts_per_token: int = 0
  moe_dim: int = 0
  norm_topk: bool = True
  moe_bias: bool = False
  attention_sinks: bool = False
  out_bias: bool = False

  def __post_init__(self):
    _check_types(self)
    _check(
      self.num_layers <= MAX_LAYERS,
      f'num_layers={self.num_layers} is over {MAX_LAYERS:,}.',
    )
    if not self.layer_kinds:
      kinds = (LayerKind.GLOBAL,) * self.num_layers
      object.__setattr__(self, 'layer_kinds', kinds)
    _check_positive(
        self, 'vocab_size num_layers embed_dim num_heads num_kv_heads head_dim'
        ' mlp_dim max_context'
    )  # fmt: skip
    _check(
      self.num_heads % self.num_kv_heads == 0,
      f'num_heads={self.num_heads} is not a multiple of'
      f' num_kv_heads={self.num_kv_heads}.',
    )
    _check(self.head_dim % 2 == 0, f'head_dim={self.head_dim} must be even.')
    _check(
      len(self.layer_kinds) == self.num_layers,
      f'layer_kinds has {len(self.layer_kinds)} entries for'
      f' num_layers={self.num_layers}.',
    )
    has_local = LayerKind.LOCAL in self.layer_kinds
    _check(
      not has_local or (self.sliding_window or 0) > 0,
      f'local layers need a sliding_window, got {self.sliding_window}.',
    )
    _check(
      len(self.rope_layers) in (0, self.num_layers),
      f'rope_layers has {len(self.rope_layers)} entries for'
      f' num_layers={self.num_layers}.',
    )
    if self.rotary_dim is not None:
      _check(
        self.rotary_dim % 2 == 0 and 0 < self.rotary_dim <= self.head_dim,
        f'rotary_dim={self.rotary_dim} must be even and at most'
        f' head_dim={self.head_dim}.',
      )
    if isinstance(self.rope_scaling, LongRope):
      turned = self.rotary_dim or self.head_dim
      _check(
        2 * len(self.rope_scaling.factors) == turned,
        f'rope_scaling has {len(self.rope_scaling.factors)} factors for'
        f' {turned} rotated dimensions.',
      )
    for name in ('attn_softcap', 'final_softcap'):
      cap = getattr(self, name)
      _check(cap is None or cap > 0, f'{name}={cap} must be positive.')
    self._check_experts()

  def _check_experts(self) -> None:
    if not self.num_experts:
      for name in ('experts_per_token', 'moe_dim', 'moe_bias'):
        value = getattr(self, name)
        _check(not value, f'{name}={value!r} needs num_experts.')
      _check(
        self.activation != 'clamped_swiglu',
        f'activation={self.activation!r} is one of experts: it needs'
        ' num_experts.',
      )
      return
    _check_positive(self, 'num_experts experts_per_token moe_dim')
    _check(
      self.experts_per_token <= self.num_experts,
      f'experts_per_token={self.experts_per_token} is over'
      f' num_experts={self.num_experts}.',
    )

  @property
  def q_per_kv(self) -> int:
    return self.num_heads // self.num_kv_heads

  @property
  def q_scale(self) -> float:
    return self.query_scale or self.head_dim**-0.5

  def window(self, kind: LayerKind) -> int | None:
    """Positions visible to a layer, or None for all of them."""
    return self.sliding_window if kind is LayerKind.LOCAL else None

  @property
  def kinds(self) -> tuple[LayerKind, ...]:
    """The kinds of layers there are; each has its own page pool."""
    return tuple(kind for kind in LayerKind if kind in self.layer_kinds)

  @property
  def pool_of_layer(self) -> tuple[int, ...]:
    """Where in `kinds` each layer's kind stands."""
    return tuple(self.kinds.index(kind) for kind in self.layer_kinds)

  def scaling(self, kind: LayerKind) -> RopeScaling | None:
    """How a layer's rotary embedding is stretched."""
    has_own = kind is LayerKind.LOCAL and self.local_rope_theta is not None
    return None if has_own else self.rope_scaling

  def theta(self, kind: LayerKind) -> float:
    """Rotary base of a layer."""
    local = kind is LayerKind.LOCAL
    return (local and self.local_rope_theta) or self.rope_theta


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
    _check_types(self)
    _check_positive(self, 'data expert model')

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
    _check_types(self)
    _check_positive(
        self, 'max_rows context page_size chunk decode_steps prefill_burst'
        ' max_queue priority_step'
    )  # fmt: skip
    _check(self.max_rows <= 256, f'max_rows={self.max_rows} is over 256.')
    _check(
      self.decode_steps <= self.page_size,
      f'decode_steps={self.decode_steps} is over page_size={self.page_size}.',
    )
    for name in ('lookahead', 'draft_width'):
      value = getattr(self, name)
      _check(value is None or value >= 0, f'{name}={value} must be 0 or more.')
    _check(
      self.chunk % self.page_size == 0,
      f'chunk={self.chunk} is not a multiple of page_size={self.page_size}.',
    )
    _check(
      self.context % self.chunk == 0,
      f'context={self.context} is not a multiple of chunk={self.chunk}.',
    )
    _check(
      self.cache_tokens % self.page_size == 0,
      f'cache_tokens={self.cache_tokens} is not a multiple of'
      f' page_size={self.page_size}.',
    )
    _check(
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
    _check_types(self)
    _check(0 <= self.port < 65536, f'port={self.port} is not in 0..65535.')
    _check(self.max_n > 0, f'max_n={self.max_n} must be positive.')
    _check(
      self.max_per_key >= 0, f'max_per_key={self.max_per_key} is negative.'
    )
    for name in ('timeout_s', 'write_timeout_s', 'drain_timeout_s'):
      is_time = 0 <= getattr(self, name) < float('inf')
      _check(is_time, f'{name}={getattr(self, name)} must be 0 or more.')


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
    _check_types(self)
