"""The frozen config of an architecture: its sizes and its control flow."""

from __future__ import annotations

import dataclasses
import enum
from typing import Literal

from chatjax import config as config_lib

# None has more; a damaged file that says so must not fill the memory.
MAX_LAYERS = 1000


class LayerKind(enum.Enum):
  """What a layer's attention may see."""

  GLOBAL = 'global'
  LOCAL = 'local'  # a sliding window


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
    config_lib.check_types(self)
    config_lib.check_positive(
      self, 'factor original_context beta_fast beta_slow'
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearRope:
  """Rotary embedding of positions divided by `factor` (arXiv:2306.15595)."""

  factor: float

  def __post_init__(self):
    config_lib.check_types(self)
    config_lib.check_positive(self, 'factor')


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
    config_lib.check_types(self)
    config_lib.check_positive(self, 'factor original_context low_frequency')
    config_lib.check(
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
    config_lib.check_types(self)
    config_lib.check_positive(self, 'attention_factor')
    config_lib.check(
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
    config_lib.check_types(self)
    config_lib.check(
      self.num_layers <= MAX_LAYERS,
      f'num_layers={self.num_layers} is over {MAX_LAYERS:,}.',
    )
    if not self.layer_kinds:
      kinds = (LayerKind.GLOBAL,) * self.num_layers
      object.__setattr__(self, 'layer_kinds', kinds)
    config_lib.check_positive(
        self, 'vocab_size num_layers embed_dim num_heads num_kv_heads head_dim'
        ' mlp_dim max_context'
    )  # fmt: skip
    config_lib.check(
      self.num_heads % self.num_kv_heads == 0,
      f'num_heads={self.num_heads} is not a multiple of'
      f' num_kv_heads={self.num_kv_heads}.',
    )
    config_lib.check(
      self.head_dim % 2 == 0, f'head_dim={self.head_dim} must be even.'
    )
    config_lib.check(
      len(self.layer_kinds) == self.num_layers,
      f'layer_kinds has {len(self.layer_kinds)} entries for'
      f' num_layers={self.num_layers}.',
    )
    has_local = LayerKind.LOCAL in self.layer_kinds
    config_lib.check(
      not has_local or (self.sliding_window or 0) > 0,
      f'local layers need a sliding_window, got {self.sliding_window}.',
    )
    config_lib.check(
      len(self.rope_layers) in (0, self.num_layers),
      f'rope_layers has {len(self.rope_layers)} entries for'
      f' num_layers={self.num_layers}.',
    )
    if self.rotary_dim is not None:
      config_lib.check(
        self.rotary_dim % 2 == 0 and 0 < self.rotary_dim <= self.head_dim,
        f'rotary_dim={self.rotary_dim} must be even and at most'
        f' head_dim={self.head_dim}.',
      )
    if isinstance(self.rope_scaling, LongRope):
      turned = self.rotary_dim or self.head_dim
      config_lib.check(
        2 * len(self.rope_scaling.factors) == turned,
        f'rope_scaling has {len(self.rope_scaling.factors)} factors for'
        f' {turned} rotated dimensions.',
      )
    for name in ('attn_softcap', 'final_softcap'):
      cap = getattr(self, name)
      config_lib.check(
        cap is None or cap > 0, f'{name}={cap} must be positive.'
      )
    self._check_experts()

  def _check_experts(self) -> None:
    if not self.num_experts:
      for name in ('experts_per_token', 'moe_dim', 'moe_bias'):
        value = getattr(self, name)
        config_lib.check(not value, f'{name}={value!r} needs num_experts.')
      config_lib.check(
        self.activation != 'clamped_swiglu',
        f'activation={self.activation!r} is one of experts: it needs'
        ' num_experts.',
      )
      return
    config_lib.check_positive(self, 'num_experts experts_per_token moe_dim')
    config_lib.check(
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
