"""How a model's output is bound and read, for one request."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import re

from chatjax import types
from chatjax.chat import tool_list
from chatjax.chat.parsers import formats
from chatjax.chat.parsers import lark as lark_lib
from chatjax.chat.parsers import parser as parser_lib
from chatjax.grammar import compiler as compiler_lib
from chatjax.grammar import compose
from chatjax.grammar import shape
from chatjax.text import tokenizer as tokenizer_lib

_PROMPT_TAIL = 200  # characters; enough for any opening tag


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
  """What is done with the tokens of one request's choices.

  Attributes:
    parser: makes the parser of a choice.
    constraint: makes the constraint of a choice; None if it is free.
    call_ends: whether a choice ends with its first call.
    is_named: whether the call was demanded by name.
  """

  parser: Callable[[], parser_lib.Parser]
  constraint: Callable[[], types.Constraint] | None
  call_ends: bool
  is_named: bool


class Planner:
  """Plans the outputs of one model's requests. Thread-safe."""

  def __init__(
    self,
    tokenizer: tokenizer_lib.Tokenizer,
    output_format: formats.OutputFormat,
    compiler: compiler_lib.Compiler,
  ):
    self.output_format = output_format
    self._tokenizer = tokenizer
    self._compiler = compiler

  def plan(
    self,
    request: types.Request,
    *,
    prompt: str,
    budget: int | None,
    can_think: bool = False,
  ) -> Outputs:
    """Compiles what binds the answer.

    Args:
      request: what is asked.
      prompt: the rendered text.
      budget: tokens after which reasoning is closed.
      can_think: whether reasoning may go before what is bound. A model that
        was never taught to would hide there from its grammar, without end.

    Raises:
      types.RequestError: a grammar that cannot be enforced, or calls that this
        model cannot make.
    """
    tools = tool_list.callable_ones(request)
    tail = prompt[-_PROMPT_TAIL:]
    return Outputs(
      parser=lambda: self.output_format.parser(tools, tail),
      constraint=self._constraint(request, tools, tail, budget, can_think),
      call_ends=bool(tools) and not request.parallel_tool_calls,
      is_named=request.tool_choice.is_named,
    )

  def _constraint(
    self,
    request: types.Request,
    tools: tuple[types.Tool, ...],
    tail: str,
    budget: int | None,
    can_think: bool,
  ) -> Callable[[], types.Constraint] | None:
    grammar = self._grammar(request, tools)
    layers: list[Callable[[types.Constraint | None], types.Constraint]] = []
    tags = self.output_format.reasoning_tags
    is_open = self.output_format.parser(tools, tail).is_reasoning
    is_bound = grammar is not None or budget is not None
    if tags is not None and is_bound and (can_think or is_open):
      compose.prepare(self._tokenizer, tags)
      layers.append(self._thinking(tags, is_open, budget))
    if words := self._bad_words(request):
      layers.append(lambda inner: compose.BadWords(words, inner))
    compiled = None if grammar is None else self._compiler.compile(grammar)
    if compiled is None and not layers:
      return None

    def make() -> types.Constraint:
      made = None if compiled is None else compiled.matcher()
      for layer in layers:
        made = layer(made)
      return made

    return make

  def _grammar(
    self, request: types.Request, tools: tuple[types.Tool, ...]
  ) -> types.Grammar | None:
    """What the output must be after any reasoning."""
    wanted = request.grammar
    # A tool that is demanded by name is called once.
    is_named = request.tool_choice.is_named
    is_parallel = request.parallel_tool_calls and not is_named
    special = self._tokenizer.special_ids
    is_bound = any(tool.is_strict or tool.input_format for tool in tools)
    if wanted is not None and (tools or self.output_format.wraps_content):
      self._compiler.compile(wanted)  # alone, for its own faults
    if not tools:
      return self._answer(wanted)
    if wanted is None and request.tool_choice.mode == 'auto' and not is_bound:
      return None
    self._check_schemas(request, tools)
    tools = tuple(
      _tidied(tool, idx)
      for idx, tool in enumerate(request.tools)
      if tool in tools
    )
    if request.tool_choice.mode == 'required':
      source = self.output_format.grammar(
        tools, is_parallel=is_parallel, special=special
      )
      if source is None:
        raise _no_calls('tool_choice')
      return _lark(source, 'tools')
    if wanted is not None:
      source = self.output_format.grammar(
        tools, is_parallel=is_parallel, special=special
      )
      if source is None:
        raise _no_calls('tools')
      lark, answer = self._content(wanted)
      either = lark.source(f'{answer} | calls') + _renamed(source)
      return _lark(either, wanted.param)
    source = self.output_format.strict_grammar(
      tools, is_parallel=is_parallel, special=special
    )
    if source is None:
      raise types.RequestError(
        'This model cannot be held to strict arguments unless it must call;'
        " give tool_choice 'required', or leave strict out.",
        param='tools',
      )
    return _lark(source, 'tools')

  def _answer(self, wanted: types.Grammar | None) -> types.Grammar | None:
    """What is wanted, and what this model puts around its content."""
    if wanted is None or not self.output_format.wraps_content:
      return wanted
    lark, answer = self._content(wanted)
    return _lark(lark.source(answer), wanted.param)

  def _content(self, wanted: types.Grammar) -> tuple[lark_lib.Lark, str]:
    """A rule of the whole answer, and the grammar that has it."""
    lark = lark_lib.Lark(self._tokenizer.special_ids, prefix='a')
    return lark, self.output_format.answer(lark, _rule(lark, wanted))

  def _check_schemas(
    self, request: types.Request, tools: tuple[types.Tool, ...]
  ) -> None:
    """Finds what a strict tool asks for and would not get."""
    for idx, tool in enumerate(request.tools):
      if not tool.is_strict or tool not in tools:
        continue
      schema = types.Grammar(
        kind='json_schema',
        source=tool.schema,
        is_strict=True,
        param=f'tools[{idx}].function.parameters',
      )
      self._compiler.compile(schema)

  def _thinking(
    self, tags: tuple[str, str], is_open: bool, budget: int | None
  ) -> Callable[[types.Constraint | None], types.Constraint]:
    return lambda inner: compose.AfterTag(
      inner,
      self._tokenizer,
      tags=tags,
      is_open=is_open,
      budget=budget,
    )

  def _bad_words(self, request: types.Request) -> tuple[tuple[int, ...], ...]:
    """As the tokenizer writes them, at the start of a word and inside."""
    found = []
    for word in request.sampling.bad_words:
      for text in (word, f' {word.lstrip()}'):
        found.append(tuple(self._tokenizer.encode(text)))
    return tuple(dict.fromkeys(ids for ids in found if ids))


