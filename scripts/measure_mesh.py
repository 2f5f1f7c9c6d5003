"""What a decode step sends between devices, by part.

    python scripts/measure_mesh.py [--rows=1,8,64] [--devices=8]

Compiles the decode program of Llama-3.1-8B for fake CPU devices, with one layer
and with two: the difference is a layer's, and the rest is not of the layers.
Bytes are those that each device sends in a ring: of n devices, an all-gather
sends (n-1)/n of its result and an all-reduce twice that.
"""

from __future__ import annotations

import os
import re

from absl import app
from absl import flags

_ROWS = flags.DEFINE_list('rows', ['1', '8', '64'], 'Rows of the step.')
_DEVICES = flags.DEFINE_integer('devices', 8, 'Devices of the axis model.')
_MODEL = 'meta-llama/Llama-3.1-8B-Instruct'
_SENT = re.compile(
  r'= (?P<result>.*?) (?P<name>all-gather|all-reduce|all-to-all|'
  r'collective-permute|reduce-scatter)(-start)?\('
)
_ARRAY = re.compile(r'(?P<kind>[a-z]+)(?P<bits>\d+)\[(?P<axes>[\d,]*)\]')


def sent(text: str, num_devices: int, vocab: int) -> dict[str, float]:
  """Bytes that a device sends in a program, by what it sends.

  Args:
    text: the compiled program.
    num_devices: that take part.
    vocab: length of the axis by which scores are known.
  """
  found: dict[str, float] = {}
  for line in text.splitlines():
    match = _SENT.search(line)
    if match is None:
      continue
    for array in _ARRAY.finditer(match['result']):
      axes = [int(x) for x in array['axes'].split(',') if x]
      size = int(array['bits']) // 8
      for extent in axes:
        size *= extent
      times = 2 if match['name'] == 'all-reduce' else 1
      part = 'scores' if vocab in axes else 'others'
      found[part] = found.get(part, 0) + size * times * (1 - 1 / num_devices)
  return found


def _compiled(rows: int, num_layers: int, num_devices: int) -> str:
  """The decode program of a model of so many layers."""
  import compile_for_tpu

  from chatjax import config as config_lib
  from chatjax.engine import programs
  from chatjax.models import families
  from chatjax.models import load
  from chatjax.nn import sharding
  from chatjax.nn import transformer

  raw = compile_for_tpu.PUBLISHED[_MODEL] | {'num_hidden_layers': num_layers}
  model = families.BY_HUB['LlamaForCausalLM'].read_hub_config(raw)
  engine = config_lib.EngineConfig(
    mesh=config_lib.MeshConfig(model=num_devices), dtype='bfloat16',
    max_rows=rows, context=1024,
  )  # fmt: skip
  layout = sharding.layout(engine.mesh, model)
  weights = load.Weights(
    config=model,
    abstract=transformer.Transformer(model, 'bfloat16').abstract_params(),
    restore=lambda placement=None: None,
    digest='',
    dtype='bfloat16',
  )
  planned = programs.plan(weights, engine, layout)
  widest = max(key for key in planned if isinstance(key, tuple))
  program, args = planned[widest]
  return program.lower(*args).compile().as_text()


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError('Takes flags only.')
  os.environ['JAX_NUM_CPU_DEVICES'] = str(_DEVICES.value)
  import compile_for_tpu

  raw = compile_for_tpu.PUBLISHED[_MODEL]
  layers, vocab = raw['num_hidden_layers'], raw['vocab_size']
  print(f'| rows | {layers} layers | scores | the rest |')
  print('|---|---|---|---|')
  for rows in map(int, _ROWS.value):
    one, two = (
      sent(_compiled(rows, count, _DEVICES.value), _DEVICES.value, vocab)
      for count in (1, 2)
    )
    layer = two['others'] - one['others']
    parts = (layers * layer, one['scores'], one['others'] - layer)
    cells = (str(rows), *(f'{part / 2**20:.2f} MiB' for part in parts))
    print(f'| {" | ".join(cells)} |', flush=True)


if __name__ == '__main__':
  app.run(main)
