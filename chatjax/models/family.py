"""What a family of models is: a config reader and a conversion table."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.ckpt import mapping
from chatjax.ckpt import stream
from chatjax.ckpt import view
from chatjax.models import metadata as metadata_lib

Metadata = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """One architecture as checkpoints spell it.

  Attributes:
    gguf_architecture: its name in GGUF files; None if those cannot be read.
    read_config: GGUF metadata -> sizes; tying is decided by the file.
    gguf_rules: GGUF tensor names -> parameters.
    gguf_rope_factors: such files may hold a tensor of factors for the rotary
      embedding; in those of other families it is left over.
    architectures: its names in config.json; none if hub folders of it cannot
      be read.
    read_hub_config: config.json -> sizes.
    hub_rules: tensor names of hub folders -> parameters; a function where they
      depend on the sizes.
    hub_names: what the tensors of hub folders are read as, if that is not what
      they are called there.
    hub_fused: which of the table's tensors hub folders store as one; they have
      to be those of one parameter.
    written_as: the architecture whose folders are written, if it is another:
      that of the part which is read.
  """

  gguf_architecture: str | None = None
  read_config: Callable[[Metadata], model_config.ModelConfig] | None = None
  gguf_rules: tuple[mapping.Rule, ...] = ()
  gguf_rope_factors: bool = False
  architectures: tuple[str, ...] = ()
  read_hub_config: Callable[[Metadata], model_config.ModelConfig] | None = None
  hub_rules: (
    tuple[mapping.Rule, ...]
    | Callable[[model_config.ModelConfig], tuple[mapping.Rule, ...]]
  ) = ()
  hub_names: view.Names | None = None
  hub_fused: Callable[[model_config.ModelConfig], view.Fused] | None = None
  written_as: str | None = None

  def rules(self, config: model_config.ModelConfig) -> tuple[mapping.Rule, ...]:
    """The table written out for a model."""
    untied = () if config.tie_embeddings else (UNTIED_RULE,)
    return mapping.expand((*self.gguf_rules, *untied), config.num_layers)

  def expand_hub_rules(
    self, config: model_config.ModelConfig
  ) -> tuple[mapping.Rule, ...]:
    """The table of hub folders written out for a model."""
    rules = self.hub_rules
    rules = rules(config) if callable(rules) else rules
    untied = () if config.tie_embeddings else (HUB_UNTIED_RULE,)
    return mapping.expand((*rules, *untied), config.num_layers)

  def names(self, config: model_config.ModelConfig) -> view.Names | None:
    """What tensors of hub folders are read as; None if all as themselves."""
    if self.hub_fused is not None:
      return self.hub_fused(config).names
    return self.hub_names

  def place(self, config: model_config.ModelConfig) -> view.Place:
    """Where hub folders have the tensors of the table."""
    return (
      view.whole if self.hub_fused is None else self.hub_fused(config).place
    )


UNTIED_RULE = mapping.Rule(
  target='unembed.w', sources=(('output.weight', 'V,D->V,D'),)
)


HUB_UNTIED_RULE = mapping.Rule(
  target='unembed.w', sources=(('lm_head.weight', 'V,D->V,D'),)
)


def without_repeats(
  rules: Sequence[mapping.Rule],
  config: model_config.ModelConfig,
  tensors: stream.Tensors,
) -> view.Single:
  """The tensors of a hub folder that its table has to name.

  `HUB_BUFFERS` are left out. A folder of a tied model may store its table once
  more as the unembedding: that is no parameter, and its numbers must be those
  of the embedding.

  Args:
    rules: the table, written out.
    config: the model's sizes.
    tensors: all of a folder.

  Raises:
    mapping.MappingError: two tables of different shapes.
  """
  embed = next(rule for rule in rules if rule.target == 'embed.w')
  twin = HUB_UNTIED_RULE.sources[0][0] if config.tie_embeddings else None
  buffers = {
    name.replace(mapping.LAYER, str(layer))
    for name in HUB_BUFFERS
    for layer in range(config.num_layers)
  }
  return view.Single(
    tensors, ignored=buffers, table=embed.sources[0][0], twin=twin
  )


# Frequencies of the rotary embedding, which folders of Llama 2 and others of
# its time store. They follow from config.json, and whoever reads such a folder
# computes them anew: exactly these names are no parameters, in any family.
HUB_BUFFERS = (
  'model.rotary_emb.inv_freq',
  f'model.layers.{mapping.LAYER}.self_attn.rotary_emb.inv_freq',
)


def norm(target: str, source: str) -> mapping.Rule:
  """A norm's factor, copied as it is."""
  return mapping.Rule(target=target, sources=((source, 'D->D'),))


def shared_rules(*, interleaved: bool = False) -> tuple[mapping.Rule, ...]:
  """What all families here have in common.

  Args:
    interleaved: query and key rows stand as pairs of one rotation (h, R)
      and are brought to halves (R, h).
  """
  layer, block = 'layer_{layer}', 'blk.{layer}'
  head = 'hR->Rh' if interleaved else 'Rh->Rh'
  before, after = head.split('->')
  return (
    mapping.Rule(
      target='embed.w', sources=(('token_embd.weight', 'V,D->V,D'),)
    ),
    norm('final_norm.w', 'output_norm.weight'),
    norm(f'{layer}.attn_norm.w', f'{block}.attn_norm.weight'),
    norm(f'{layer}.mlp_norm.w', f'{block}.ffn_norm.weight'),
    mapping.Rule(
      target=f'{layer}.attn.qkv.w',
      sources=(
        (f'{block}.attn_q.weight', f'KG{before},D->K,G,{after},D'),
        (f'{block}.attn_k.weight', f'KE{before},D->K,E,{after},D'),
        (f'{block}.attn_v.weight', 'KEH,D->K,E,H,D'),
      ),
      axis=1,
    ),
    mapping.Rule(
      target=f'{layer}.attn.out.w',
      sources=((f'{block}.attn_output.weight', 'D,KGH->D,K,G,H'),),
    ),
    mapping.Rule(
      target=f'{layer}.mlp.gate_up.w',
      sources=(
        (f'{block}.ffn_gate.weight', 'EF,D->E,F,D'),
        (f'{block}.ffn_up.weight', 'EF,D->E,F,D'),
      ),
    ),
    mapping.Rule(
      target=f'{layer}.mlp.down.w',
      sources=((f'{block}.ffn_down.weight', 'D,F->D,F'),),
    ),
  )


