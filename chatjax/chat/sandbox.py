"""Runs a checkpoint's Jinja chat template, which nobody here has read.

Jinja's sandbox keeps a template away from Python's internals, but not from
the machine's memory and time: '%1000000000d' % 1 is one harmless operator.
So the template is rewritten before it is compiled: whatever can build a large
value pays for it first, and every turn of a loop looks at the clock. Filters,
methods and functions that are not listed here do not exist.
"""

from __future__ import annotations

import datetime
import functools
import re
import types as builtin_types
from typing import Any

import jinja2
from jinja2 import ext
from jinja2 import meta
from jinja2 import nodes
from jinja2 import runtime
from jinja2 import sandbox
from jinja2 import utils
from jinja2 import visitor

from chatjax import types
from chatjax.chat import filters
from chatjax.chat import formatting
from chatjax.chat import meter
from chatjax.chat import printed

_MAX_SOURCE = 1 << 20
_MAX_MESSAGE = 500
_BUDGET = meter.Budget()

_STR_METHODS = """
  capitalize casefold center count endswith expandtabs find index isalnum
  isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable
  isspace istitle isupper join ljust lower lstrip partition removeprefix
  removesuffix replace rfind rindex rjust rpartition rsplit rstrip split
  splitlines startswith strip swapcase title upper zfill
"""
_METHODS = {
  str: frozenset(_STR_METHODS.split()),
  dict: frozenset({'copy', 'get', 'items', 'keys', 'values'}),
  list: frozenset({'copy', 'count', 'index'}),
  tuple: frozenset({'count', 'index'}),
  runtime.LoopContext: frozenset({'changed', 'cycle'}),
  utils.Cycler: frozenset({'next', 'reset'}),
}
_CALLABLES = (
  formatting.Format,
  runtime.BlockReference,
  runtime.LoopContext,
  runtime.Macro,
  runtime.Undefined,  # raises the error that says what is undefined
  utils.Joiner,
)

# What a template does wrong with the values it is given shows as these.
_FAILURES = (
  jinja2.TemplateError,
  ArithmeticError,
  AssertionError,
  AttributeError,
  LookupError,
  MemoryError,
  RecursionError,
  TypeError,
  ValueError,
)


class TemplateError(types.ChatjaxError, ValueError):
  """A chat template that cannot be compiled or rendered."""


class Template:
  """A compiled template; may be rendered by many threads at once.

  Attributes:
    variables: the names that the template reads, functions aside.
  """

  def __init__(self, source: str):
    if len(source) > _MAX_SOURCE:
      raise TemplateError(
        f'The chat template has {len(source)} characters; at most '
        f'{_MAX_SOURCE} are allowed.'
      )
    environment = _environment()
    try:
      names = meta.find_undeclared_variables(environment.parse(source))
      self.variables = frozenset(names) - frozenset(_GLOBALS)
      self._template = environment.from_string(source)
    except (*_FAILURES, SyntaxError) as error:
      raise TemplateError(
        f'The chat template cannot be compiled: {_say(error)}'
      ) from error

  def render(self, budget: meter.Budget = _BUDGET, /, **variables: Any) -> str:
    """The text that the template makes of the variables.

    Raises:
      TemplateError: the template refuses them, fails, or costs too much.
    """
    pieces = []
    with meter.running(budget) as spent:
      try:
        for piece in self._template.generate(**variables):
          spent.emit(len(piece))
          pieces.append(piece)
      except _FAILURES as error:
        raise TemplateError(
          f'The chat template does not take these messages: {_say(error)}'
        ) from error
    return ''.join(pieces)


def _say(error: BaseException) -> str:
  return (str(error) or type(error).__name__)[:_MAX_MESSAGE]


@functools.lru_cache(maxsize=32)
def compile_template(source: str) -> Template:
  """Compiles a template once, however often it is asked for."""
  return Template(source)


@functools.cache
def _environment() -> _Environment:
  environment = _Environment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=[ext.loopcontrols, _GenerationTag],
    # Nothing is computed while compiling, where no meter runs.
    optimized=False,
    finalize=_finalize,
  )
  environment.filters = filters.allowed()
  environment.globals = dict(_GLOBALS)
  return environment


class _GenerationTag(ext.Extension):
  """{% generation %} marks an answer for training; here it is transparent."""

  tags = frozenset({'generation'})

  def parse(self, parser):
    next(parser.stream)
    return parser.parse_statements(('name:endgeneration',), drop_needle=True)


