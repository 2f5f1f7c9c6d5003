"""One choice's place in a compiled grammar."""

from __future__ import annotations

from collections.abc import Sequence

import llguidance
import numpy as np

from chatjax import types
from chatjax.grammar import bits


class Matcher:
  """A `types.Constraint` of one grammar.

  Once nothing more may come, it allows the ids that end a text, for ever.
  """

  def __init__(
    self,
    matcher: llguidance.LLMatcher,
    *,
    num_tokens: int,
    eos_ids: frozenset[int],
  ):
    self._matcher = matcher
    self._num_tokens = num_tokens
    self._eos_ids = eos_ids
    self._has_ended = False
    self._mask_W = np.zeros(bits.num_words(num_tokens), np.uint32)

  @property
  def is_complete(self) -> bool:
    """Whether what was drawn is a whole text of the grammar."""
    return self._has_ended or self._matcher.is_accepting()

  @property
  def is_over(self) -> bool:
    """Whether only an id that ends a text may come."""
    return self._has_ended or self._matcher.is_stopped()

  def masks(self, guesses: Sequence[int], out_GW: np.ndarray) -> int:
    num_taken, num_fed, had_ended = 0, 0, self._has_ended
    while True:
      self._write_mask(out_GW[num_taken])
      if num_taken == len(guesses):
        break
      token = guesses[num_taken]
      if not bits.has(out_GW[num_taken], token):
        break
      num_fed += self._take(token)
      num_taken += 1
    self._has_ended = had_ended
    if num_fed:
      self._matcher.rollback(num_fed)
    self._check()
    return num_taken

  def forced(self, limit: int) -> Sequence[int]:
    if self.is_over:
      return ()
    return self._matcher.compute_ff_tokens()[:limit]

  def advance(self, tokens: Sequence[int]) -> None:
    for token in tokens:
      if not self._may_take(token):
        raise types.ChatjaxError(
          f'Token {token} is not allowed by the grammar where it was drawn; '
          'draw only what its mask allows.'
        )
      self._take(token)

  def _may_take(self, token: int) -> bool:
    if self._is_end(token):
      return True
    if self._has_ended or not 0 <= token < self._num_tokens:
      return False
    return self._matcher.validate_tokens([token]) == 1

  def _take(self, token: int) -> int:
    """Takes an allowed token; returns how many the parser was fed."""
    if self._is_end(token):
      self._has_ended = True
      return 0
    self._matcher.consume_token(token)
    self._check()
    return 1

  def _is_end(self, token: int) -> bool:
    return token in self._eos_ids and self.is_complete

  def _write_mask(self, out_W: np.ndarray) -> None:
    if self._has_ended:
      bits.write_only(self._eos_ids, out_W)
      return
    mask_W = self._mask_W
    self._matcher.unsafe_compute_mask_ptr(mask_W.ctypes.data, mask_W.nbytes)
    self._check()
    size = min(mask_W.size, out_W.size)
    out_W[:size] = mask_W[:size]
    out_W[size:] = 0

  def _check(self) -> None:
    if self._matcher.is_error():
      reason = first_line(self._matcher.get_error())
      raise types.ChatjaxError(
        f'The grammar became too complex for the text so far: {reason}; '
        'simplify it.'
      )


def first_line(text: str) -> str:
  """What llguidance says, without the state and the stack it adds."""
  lines = [line.strip() for line in text.splitlines() if line.strip()] or ['']
  # Errors of regular expressions say what is wrong below a drawing.
  detail = next((x for x in lines[1:] if x.startswith('error: ')), '')
  line = lines[0] + (f' {detail.removeprefix("error: ")}' if detail else '')
  return line[:200].rstrip('.: ')
