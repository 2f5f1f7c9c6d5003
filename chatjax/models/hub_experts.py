"""Mixtures of experts as hub folders spell them: one tensor per expert."""

from __future__ import annotations

from chatjax.ckpt import mapping
from chatjax.models import family

_LAYER = 'layer_{layer}'
_MLP = f'{_LAYER}.mlp.'


def rest_rules() -> tuple[mapping.Rule, ...]:
  """What most families have in common beside the MLP."""
  return tuple(
    rule for rule in family.hub_rules() if not rule.target.startswith(_MLP)
  )


def rules(
  place: str, *, gate: str, up: str, down: str, num_experts: int
) -> tuple[mapping.Rule, ...]:
  """The router and the experts.

  Args:
    place: the module that has them, below the layer's.
    gate: name of an expert's gate.
    up: of what it is multiplied with.
    down: of the way back.
    num_experts: how many there are.
  """
  block = 'model.layers.{layer}.' + place

  def of_each(*names):
    return tuple(
      (f'{block}.experts.{expert}.{name}.weight', 'EN,M->E,N,M')
      for expert in range(num_experts)
      for name in names
    )

  return (
    mapping.Rule(
      target=f'{_MLP}router.w',
      sources=((f'{block}.gate.weight', 'X,D->X,D'),),
    ),
    mapping.Rule(target=f'{_MLP}gate_up.w', sources=of_each(gate, up)),
    mapping.Rule(target=f'{_MLP}down.w', sources=of_each(down)),
  )
