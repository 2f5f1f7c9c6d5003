"""What a client may ask about the model: tokens, texts, what is served."""

from __future__ import annotations

import chatjax
from chatjax import types
from chatjax.chat import session as session_lib
from chatjax.protocol import errors
from chatjax.protocol import json_body
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import tokenize as tokenize_lib


class Tools:
  """Answers that need no engine; slow ones are for a thread of their own."""

  def __init__(self, session: session_lib.Session, limits: limits_lib.Limits):
    self._session = session
    self._limits = limits

  def tokenize(self, body: bytes) -> tokenize_lib.Tokens:
    """The tokens of a text or of a rendered chat."""
    session = self._session
    asked, has_spellings = tokenize_lib.parse_tokenize(
      json_body.loads(body), limits=self._limits
    )
    if isinstance(asked, types.Request):
      if asked.model != '-':
        self._check_model(asked.model)
      ids = list(session.prompt(asked).token_ids)
    else:
      self._check_model(asked.model)
      ids = session.text_ids(asked.prompt, has_start=asked.add_special_tokens)
    spelling = session.tokenizer.spelling
    more = {'token_strs': list(map(spelling, ids))} if has_spellings else {}
    return tokenize_lib.Tokens(
      count=len(ids),
      max_model_len=session.engine.max_context,
      tokens=ids,
      **more,
    )

  def detokenize(self, body: bytes) -> tokenize_lib.Text:
    """The text of tokens, control tokens as they are spelled."""
    asked = tokenize_lib.parse_detokenize(
      json_body.loads(body), limits=self._limits
    )
    self._check_model(asked.model)
    return tokenize_lib.Text(prompt=self._session.text_of(asked.tokens))

  def tokenizer_info(self) -> tokenize_lib.TokenizerInfo:
    """What harnesses want to know before they send token ids."""
    tokenizer = self._session.tokenizer
    bos_id, eos_ids = tokenizer.bos_id, sorted(tokenizer.eos_ids)
    return tokenize_lib.TokenizerInfo(
      bos_token=None if bos_id is None else tokenizer.spelling(bos_id),
      eos_token=tokenizer.spelling(eos_ids[0]) if eos_ids else None,
      add_bos_token=tokenizer.add_bos and bos_id is not None,
      model_max_length=self._session.engine.max_context,
      chat_template=self._session.chat_format.template_source,
    )

  def version(self) -> dict[str, str]:
    return {'version': chatjax.__version__}

  def _check_model(self, model: str | None) -> None:
    if model not in (None, self._session.model_id):
      raise errors.model_not_found(model, self._session.model_id)
