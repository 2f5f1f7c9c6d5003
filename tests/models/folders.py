"""Tiny models in the hub's layout, and what `transformers` says of them.

Their folders are made by scripts/make_expert_goldens.py and
scripts/make_family_goldens.py.
"""

import copy
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from chatjax.ckpt import mapping
from chatjax.models import filling
from chatjax.models import hub_source
from chatjax.nn import attention
from chatjax.nn import cache as cache_lib
from chatjax.nn import paged
from chatjax.nn import transformer

PAGE, CHUNK = 8, 16
TABLE = np.asarray([3, 1, 4, 2, 5, 6, 7, 8], np.int32)


def under(place):
  """Folders of models by their names."""
  root = pathlib.Path(__file__).parent / place
  return {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}


ALL = under('experts') | under('families')


def read(name):
  return hub_source.read(ALL[name], 'digest')


def golden(name):
  return np.load(ALL[name] / 'golden.npz')


def config_json(name):
  return json.loads((ALL[name] / 'config.json').read_text())


def as_published(values, **more):
  """Keys as folders spell them that are older than `rope_parameters`."""
  values = copy.deepcopy(values)
  rope = dict(values.pop('rope_parameters'))
  values['rope_theta'] = rope.pop('rope_theta')
  if rope['rope_type'] != 'default':
    values['rope_scaling'] = rope
  return values | more


@functools.cache
def model_of(name):
  """The model in float32 and its parameters."""
  source = read(name)
  model = transformer.Transformer(source.config, 'float32')
  wanted = filling.leaves(model.abstract_params())
  plans = filling.check(source.rules, source.tensors, source.letters, wanted)
  made = filling.fill(plans, source.tensors, wanted, lambda: None)
  return model, jax.tree.map(jnp.asarray, filling.nested(made))


def dense_logits(name, ids):
  model, params = model_of(name)
  return np.asarray(jax.jit(model.dense)(params, jnp.asarray(ids)))


def relative_difference(ours, want):
  """The largest difference, of the largest number."""
  return float(np.abs(ours - want).max() / np.abs(want).max())


def new_cache(cfg):
  return cache_lib.init(
    pages_of_layer=[9] * cfg.num_layers,
    page_size=PAGE,
    num_kv_heads=cfg.num_kv_heads,
    head_dim=cfg.head_dim,
    dtype='float32',
  )


def by_programs(name):
  """Logits of prompt and answer: by chunks, then one decode row."""
  model, params = model_of(name)
  method = paged.best_method(model.config)

  def run(tokens, positions, live, attend, cache):
    ways = dict.fromkeys(model.config.kinds, attend)
    x, cache = model.hidden(params, tokens, positions, ways, cache, live)
    return model.logits(params, x), cache

  @jax.jit
  def chunk(cache, tokens_C, start):
    positions_C = start + jnp.arange(CHUNK, dtype=jnp.int32)
    live_C = jnp.ones(CHUNK, bool)
    attend = attention.Chunk(jnp.asarray(TABLE), positions_C, live_C, method)
    return run(tokens_C, positions_C, live_C, attend, cache)

  @jax.jit
  def step(cache, token, position):
    live_B = jnp.asarray([False, True])
    positions_B = jnp.stack([jnp.int32(0), position])
    tables_BP = jnp.stack([jnp.zeros_like(TABLE), jnp.asarray(TABLE)])
    attend = attention.Rows(tables_BP, positions_B, live_B, method)
    tokens_B = jnp.stack([jnp.int32(7), token])
    return run(tokens_B, positions_B, live_B, attend, cache)

  ids, answer = golden(name)['ids'], golden(name)['greedy']
  cache, logits = new_cache(model.config), []
  for start in range(0, len(ids), CHUNK):
    of_chunk, cache = chunk(cache, ids[start : start + CHUNK], np.int32(start))
    logits.append(of_chunk)
  for position, token in enumerate(answer, start=len(ids)):
    of_rows, cache = step(cache, token, np.int32(position))
    logits.append(of_rows[1:])
  return np.concatenate(logits)


def exported(source, params):
  """Tensors of a folder's own names, made of parameters again."""
  arrays = filling.leaves(jax.tree.map(np.asarray, params))
  return mapping.export(
    source.rules, arrays, source.tensors.shapes, source.letters
  )


def copy_of(name, folder, **changes):
  """A model's folder with another config.json."""
  for path in ALL[name].iterdir():
    (folder / path.name).write_bytes(path.read_bytes())
  values = config_json(name) | changes
  (folder / 'config.json').write_text(json.dumps(values))
  return folder
