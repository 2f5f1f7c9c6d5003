"""What a family of models is: a config reader and a conversion table."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
from typing import Any

from chatjax import config as config_lib
from chatjax.ckpt import mapping
from chatjax.models import metadata as metadata_lib

Metadata = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """One architecture as checkpoints spell it.

  Attributes:
    read_config: GGUF metadata -> sizes; tying is decided by the file.
    gguf_rules: GGUF tensor names -> parameters.
  """

  read_config: Callable[[Metadata], config_lib.ModelConfig]
  gguf_rules: tuple[mapping.Rule, ...]

  def rules(self, config: config_lib.ModelConfig) -> tuple[mapping.Rule, ...]:
    """The table written out for a model."""
    untied = () if config.tie_embeddings else (UNTIED_RULE,)
    return mapping.expand((*self.gguf_rules, *untied), config.num_layers)


UNTIED_RULE = mapping.Rule(
  target='unembed.w', sources=(('output.weight', 'V,D->V,D'),)
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


def letter_sizes(config: config_lib.ModelConfig) -> dict[str, int]:
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
    'num_layers': keys.integer('block_count'),
    'embed_dim': embed_dim,
    'num_heads': num_heads,
    'num_kv_heads': keys.integer('attention.head_count_kv', num_heads),
    'head_dim': head_dim,
    'mlp_dim': keys.integer('feed_forward_length'),
    'max_context': keys.integer('context_length'),
    'norm_eps': keys.number('attention.layer_norm_rms_epsilon'),
    'rope_theta': keys.number('rope.freq_base', 10_000.0),
    # Zero is none of its own, there as here.
    'query_scale': keys.number('attention.scale', 0.0) or None,
  }
