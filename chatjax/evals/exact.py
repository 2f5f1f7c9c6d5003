"""Kind `exact`: the answer is one of the expected texts."""

from __future__ import annotations

import dataclasses

from chatjax.evals import fields as fields_lib
from chatjax.evals import marks
from chatjax.evals import normalize


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exact:
  """Marks by equality.

  Attributes:
    answers: any of them is right.
    normalize: name of what may differ; a key of `NORMALIZATIONS`.
  """

  answers: tuple[str, ...]
  normalize: str

  def mark(self, text: str) -> marks.Mark:
    plain = normalize.NORMALIZATIONS[self.normalize]
    if plain(text) in map(plain, self.answers):
      return marks.RIGHT
    return marks.Mark(score=0.0, detail=f'it is {plain(text)[:80]!r}')


def read(fields: fields_lib.Fields) -> Exact:
  """From `answer` (a string or several) and `normalize`."""
  is_one = isinstance(fields.any('answer'), str)
  answers = (fields.text('answer'),) if is_one else fields.texts('answer')
  name = fields.one_of('normalize', normalize.NORMALIZATIONS, 'strip')
  if any(normalize.loses(name, answer) for answer in answers):
    raise fields.wrong('answer', normalize.kept(name))
  return Exact(answers=answers, normalize=name)
