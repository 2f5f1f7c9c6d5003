"""gpt-oss (arXiv:2508.10925): experts, attention sinks, MXFP4 weights."""

from chatjax import model_config
from chatjax.ckpt import mapping
from chatjax.models import family
from chatjax.models import hub_experts
from chatjax.models import hub_keys

_ROPE_THETA = 150_000.0

_LAYER, _BLOCK = 'layer_{layer}', 'model.layers.{layer}'
_EXPERTS = f'{_BLOCK}.mlp.experts'


def _copy(target: str, source: str, equation: str) -> mapping.Rule:
  return mapping.Rule(
    target=f'{_LAYER}.{target}', sources=((source, equation),)
  )


# A gate's outputs and those it is multiplied with take turns (R).
_RULES = (
  *hub_experts.rest_rules(),
  family.hub_qkv_bias(),
  _copy('attn.out.b', f'{_BLOCK}.self_attn.o_proj.bias', 'D->D'),
  _copy('attn.sinks', f'{_BLOCK}.self_attn.sinks', 'KG->K,G'),
  _copy('mlp.router.w', f'{_BLOCK}.mlp.router.weight', 'X,D->X,D'),
  _copy('mlp.router.b', f'{_BLOCK}.mlp.router.bias', 'X->X'),
  _copy('mlp.gate_up.w', f'{_EXPERTS}.gate_up_proj', 'X,D,FR->XR,F,D'),
  _copy('mlp.gate_up.b', f'{_EXPERTS}.gate_up_proj_bias', 'X,FR->XR,F'),
  _copy('mlp.down.w', f'{_EXPERTS}.down_proj', 'X,F,D->X,D,F'),
  _copy('mlp.down.b', f'{_EXPERTS}.down_proj_bias', 'X,D->X,D'),
)


def read_hub_config(values: family.Metadata) -> model_config.ModelConfig:
  """Sizes from config.json."""
  keys = hub_keys.Keys(values)
  keys.expect('attention_bias', True)
  keys.expect('swiglu_limit', 7.0)
  keys.expect('swiglu_alpha', 1.702)
  usual = {'rope_theta': _ROPE_THETA}
  sizes = hub_keys.common_sizes(usual | dict(values, attention_bias=False))
  # Every other layer has a window, the first does.
  kinds = hub_keys.windows(values, lambda layer: layer % 2 == 0)
  return model_config.ModelConfig(
    **sizes | {'activation': 'clamped_swiglu'},
    **kinds,
    qkv_bias=True,
    out_bias=True,
    attention_sinks=True,
    num_experts=keys.num_experts('num_local_experts'),
    experts_per_token=keys.size('num_experts_per_tok'),
    moe_dim=sizes['mlp_dim'],
    moe_bias=True,
  )


FAMILY = family.Family(
  architectures=('GptOssForCausalLM',),
  read_hub_config=read_hub_config,
  hub_rules=_RULES,
)
