"""Compiles a deployment's programs for TPUs, on a machine without one.

    python scripts/compile_for_tpu.py [--only=llama_3_1_8b_v5e_1] [--write]

Needs the `[tpu]` extra (libtpu). For each file of configs/ that is for a TPU:
compiles decode and prefill for its topology, checks that they fit, that the
cache is donated, that nothing as long as the vocabulary is sorted, and prints a
table of memory by part. --write puts the table into docs/tpu.md.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import os
import pathlib
import time

os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
os.environ['JAX_PLATFORMS'] = 'cpu'

from absl import app
from absl import flags
from jax.experimental import topologies

from chatjax import config as config_lib
from chatjax import config_file
from chatjax.engine import footprint
from chatjax.engine import programs
from chatjax.models import families
from chatjax.models import load
from chatjax.nn import quant
from chatjax.nn import sharding
from chatjax.nn import transformer

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'tpu.md'
BEGIN = '<!-- made by scripts/compile_for_tpu.py -->\n'
END = '<!-- end -->\n'
_GIB = 2**30

_ONLY = flags.DEFINE_string('only', None, 'Name of one config.')
_WRITE = flags.DEFINE_boolean(
  'write', False, 'Puts the table into docs/tpu.md.'
)

# Memory of one chip in bytes, as Google Cloud states it.
MEMORY = {'v5e': 16 * _GIB, 'v5p': 95 * _GIB, 'v6e': 32 * _GIB}

# What the models' config.json says of their sizes.
_LLAMA = {
  'architectures': ['LlamaForCausalLM'], 'vocab_size': 128256,
  'num_key_value_heads': 8, 'max_position_embeddings': 131072,
  'rms_norm_eps': 1e-5, 'rope_theta': 500000.0, 'rope_scaling': {
    'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
    'original_max_position_embeddings': 8192, 'rope_type': 'llama3',
  },
}  # fmt: skip
PUBLISHED = {
  'meta-llama/Llama-3.1-8B-Instruct': _LLAMA | {
    'hidden_size': 4096, 'intermediate_size': 14336, 'num_hidden_layers': 32,
    'num_attention_heads': 32,
  },
  'meta-llama/Llama-3.1-70B-Instruct': _LLAMA | {
    'hidden_size': 8192, 'intermediate_size': 28672, 'num_hidden_layers': 80,
    'num_attention_heads': 64,
  },
  'google/gemma-3-27b-it': {
    'architectures': ['Gemma3ForConditionalGeneration'], 'text_config': {
      'hidden_size': 5376, 'intermediate_size': 21504,
      'num_hidden_layers': 62, 'num_attention_heads': 32,
      'num_key_value_heads': 16, 'head_dim': 128,
      'query_pre_attn_scalar': 168, 'sliding_window': 1024,
      'rope_scaling': {'factor': 8.0, 'rope_type': 'linear'},
    },
  },
  'Qwen/Qwen3-30B-A3B': {
    'architectures': ['Qwen3MoeForCausalLM'], 'vocab_size': 151936,
    'hidden_size': 2048, 'intermediate_size': 6144, 'num_hidden_layers': 48,
    'num_attention_heads': 32, 'num_key_value_heads': 4, 'head_dim': 128,
    'num_experts': 128, 'num_experts_per_tok': 8,
    'moe_intermediate_size': 768, 'norm_topk_prob': True,
    'max_position_embeddings': 40960, 'rms_norm_eps': 1e-6,
    'rope_theta': 1000000.0,
  },
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployment:
  """A config and the chips that it is for."""

  name: str
  topology: str

  @property
  def config(self) -> config_lib.Config:
    return config_file.load_config(ROOT / 'configs' / f'{self.name}.py')

  @property
  def memory(self) -> int:
    """Of one chip."""
    return MEMORY[self.topology.partition(':')[0]]


DEPLOYMENTS = tuple(
  Deployment(name=name, topology=topology)
  for name, topology in {
    'llama_3_1_8b_v5e_4': 'v5e:2x2',
    'llama_3_1_8b_int8_v5e_1': 'v5e:2x2',
    'gemma_3_27b_v6e_4': 'v6e:2x2',
    'gemma_3_27b_int8_v5e_8': 'v5e:2x4',
    'qwen3_30b_a3b_v5p_4': 'v5p:2x2x1',
    'qwen3_30b_a3b_int8_v5e_4': 'v5e:2x2',
    'llama_3_1_70b_v5e_16': 'v5e:4x4',
    'llama_3_1_70b_int8_v5e_8': 'v5e:2x4',
  }.items()
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
  """One program of a deployment."""

  seconds: float
  params: int
  cache: int
  state: int
  footprint: footprint.Footprint


def compile_for(
  deployment: Deployment, num_layers: int | None = None
) -> Iterator[tuple[str, Compiled]]:
  """Compiles prefill and the widest decode program.

  Args:
    deployment: what for.
    num_layers: fewer than the model has, to try something out.
  """
  config = deployment.config
  raw = PUBLISHED[config.model]
  model = families.BY_HUB[raw['architectures'][0]].read_hub_config(raw)
  if num_layers:
    model = dataclasses.replace(
      model,
      num_layers=num_layers,
      layer_kinds=model.layer_kinds[:num_layers],
    )
  described = topologies.get_topology_desc(
    platform='tpu', topology_name=deployment.topology
  )
  layout = sharding.layout(config.engine.mesh, model, described.devices)
  dtype = quant.storage(config.engine.dtype, is_mesh=True)
  weights = load.Weights(
    config=model,
    abstract=transformer.Transformer(model, dtype).abstract_params(),
    restore=lambda placement=None: None,
    digest='',
    dtype=dtype,
  )
  planned = programs.plan(weights, config.engine, layout)
  widest = max(key for key in planned if isinstance(key, tuple))
  for name, key in (('decode', widest), ('prefill', 'prefill')):
    program, args = planned[key]
    start = time.monotonic()
    compiled = program.lower(*args).compile()
    params, cache, *rest = args
    yield (
      name,
      Compiled(
        seconds=time.monotonic() - start,
        params=footprint.per_device(params),
        cache=footprint.per_device(cache),
        state=footprint.per_device(rest[0]) if name == 'decode' else 0,
        footprint=footprint.of(compiled),
      ),
    )


def row(deployment: Deployment, name: str, made: Compiled) -> str:
  """A line of the table."""
  seen = made.footprint
  sent = ', '.join(f'{n} {x}' for x, n in sorted(seen.collectives.items()))
  sizes = (made.params, made.cache, made.state, seen.scratch, seen.total)
  cells = (
    deployment.name, name, deployment.topology,
    *(f'{x / _GIB:.2f}' for x in sizes),
    f'{deployment.memory / _GIB:.0f}', sent or 'none', f'{made.seconds:.0f} s',
  )  # fmt: skip
  return f'| {" | ".join(cells)} |'


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError('Takes flags only.')
  lines = [
    '| config | program | chips | weights, GiB | cache | rows | scratch | all'
    ' | of a chip | sends | compiled in |',
    '|---|---|---|---|---|---|---|---|---|---|---|',
  ]
  for deployment in DEPLOYMENTS:
    if _ONLY.value in (None, deployment.name):
      for name, made in compile_for(deployment):
        lines.append(row(deployment, name, made))
        print(lines[-1], flush=True)
  if _WRITE.value:
    head, _, rest = PAGE.read_text().partition(BEGIN)
    table = '\n'.join(lines)
    PAGE.write_text(f'{head}{BEGIN}{table}\n{END}{rest.partition(END)[2]}')


if __name__ == '__main__':
  app.run(main)
