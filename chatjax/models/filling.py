"""Makes a parameter in the form in which it is kept, row block by row block."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import concurrent.futures
import math
from typing import Any

import jax
import numpy as np

from chatjax.ckpt import mapping
from chatjax.ckpt import stream
from chatjax.nn import quant

# Each holds one block: `stream.ROW_BLOCK_BYTES` counts on two.
_WORKERS = 2


def leaves(tree: Any) -> dict[str, Any]:
  """Parameter path -> leaf; a quantized weight is one leaf."""
  flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=quant.is_weight)
  return {'.'.join(key.key for key in path): leaf for path, leaf in flat}


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
  """The nested dicts of which `leaves` are these."""
  tree: dict[str, Any] = {}
  for path, leaf in flat.items():
    *parents, name = path.split('.')
    at = tree
    for parent in parents:
      at = at.setdefault(parent, {})
    at[name] = leaf
  return tree


def check(
  rules: Sequence[mapping.Rule],
  tensors: stream.Tensors,
  known: Mapping[str, int],
  wanted: Mapping[str, Any],
) -> dict[str, stream.Plan]:
  """How each parameter is made.

  Raises:
    mapping.MappingError: with all that does not fit: tensors and parameters
      without a counterpart, and shapes.
  """
  mapping.check_names(rules, list(tensors.shapes), list(wanted))
  plans, wrong = {}, []
  for rule in rules:
    try:
      plans[rule.target] = made = stream.plan(rule, tensors, known)
    except mapping.MappingError as error:
      wrong.append(str(error).removesuffix('.'))
      continue
    if made.shape != (shape := wanted[rule.target].shape):
      sources = ', '.join(tensors.where(name) for name, _ in rule.sources)
      wrong.append(
        f'Parameter {rule.target} would have shape {made.shape}, the model'
        f' wants {shape} ({sources})'
      )
  if wrong:
    raise mapping.MappingError(f'{"; ".join(wrong)}.')
  return plans


def fill(
  plans: Mapping[str, stream.Plan],
  tensors: stream.Tensors,
  wanted: Mapping[str, Any],
  done: Callable[[], None],
) -> dict[str, Any]:
  """Reads parameters into numpy arrays and quantized weights of such.

  Args:
    plans: how each is made, by path.
    tensors: where to read.
    wanted: abstract leaves, by path.
    done: called after each parameter.
  """
  made = {}
  with concurrent.futures.ThreadPoolExecutor(_WORKERS) as pool:
    for path, plan in plans.items():
      made[path] = _empty(wanted[path])
      count = _num_row_axes(wanted[path])

      def work(box, plan=plan, leaf=made[path], count=count):
        rows = stream.block(plan, tensors, box)
        width = math.prod(plan.shape[count:])
        start = stream.first_row(box, plan.shape, count)
        _put(leaf, start, rows.reshape(-1, width))

      for _ in pool.map(work, stream.boxes(plan.shape, count)):
        pass  # what went wrong is raised here
      done()
  return made


def _num_row_axes(leaf: Any) -> int:
  """Leading axes that number what can be made apart from the rest."""
  if quant.is_weight(leaf):
    return leaf.num_out_axes
  return max(1, leaf.ndim - 1)


def _empty(leaf: Any) -> Any:
  if quant.is_weight(leaf):
    return type(leaf).empty(leaf.shape, leaf.num_out_axes)
  return np.empty(leaf.shape, leaf.dtype)


def _put(leaf: Any, start: int, rows_NK: np.ndarray) -> None:
  if quant.is_weight(leaf):
    leaf.put_rows(start, rows_NK)
  else:
    place = slice(start, start + len(rows_NK))
    leaf.reshape(-1, rows_NK.shape[1])[place] = rows_NK
