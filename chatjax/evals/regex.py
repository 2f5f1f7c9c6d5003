"""Kind `regex`: a pattern is found in the answer."""

from __future__ import annotations

import dataclasses
import re

from chatjax.evals import fields as fields_lib
from chatjax.evals import limited
from chatjax.evals import marks
from chatjax.evals import normalize


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regex:
  """Marks by a pattern, searched for anywhere.

  Attributes:
    pattern: Python's.
    answer: what its first group must be where it matches last; None is any.
    normalize: name of what may differ from `answer`.
  """

  pattern: re.Pattern[str]
  answer: str | None
  normalize: str

  def mark(self, text: str) -> marks.Mark:
    try:
      found = limited.call(_last, self.pattern.pattern, text)
    except limited.TooLong:
      return marks.Mark(score=0.0, detail=marks.TOO_LONG)
    if found is None:
      return marks.Mark(score=0.0, detail='the pattern is not there')
    if self.answer is None:
      return marks.RIGHT
    plain = normalize.NORMALIZATIONS[self.normalize]
    said = plain(found)
    if said == plain(self.answer):
      return marks.RIGHT
    return marks.Mark(score=0.0, detail=f'it is {said[:80]!r}')


def read(fields: fields_lib.Fields) -> Regex:
  """From `pattern`, and `answer` for what its first group is."""
  pattern = fields.pattern('pattern')
  answer = fields.text('answer', None)
  if answer is not None and pattern.groups < 1:
    raise fields.wrong(
      'pattern', 'with a group, (...), that is compared with the answer'
    )
  name = fields.one_of('normalize', normalize.NORMALIZATIONS, 'strip')
  if answer is not None and normalize.loses(name, answer):
    raise fields.wrong('answer', normalize.kept(name))
  return Regex(pattern=pattern, answer=answer, normalize=name)


def _last(pattern: str, text: str) -> str | None:
  """The first group (or '') where a pattern matches last; None is nowhere."""
  group = None
  for match in re.finditer(pattern, text):
    group = (match[1] if match.re.groups else None) or ''
  return group
