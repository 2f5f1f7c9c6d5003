"""Kind `choice`: the right one of some continuations is the likeliest.

Nothing is generated: the model is asked how likely each choice is. `acc` takes
the choice of the greatest log-probability; `acc_norm` that of the greatest
log-probability per byte of UTF-8, which does not favour what is short.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

from chatjax.evals import fields as fields_lib

ACC, ACC_NORM = 'acc', 'acc_norm'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
  """Marks by log-probabilities.

  Attributes:
    choices: what may follow.
    answer: index of the right one.
  """

  choices: tuple[str, ...]
  answer: int

  def scores(self, totals: Sequence[float]) -> dict[str, float]:
    """The metrics of one item.

    Args:
      totals: the log-probability of each choice, all its tokens together.
    """
    found = picks(self.choices, totals)
    return {name: float(pick == self.answer) for name, pick in found.items()}


def picks(choices: Sequence[str], totals: Sequence[float]) -> dict[str, int]:
  """Which of some choices each metric takes for the answer."""
  sizes = [len(choice.encode()) for choice in choices]
  means = [total / size for total, size in zip(totals, sizes, strict=True)]
  return {ACC: best(totals), ACC_NORM: best(means)}


def best(values: Sequence[float]) -> int:
  """The index of the greatest; the first of equals."""
  return max(range(len(values)), key=lambda index: (values[index], -index))


def read(fields: fields_lib.Fields) -> Choice:
  """From `choices` and `answer`: an index from 0, a letter, or the text."""
  choices = fields.texts('choices', least=2)
  if not all(choices):
    raise fields.wrong('choices', 'strings that are not empty')
  return Choice(choices=choices, answer=_answer(choices, fields))


def _answer(choices: tuple[str, ...], fields: fields_lib.Fields) -> int:
  given = fields.any('answer')
  if type(given) is int and 0 <= given < len(choices):
    return given
  if isinstance(given, str):
    if choices.count(given) == 1:
      return choices.index(given)
    if len(given) == 1 and 0 <= ord(given) - ord('A') < len(choices):
      return ord(given) - ord('A')
  raise fields.wrong(
    'answer',
    f'the index of one of the {len(choices)} choices (from 0), its letter (from'
    ' A), or its text',
  )