# A block's norms and what hub folders call them.
PRE_NORMS = {
  'attn_norm': 'input_layernorm',
  'mlp_norm': 'post_attention_layernorm',
}
POST_NORMS = {
  'post_attn_norm': 'post_attention_layernorm',
  'post_mlp_norm': 'post_feedforward_layernorm',
}
SANDWICH_NORMS = POST_NORMS | {
  'attn_norm': 'input_layernorm',
  'mlp_norm': 'pre_feedforward_layernorm',
}


def hub_rules(
  norms: Mapping[str, str] = PRE_NORMS, *, qk_norm: bool = False
) -> tuple[mapping.Rule, ...]:
  """What most families have in common in hub folders.

  Args:
    norms: those of a block -> their names there.
    qk_norm: queries and keys have norms too.
  """
  layer, block = 'layer_{layer}', 'model.layers.{layer}'
  if qk_norm:
    norms = norms | {f'attn.{x}_norm': f'self_attn.{x}_norm' for x in 'qk'}
  attn, mlp = f'{block}.self_attn', f'{block}.mlp'
  return (
    mapping.Rule(
      target='embed.w', sources=(('model.embed_tokens.weight', 'V,D->V,D'),)
    ),
    norm('final_norm.w', 'model.norm.weight'),
    *(
      norm(f'{layer}.{ours}.w', f'{block}.{theirs}.weight')
      for ours, theirs in norms.items()
    ),
    mapping.Rule(
      target=f'{layer}.attn.qkv.w',
      sources=(
        (f'{attn}.q_proj.weight', 'KGH,D->K,G,H,D'),
        (f'{attn}.k_proj.weight', 'KEH,D->K,E,H,D'),
        (f'{attn}.v_proj.weight', 'KEH,D->K,E,H,D'),
      ),
      axis=1,
    ),
    mapping.Rule(
      target=f'{layer}.attn.out.w',
      sources=((f'{attn}.o_proj.weight', 'D,KGH->D,K,G,H'),),
    ),
    mapping.Rule(
      target=f'{layer}.mlp.gate_up.w',
      sources=(
        (f'{mlp}.gate_proj.weight', 'EF,D->E,F,D'),
        (f'{mlp}.up_proj.weight', 'EF,D->E,F,D'),
      ),
    ),
    mapping.Rule(
      target=f'{layer}.mlp.down.w',
      sources=((f'{mlp}.down_proj.weight', 'D,F->D,F'),),
    ),
  )


def hub_qkv_bias() -> mapping.Rule:
  """Biases on queries, keys and values."""
  attn = 'model.layers.{layer}.self_attn'
  return mapping.Rule(
    target='layer_{layer}.attn.qkv.b',
    sources=(
      (f'{attn}.q_proj.bias', 'KGH->K,G,H'),
      (f'{attn}.k_proj.bias', 'KEH->K,E,H'),
      (f'{attn}.v_proj.bias', 'KEH->K,E,H'),
    ),
    axis=1,
  )


def letter_sizes(config: model_config.ModelConfig) -> dict[str, int]:
  """Sizes that the equations' letters have in a model; E is one."""
  return {
    'K': config.num_kv_heads,
    'G': config.q_per_kv,
    'H': config.head_dim,
    'R': 2,
    'h': config.head_dim // 2,
    'E': 1,
  }


def common_sizes(metadata: Metadata) -> dict[str, Any]:
  """The fields of ModelConfig that every architecture spells alike.

  Raises:
    config.ConfigError: a key that is missing, or asks for what is not there.
  """
  keys = metadata_lib.Keys(metadata)
  keys.refuse_unapplied()
  num_heads = keys.integer('attention.head_count')
  embed_dim = keys.integer('embedding_length')
  if num_heads < 1:
    raise config_lib.ConfigError(f'num_heads={num_heads} must be positive.')
  head_dim = keys.integer('attention.key_length', embed_dim // num_heads)
  keys.expect('attention.value_length', head_dim, 'the length of keys')
  keys.expect('rope.dimension_count', head_dim, 'the whole of a head')
  return {
    'vocab_size': keys.vocab_size(),
    'num_layers': keys.num_layers(),
    'embed_dim': embed_dim,
    'num_heads': num_heads,
    'num_kv_heads': keys.integer('attention.head_count_kv', num_heads),
    'head_dim': head_dim,
    'mlp_dim': keys.integer('feed_forward_length'),
    'max_context': keys.integer('context_length'),
    'norm_eps': keys.number('attention.layer_norm_rms_epsilon'),
    'rope_theta': keys.number('rope.freq_base', 10_000.0),
    'rope_scaling': keys.rope_scaling(),
    # Zero is none of its own, there as here.
    'query_scale': keys.number('attention.scale', 0.0) or None,
  }