def _lark(source: str, param: str | None) -> types.Grammar:
  return types.Grammar(kind='lark', source=source, param=param)


def _tidied(tool: types.Tool, idx: int) -> types.Tool:
  """With a schema that any format can write a grammar of."""
  if tool.is_custom or tool.is_strict:
    return tool
  schema = shape.tidied(tool.schema, f'tools[{idx}].function.parameters')
  return dataclasses.replace(tool, parameters=schema)


def _rule(lark: lark_lib.Lark, wanted: types.Grammar) -> str:
  """What the text must be."""
  match wanted.kind:
    case 'json_object':
      return lark.json({'type': 'object'})
    case 'json_schema':
      return lark.json(wanted.source, is_strict=wanted.is_strict)
    case 'regex':
      return lark.rule(f'/{lark_lib.slashed(wanted.source)}/')
    case 'choice':
      return lark.choice(map(lark_lib.literal, wanted.source))
    case 'lark':
      return lark.rule(f'%lark {{\n{wanted.source}\n}}')


def _renamed(calls: str) -> str:
  """A grammar's rules under names that are not those of another's."""
  _, _, rules = calls.partition('\n')  # its options
  return re.sub(r'^start:', 'calls:', rules, count=1, flags=re.MULTILINE)


def _no_calls(param: str) -> types.RequestError:
  return types.RequestError(
    'This model does not call tools; leave them out.', param=param
  )
