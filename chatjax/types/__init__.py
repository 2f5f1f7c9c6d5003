"""The nouns that rooms hand to each other. No jax in here.

Axis letters, used as name suffixes (`x_BTD`) everywhere in `nn/`, `sampling/`
and `engine/`:

  B  rows of a decode program (sequences in flight)
  T  tokens of one sequence in one program
  D  model width            F  feed-forward width     L  layers
  N  query heads            K  key/value heads        G  query heads per K
  H  head width             V  vocabulary
  P  pages of one sequence  S  positions inside one page or block
"""

from __future__ import annotations

from chatjax.types.answers import ChoiceResult
from chatjax.types.answers import Completion
from chatjax.types.answers import Delta
from chatjax.types.answers import PromptLogprob
from chatjax.types.answers import TokenLogprob
from chatjax.types.answers import ToolCall
from chatjax.types.errors import ChatjaxError
from chatjax.types.errors import FinishReason
from chatjax.types.errors import RequestError
from chatjax.types.requests import Grammar
from chatjax.types.requests import ReasoningEffort
from chatjax.types.requests import Request
from chatjax.types.requests import Tool
from chatjax.types.requests import ToolChoice
from chatjax.types.sampling import MAX_SEED
from chatjax.types.sampling import MAX_TOP_LOGPROBS
from chatjax.types.sampling import MIN_SEED
from chatjax.types.sampling import LogprobsMode
from chatjax.types.sampling import SamplingParams
from chatjax.types.sampling import Speculation
from chatjax.types.tokens import Constraint
from chatjax.types.tokens import Drafted
from chatjax.types.tokens import Measured
from chatjax.types.tokens import PromptToken
from chatjax.types.tokens import Sink
from chatjax.types.tokens import Token
from chatjax.types.tokens import TokenRequest

__all__ = [
  'MAX_SEED',
  'MAX_TOP_LOGPROBS',
  'MIN_SEED',
  'ChatjaxError',
  'ChoiceResult',
  'Completion',
  'Constraint',
  'Delta',
  'Drafted',
  'FinishReason',
  'Grammar',
  'LogprobsMode',
  'Measured',
  'PromptLogprob',
  'PromptToken',
  'ReasoningEffort',
  'Request',
  'RequestError',
  'SamplingParams',
  'Sink',
  'Speculation',
  'Token',
  'TokenLogprob',
  'TokenRequest',
  'Tool',
  'ToolCall',
  'ToolChoice',
]
