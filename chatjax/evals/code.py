"""Kind `code`: the answer is Python that passes a test."""

from __future__ import annotations

import ast
import dataclasses

from chatjax.evals import fences
from chatjax.evals import fields as fields_lib
from chatjax.evals import marks
from chatjax.evals import sandbox

_LIMITS = sandbox.Limits()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Code:
  """Marks by running it.

  Attributes:
    test: Python that raises if the answer is wrong.
    entry_point: a function that the answer must define; `check(entry_point)`
      is called after the test if the test defines a `check`.
    prompt: Python that the model was given to complete; '' is none.
    limits: of the process.
  """

  test: str
  entry_point: str | None = None
  prompt: str = ''
  limits: sandbox.Limits = _LIMITS

  def mark(self, text: str) -> marks.Mark:
    verdict = sandbox.run(self.program(text), self.limits)
    if verdict.has_passed:
      return marks.RIGHT
    return marks.Mark(score=0.0, detail=verdict.error)

  def program(self, text: str) -> str:
    """What is run for an answer."""
    parts = [completed(self.prompt, extract(text), self.entry_point), self.test]
    if self.entry_point and 'def check(' in self.test:
      parts.append(f'check({self.entry_point})')
    return '\n\n'.join(part for part in parts if part) + '\n'


def extract(text: str) -> str:
  """The code of an answer: its first fenced block, or else all of it."""
  block = fences.first_block(text)
  return text if block is None else block


def completed(prompt: str, code: str, entry_point: str | None) -> str:
  """One program of a prompt and its answer.

  An answer that defines the function stands for itself, after whatever the
  prompt has before that function (imports, helpers); any other continues the
  prompt, as a plain language model does.
  """
  if not prompt or entry_point is None:
    return f'{prompt}{code}'
  if not _defines(code, entry_point):
    return f'{prompt}{code}'
  before, found, _ = prompt.rpartition(f'def {entry_point}(')
  return f'{before}\n{code}' if found else f'{prompt}\n{code}'


def read(fields: fields_lib.Fields) -> Code:
  """From `test`, `entry_point` and `prefix`."""
  entry_point = fields.text('entry_point', None)
  if entry_point is not None and not entry_point.isidentifier():
    raise fields.wrong('entry_point', 'the name of a function')
  return Code(
    test=fields.text('test'),
    entry_point=entry_point,
    prompt=fields.text('prefix', ''),
  )


def _defines(code: str, name: str) -> bool:
  """Whether code defines a function, at its top level."""
  try:
    body = ast.parse(code).body
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    # Broken, as where it was cut off: by what it looks like.
    return any(line.startswith(f'def {name}(') for line in code.split('\n'))
  return any(name in _names(node) for node in body)


def _names(node: ast.stmt) -> list[str]:
  """What a statement defines."""
  if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
    return [node.name]
  targets = node.targets if isinstance(node, ast.Assign) else []
  return [target.id for target in targets if isinstance(target, ast.Name)]
