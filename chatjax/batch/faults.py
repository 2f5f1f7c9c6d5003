"""What is wrong with a file before any of it is run, as OpenAI tells it."""

from __future__ import annotations

import pathlib
from typing import Any

from chatjax.batch import lines
from chatjax.batch import plan
from chatjax.batch import source as source_lib
from chatjax.protocol import errors
from chatjax.protocol import limits as limits_lib

MAX_ERRORS = 100  # that a batch is told of


def find(
  path: pathlib.Path,
  *,
  endpoint: str,
  model_id: str,
  limits: limits_lib.Limits,
  max_lines: int,
) -> tuple[list[dict[str, Any]], int]:
  """The faults of a file, and how many requests it has.

  Args:
    path: of the file.
    endpoint: of all its requests.
    model_id: of all its requests.
    limits: how long a line may be.
    max_lines: how many requests it may have.
  """
  try:
    source = source_lib.Source(path, limits=limits)
  except source_lib.EmptyError:
    return [_fault('empty_file', 'The file has no requests.')], 0
  with source:
    count = source.num_requests
    if count > max_lines:
      told = f'The file has {count} requests; at most {max_lines} are allowed.'
      return [_fault('too_many_requests', told)], count
    found: list[dict[str, Any]] = []
    for index in range(source.num_ranges):
      for line in source.read(index):
        if fault := _of_line(line, endpoint, model_id, limits):
          found.append(fault)
        if len(found) == MAX_ERRORS:
          return found, count
    return found, count


def _of_line(
  line: source_lib.Line,
  endpoint: str,
  model_id: str,
  limits: limits_lib.Limits,
) -> dict[str, Any] | None:
  try:
    asked = plan.parse(line, limits)
  except lines.LineError as error:
    return _fault(error.code, str(error), line.number)
  if asked.url != endpoint:
    told = f'url is {asked.url}; the endpoint of the batch is {endpoint}.'
    return _fault('mismatched_url', told, line.number, 'url')
  model = asked.body.get('model')
  if model != model_id:
    told = f'model is {errors.shorten(model)}; this server has {model_id!r}.'
    return _fault('model_not_found', told, line.number, 'body.model')
  return None


def _fault(
  code: str, message: str, line: int | None = None, param: str | None = None
) -> dict[str, Any]:
  return {'code': code, 'message': message, 'line': line, 'param': param}
