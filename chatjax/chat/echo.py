"""The prompt of a plain text as the beginning of the answer."""

from __future__ import annotations

from collections.abc import Sequence

from chatjax import types
from chatjax.chat import choice as choice_lib


def echo(
  tokenizer: choice_lib.TokenBytes,
  prompt: str | Sequence[int],
  prompt_ids: Sequence[int],
  scored: Sequence[types.PromptToken] | None,
  *,
  num_top: int,
) -> tuple[str, tuple[types.TokenLogprob, ...]]:
  """The text of a prompt, and what the model says of its tokens.

  Args:
    tokenizer: of the model.
    prompt: as it was given.
    prompt_ids: its tokens.
    scored: all of them but the first; None tells nothing.
    num_top: alternatives to tell of.
  """
  pieces = [tokenizer.token_bytes(token_id) for token_id in prompt_ids]
  data = b''.join(pieces)
  if isinstance(prompt, str) and data == b' ' + prompt.encode():
    # Some tokenizers put a space in front of a text: it is not the caller's.
    data = data[1:]
    first = next(idx for idx, piece in enumerate(pieces) if piece)
    pieces[first] = pieces[first][1:]
  text = data.decode(errors='replace')
  if scored is None:
    return text, ()

  def named(token_id: int, logprob: float | None, raw: bytes):
    whole = tokenizer.token_bytes(token_id)
    spelled = whole.decode(errors='replace') or tokenizer.spelling(token_id)
    return {'id': token_id, 'token': spelled, 'logprob': logprob, 'bytes': raw}

  entries = [types.TokenLogprob(**named(prompt_ids[0], None, pieces[0]))]
  for token, raw in zip(scored, pieces[1:], strict=True):
    top = (
      types.TokenLogprob(**named(*one, tokenizer.token_bytes(one[0])))
      for one in token.top[:num_top]
    )
    entries.append(
      types.TokenLogprob(**named(token.id, token.logprob, raw), top=tuple(top))
    )
  return text, tuple(entries)
