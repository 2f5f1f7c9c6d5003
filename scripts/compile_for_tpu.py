"""Compiles a deployment's programs for TPUs, on a machine without one.

    python scripts/compile_for_tpu.py [--only=llama_3_1_8b_v5e_4] [--write]

Needs the `[tpu]` extra (libtpu). For each file of configs/ that is for a TPU:
compiles decode and prefill for its topology, checks what `faults` names, and
prints a table of memory by part. --write puts its rows into docs/tpu.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import os
import pathlib
import time

os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
os.environ['JAX_PLATFORMS'] = 'cpu'

from absl import app
from absl import flags
from jax.experimental import topologies

from chatjax import config as config_lib
from chatjax import config_file
from chatjax import model_config
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
HEAD = (
  '| config | program | chips | weights, GiB | cache | rows | scratch | all'
  ' | of a chip | sends | processor time |',
  '|---|---|---|---|---|---|---|---|---|---|---|',
)
KERNEL = 'ragged_paged_attention_kernel'
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
  """One program of a deployment; bytes are those of one chip.

  Attributes:
    name: 'decode' or 'prefill'.
    model: what was compiled.
    mesh: for which mesh.
    dtype: how its weights are kept.
    seconds: that it took.
    processor_seconds: of all cores.
    params: bytes of weights.
    cache: bytes of pages.
    state: bytes of rows.
    footprint: what the compiler says.
  """

  name: str
  model: model_config.ModelConfig
  mesh: config_lib.MeshConfig
  dtype: str
  seconds: float
  processor_seconds: float
  params: int
  cache: int
  state: int
  footprint: footprint.Footprint


def shortened(
  model: model_config.ModelConfig, num_layers: int
) -> model_config.ModelConfig:
  """The same model with so many layers, of all its kinds in turn."""
  kinds = (model.kinds * num_layers)[:num_layers]
  return dataclasses.replace(model, num_layers=num_layers, layer_kinds=kinds)


def compile_for(
  deployment: Deployment, num_layers: int | None = None
) -> Iterator[Compiled]:
  """Compiles prefill and the widest decode program.

  Args:
    deployment: what for.
    num_layers: fewer than the model has, to try something out.
  """
  config = deployment.config
  raw = PUBLISHED[config.model]
  model = families.BY_HUB[raw['architectures'][0]].read_hub_config(raw)
  if num_layers:
    model = shortened(model, num_layers)
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
    start, worked = time.monotonic(), time.process_time()
    compiled = program.lower(*args).compile()
    params, cache, *rest = args
    yield Compiled(
      name=name,
      model=model,
      mesh=config.engine.mesh,
      dtype=dtype,
      seconds=time.monotonic() - start,
      processor_seconds=time.process_time() - worked,
      params=footprint.per_device(params),
      cache=footprint.per_device(cache),
      state=footprint.per_device(rest[0]) if name == 'decode' else 0,
      footprint=footprint.of(compiled),
    )


def expected_collectives(made: Compiled) -> dict[str, int]:
  """What the chips have to tell each other, and no more.

  A product whose inputs are split leaves sums to add up: two in a layer that
  `model` splits (what attention and the MLP give), one where `expert` splits
  the experts. Activations in int8 have a scale of their own for each of the
  two: the largest of the parts is found first. Rows of the table of tokens are
  with one chip each. The scores of decode rows are gathered to draw from them.
  """
  layers, mesh = made.model.num_layers, made.mesh
  of_a_layer = 2 if mesh.model > 1 else 0
  if made.dtype == 'int8_channel':
    of_a_layer *= 2
  of_a_layer += mesh.expert > 1
  lookups = int(mesh.model > 1)
  counts = {'all-reduce': of_a_layer * layers + lookups}
  if made.name == 'decode':
    counts['all-gather'] = lookups
  return {kind: count for kind, count in counts.items() if count}


def faults(made: Compiled, memory: int) -> list[str]:
  """What is wrong with a program, as sentences.

  Args:
    made: the program.
    memory: bytes of a chip.
  """
  seen, found = made.footprint, []
  if seen.total > memory:
    found.append(f'{seen.total} bytes do not fit into {memory}')
  if seen.donated < made.cache + made.state:
    found.append(
      f'{seen.donated} bytes are donated, and cache and rows are'
      f' {made.cache + made.state}'
    )
  if seen.collectives != expected_collectives(made):
    found.append(
      f'it sends {seen.collectives}, and {expected_collectives(made)} is enough'
    )
  if seen.widest_sort >= made.model.vocab_size:
    found.append(f'{seen.widest_sort} entries are sorted')
  kernels = {KERNEL: made.model.num_layers}
  if seen.kernels != kernels:
    found.append(f'its kernels are {seen.kernels}, and not {kernels}')
  if made.name == 'prefill' and seen.scratch > made.cache:
    found.append(f'{seen.scratch} bytes of scratch could be a copy of pages')
  return found


def row(deployment: Deployment, made: Compiled) -> str:
  """A line of the table."""
  seen = made.footprint
  sent = ', '.join(f'{n} {x}' for x, n in sorted(seen.collectives.items()))
  sizes = (made.params, made.cache, made.state, seen.scratch, seen.total)
  cells = (
    deployment.name, made.name, deployment.topology,
    *(f'{x / _GIB:.2f}' for x in sizes),
    f'{deployment.memory / _GIB:.0f}', sent or 'none',
    f'{made.processor_seconds:.0f} s',
  )  # fmt: skip
  return f'| {" | ".join(cells)} |'


def merged(page: str, rows: Sequence[str]) -> str:
  """The page with new rows in its table, in the order of `DEPLOYMENTS`."""
  head, _, rest = page.partition(BEGIN)
  old, _, tail = rest.partition(END)
  lines = {}
  for line in (*old.splitlines()[2:], *rows):
    name, program = (x.strip() for x in line.split('|')[1:3])
    lines[name, program] = line
  known = [(d.name, x) for d in DEPLOYMENTS for x in ('decode', 'prefill')]
  table = (*HEAD, *(lines[key] for key in known if key in lines))
  return f'{head}{BEGIN}' + ''.join(f'{x}\n' for x in table) + f'{END}{tail}'


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError('Takes flags only.')
  names = [d.name for d in DEPLOYMENTS]
  if _ONLY.value not in (None, *names):
    raise app.UsageError(f'--only is one of {", ".join(names)}.')
  print('\n'.join(HEAD), flush=True)
  wrong = []
  for deployment in DEPLOYMENTS:
    if _ONLY.value in (None, deployment.name):
      for made in compile_for(deployment):
        line = row(deployment, made)
        print(line, flush=True)
        wrong += [
          f'{deployment.name}, {made.name}: {fault}'
          for fault in faults(made, deployment.memory)
        ]
        if _WRITE.value:
          PAGE.write_text(merged(PAGE.read_text(), [line]))
  if wrong:
    raise SystemExit('\n'.join(wrong))


if __name__ == '__main__':
  app.run(main)