class _Environment(sandbox.ImmutableSandboxedEnvironment):
  """A sandbox in which large values are paid for."""

  intercepted_binops = frozenset({'+', '*', '**', '%'})

  def call_binop(self, context, operator, left, right):
    if operator == '%':
      if isinstance(left, str):
        return formatting.percent(left, right)
    else:
      _CHARGES[operator](left, right)
    return super().call_binop(context, operator, left, right)

  def getitem(self, obj, argument):
    # A message about what is not there shows the argument.
    meter.charge(meter.size_of(argument))
    return super().getitem(obj, argument)

  def call(self, context, obj, /, *args, **kwargs):
    meter.charge(1)
    owner = getattr(obj, '__self__', None)
    if isinstance(owner, (_Environment, *_METHODS)):
      _check_method(owner, obj.__name__)
      if isinstance(owner, str):
        args = filters.pay_for_method(owner, obj.__name__, args, kwargs)
    elif not (isinstance(obj, _CALLABLES) or obj in _GLOBALS.values()):
      raise jinja2.exceptions.SecurityError(
        f'{type(obj).__name__} is not callable in a chat template'
      )
    return super().call(context, obj, *args, **kwargs)

  def wrap_str_format(self, value):
    if super().wrap_str_format(value) is None:
      return None
    text, name = value.__self__, value.__name__
    if type(text) is not str:
      raise jinja2.exceptions.SecurityError(
        f'{type(text).__name__}.{name} is not available in a chat template'
      )
    return formatting.Format(self, text, takes_map=name == 'format_map')

  def _generate(self, source, *args, **kwargs):
    return super()._generate(_Rewriter().visit(source), *args, **kwargs)

  # What rewritten templates call.

  def chatjax_tick(self, literals: int) -> str:
    """Pays for the literal text of a loop's or macro's body."""
    meter.charge(literals)
    return ''

  def chatjax_join(self, *values: Any) -> str:
    """The operator `~`."""
    meter.charge(sum(map(meter.size_of, values)))
    return runtime.str_join(map(printed.plain, values))

  def chatjax_built(self, value: Any) -> Any:
    """A list, tuple or dict that the template has made."""
    meter.charge(meter.size_of(value))
    return value


_HOOKS = frozenset({'chatjax_tick', 'chatjax_join', 'chatjax_built'})


def _check_method(owner: Any, name: str) -> None:
  if isinstance(owner, _Environment):
    allowed = _HOOKS
  else:
    allowed = next(m for kind, m in _METHODS.items() if isinstance(owner, kind))
  if name not in allowed:
    raise jinja2.exceptions.SecurityError(
      f'{type(owner).__name__}.{name} is not available in a chat template'
    )


class _Rewriter(visitor.NodeTransformer):
  """Puts the calls that pay into a template's syntax tree."""

  def visit_For(self, node):  # noqa: N802 - the visitor's naming
    return self._with_tick(node)

  visit_Macro = visit_CallBlock = visit_For

  def visit_Concat(self, node):  # noqa: N802
    self.generic_visit(node)
    return _hook('chatjax_join', node.nodes, node.lineno)

  def visit_List(self, node):  # noqa: N802
    self.generic_visit(node)
    if getattr(node, 'ctx', 'load') != 'load':
      return node  # the targets of an assignment
    return _hook('chatjax_built', [node], node.lineno)

  visit_Tuple = visit_Dict = visit_List

  def visit_Name(self, node):  # noqa: N802
    # The arguments of a macro, as a tuple or dict that nobody spelled out.
    if node.name in ('varargs', 'kwargs') and node.ctx == 'load':
      return _hook('chatjax_built', [node], node.lineno)
    return node

  def _with_tick(self, node):
    literals = sum(len(part.data) for part in node.find_all(nodes.TemplateData))
    self.generic_visit(node)
    tick = _hook('chatjax_tick', [nodes.Const(literals + 1)], node.lineno)
    statement = nodes.ExprStmt(tick, lineno=node.lineno)
    node.body.insert(0, statement)
    return node


def _hook(name: str, args: list[nodes.Expr], lineno: int) -> nodes.Call:
  function = nodes.EnvironmentAttribute(name, lineno=lineno)
  return nodes.Call(function, args, [], None, None, lineno=lineno)


@jinja2.pass_context  # not foldable: see `optimized`
def _finalize(unused_context: runtime.Context, value: Any) -> Any:
  if isinstance(value, utils.Namespace):
    raise jinja2.exceptions.SecurityError('a namespace has no text')
  meter.charge(meter.size_of(value))
  return printed.plain(value)


def _charge_plus(left: Any, right: Any) -> None:
  for value in (left, right):
    if isinstance(value, (str, list, tuple)):
      meter.charge(len(value))


def _charge_times(left: Any, right: Any) -> None:
  for value, count in ((left, right), (right, left)):
    if isinstance(value, (str, list, tuple)) and isinstance(count, int):
      meter.charge(meter.size_of(value) * max(count, 0))
  if isinstance(left, int) and isinstance(right, int):
    _check_bits(left.bit_length() + right.bit_length())


def _charge_power(left: Any, right: Any) -> None:
  if isinstance(left, int) and isinstance(right, int):
    _check_bits(left.bit_length() * abs(right))


def _check_bits(bits: int) -> None:
  if bits > meter.MAX_INT_BITS:
    raise jinja2.TemplateRuntimeError('the template builds too large numbers')


_CHARGES = {
  '+': _charge_plus,
  '*': _charge_times,
  '**': _charge_power,
}


def _raise_exception(message: Any) -> None:
  meter.charge(meter.size_of(message))
  raise jinja2.TemplateError(str(message))


# A width, as in %999Y, is refused: see `formatting`.
_DATE = re.compile(r'(?:[^%]|%-?[A-Za-z%])*')


def _strftime_now(pattern: str) -> str:
  if len(pattern) > 100 or not _DATE.fullmatch(pattern):
    raise jinja2.exceptions.SecurityError('this date format is not available')
  return datetime.datetime.now().strftime(pattern)


def _dict(*args: Any, **kwargs: Any) -> dict:
  made = dict(*args, **kwargs)
  meter.charge(meter.size_of(made))
  return made


def _range(*args: int) -> range:
  return sandbox.safe_range(*args)


_GLOBALS = builtin_types.MappingProxyType(
  {
    'cycler': utils.Cycler,
    'dict': _dict,
    'joiner': utils.Joiner,
    'namespace': utils.Namespace,
    'raise_exception': _raise_exception,
    'range': _range,
    'strftime_now': _strftime_now,
  }
)
