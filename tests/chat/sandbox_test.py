"""Hostile and ordinary chat templates (HARDENING: templates)."""

import concurrent.futures
import resource
import time

import pytest

from chatjax.chat import meter
from chatjax.chat import sandbox

QUICK = meter.Budget(deadline_s=0.5)
NEST = "{% set ns = namespace(x=['a']) %}{% for i in range(60) %}"
PAIR = '{% set ns.x = [ns.x, ns.x] %}{% endfor %}'
BOMBS = {
  'percent_width': "{{ '%1000000000d' % 1 }}",
  'percent_star': "{{ '%*d' % (1000000000, 1) }}",
  'percent_many': "{{ ('%s' * 90000) % ((('x' * 9000),) * 90000) }}",
  'times': "{{ 'a' * 10000000000 }}",
  'times_reversed': "{{ 10000000000 * 'a' }}",
  'times_list': '{% set x = [1] * 10000000000 %}',
  'doubling': (
    "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}"
    '{% set ns.x = ns.x + ns.x %}{% endfor %}'
  ),
  'doubling_concat': (
    "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}"
    '{% set ns.x = ns.x ~ ns.x %}{% endfor %}'
  ),
  'doubling_block': (
    "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}"
    '{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}'
    '{% set ns.x = y %}{% endfor %}'
  ),
  'tree_printed': NEST + PAIR + '{{ ns.x }}',
  'tree_json': NEST + PAIR + '{{ ns.x | tojson }}',
  'tree_compared': (
    "{% set ns = namespace(x=['a'], y=['a']) %}{% for i in range(60) %}"
    '{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}'
    '{{ ns.x == ns.y }}'
  ),
  'tree_of_dicts': (
    '{% set ns = namespace(x={}, y={}) %}{% for i in range(25) %}'
    "{% set ns.x = {'a': ns.x, 'b': ns.x} %}"
    "{% set ns.y = {'a': ns.y, 'b': ns.y} %}{% endfor %}{{ ns.x == ns.y }}"
  ),
  'tree_of_views': (
    "{% set ns = namespace(x={'a': 1}) %}{% for i in range(60) %}"
    "{% set ns.x = {'a': ns.x.items(), 'b': ns.x.items()} %}{% endfor %}"
  ),
  'tree_by_function': (
    NEST + '{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x }}'
  ),
  'tree_of_namespaces': (
    NEST + '{% set ns.x = namespace(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x }}'
  ),
  **{
    f'tree_of_namespaces_{name}': (
      NEST + '{% set ns.x = namespace(a=ns.x, b=ns.x) %}{% endfor %}' + shown
    )
    for name, shown in {
      'in_list': '{{ [ns.x] }}',
      'concat': "{{ ns.x ~ '' }}",
      'percent': "{{ '%s' % ns.x }}",
      'string': '{{ ns.x | string }}',
      'upper': '{{ ns.x | upper }}',
      'join': '{{ [ns.x] | join }}',
      'wordcount': '{{ ns.x | wordcount }}',
      'item': '{{ ({}[ns.x]).y }}',
      'message': '{{ raise_exception(ns.x) }}',
    }.items()
  },
  'power': '{{ 10 ** 99999999 }}',
  'squaring': (
    '{% set ns = namespace(x=9) %}{% for i in range(60) %}'
    '{% set ns.x = ns.x * ns.x %}{% endfor %}'
  ),
  'range': '{{ range(1000000000) | list }}',
  'loops': (
    '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}'
    '{% endfor %}'
  ),
  'literals': (
    '{% set x %}{% for i in range(99999) %}{% for j in range(9999) %}'
    + 'A' * 9000
    + '{% endfor %}{% endfor %}{% endset %}'
  ),
  'output': '{% for i in range(99999) %}' + 'A' * 900 + '{% endfor %}',
  'recursion': '{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}',
  'recursive_loop': (
    '{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}'
  ),
  'replace_filter': ("{{ ('a' * 4000000) | replace('a', 'b' * 4000000) }}"),
  'replace_method': "{{ ('a' * 4000000).replace('a', 'b' * 4000000) }}",
  'join_filter': "{{ range(99999) | join('b' * 4000000) }}",
  'join_method': "{{ ('b' * 4000000).join(['a'] * 99999) }}",
  'indent_filter': "{{ 'a\\nb' | indent(10000000000) }}",
  'json_indent': '{{ [1] | tojson(indent=10000000000) }}',
  'json_indent_string': "{{ [1] | tojson(indent=' ' * 1000000) }}",
  'varargs': (
    '{% set ns = namespace(x=[1]) %}'
    '{% macro f() %}{% set ns.x = varargs %}{% endmacro %}'
    '{% for i in range(60) %}{{ f(ns.x, ns.x) }}{% endfor %}'
  ),
  'kwargs': (
    '{% set ns = namespace(x=[1]) %}'
    '{% macro f() %}{% set ns.x = kwargs %}{% endmacro %}'
    '{% for i in range(60) %}{{ f(a=ns.x, b=ns.x) }}{% endfor %}'
  ),
  'cycler': (
    NEST + '{% set ns.x = cycler(ns.x, ns.x).items %}{% endfor %}{{ ns.x }}'
  ),
  'json_deep_indent': (
    '{% set ns = namespace(x=range(9999) | list) %}'
    '{% for i in range(300) %}{% set ns.x = [ns.x] %}{% endfor %}'
    '{{ ns.x | tojson(indent=16) }}'
  ),
  'center': "{{ 'a'.center(10000000000) }}",
  'center_filter': "{{ 'a' | center(10000000000) }}",
  'format_filter': "{{ '%1000000000d' | format(1) }}",
  'zfill': "{{ 'a'.zfill(10000000000) }}",
  'expandtabs': "{{ '\\t'.expandtabs(10000000000) }}",
  'batch_filter': "{{ [1] | batch(10000000000, 'a') | list }}",
  'slice_filter': '{{ [1] | slice(10000000000) | list }}',
  'sum_filter': '{{ ([[1]] * 99999) | sum(start=[]) | length }}',
  'sum_tree': NEST
  + '{% set ns.x = [ns.x, ns.x] | sum(start=[]) %}{% endfor %}',
  'sum_strings': "{{ ['a'] | sum(start='b') }}",
  'round_filter': '{{ 1 | round(10000000000) }}',
  'round_ceil': "{{ 1.5 | round(10000000000, 'ceil') }}",
  'round_string': "{{ 'a' | round(9, 'ceil') }}",
  'pprint_tree': NEST + PAIR + '{{ ns.x | pprint }}',
  'pprint_deep': (
    '{% set ns = namespace(x=range(9999) | list) %}'
    '{% for i in range(300) %}{% set ns.x = [ns.x] %}{% endfor %}'
    '{{ ns.x | pprint }}'
  ),
  'urlencode_filter': "{{ ('a' * 1000000) | urlencode }}",
  'urlencode_tree': NEST + PAIR + '{{ {1: ns.x} | urlencode }}',
  'wordwrap_word': "{{ ('a' * 1000000) | wordwrap(1) }}",
  'wordwrap_break': (
    "{{ ('a ' * 90000) | wordwrap(1, wrapstring='b' * 90000) }}"
  ),
  'striptags': "{{ '&lt;|user|&gt;' | striptags }}",
  'expandtabs_named': "{{ '\\t'.expandtabs(tabsize=10000000000) }}",
  'expandtabs_many': "{{ ('\\t' * 90000).expandtabs(90000) }}",
  'ljust': "{{ 'a'.ljust(10000000000) }}",
  'rjust': "{{ 'a'.rjust(10000000000, '-') }}",
  'to_bytes': "{{ (1).to_bytes(10000000000, 'big') }}",
  'format_method': "{{ '{:1000000000d}'.format(1) }}",
  'format_map': "{{ '{a:1000000000d}'.format_map({'a': 1}) }}",
  'format_nested': "{{ '{:{w}}'.format(1, w=10000000000) }}",
  'format_precision': "{{ '{:.1000000000f}'.format(1.5) }}",
  'format_many': "{{ ('{0}' * 90000).format('x' * 9000) }}",
  'format_repr': NEST + PAIR + "{{ '{!r}'.format(ns.x) }}",
  'format_item': NEST + PAIR + "{{ '{0[x]}'.format(ns) }}",
  'percent_named': "{{ '%(a)1000000000d' % {'a': 1} }}",
  'percent_named_many': "{{ ('%(a)s' * 90000) % {'a': 'x' * 9000} }}",
  'strftime': "{{ strftime_now('%1000000000Y') }}",
}
REFUSED_WHEN_COMPILED = {
  'size': 'a' * ((1 << 20) + 1),
  'syntax': '{% if %}',
  'parentheses': '{{ ' + '(' * 5000 + ')' * 5000 + ' }}',
}


def render(source, budget=QUICK, **variables):
  return sandbox.Template(source).render(budget, **variables)


@pytest.mark.parametrize('name', BOMBS)
def test_bombs_are_defused(name):
  before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  start_s = time.monotonic()
  with pytest.raises(sandbox.TemplateError):
    render(BOMBS[name])
  grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
  assert grown_kib < 300 * 1024
  assert time.monotonic() - start_s < 5


@pytest.mark.parametrize('name', REFUSED_WHEN_COMPILED)
def test_refused_when_compiled(name):
  with pytest.raises(sandbox.TemplateError):
    sandbox.Template(REFUSED_WHEN_COMPILED[name])


@pytest.mark.parametrize(
  'source',
  [
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.__class__ }}{{ ''['__class__'].mro() }}",
    '{{ range.__globals__.x }}',
    '{{ messages.append(1) }}',
    '{{ self._TemplateReference__context }}{{ nothing.here }}',
    "{% include 'x' %}",
    '{{ dict.__subclasses__() }}{{ lipsum() }}',
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ '{0.__class__}'.format_map({'0': ''}) }}",
    "{{ '{0.append}'.format(messages)(1) }}",
  ],
)
def test_nothing_of_python_is_in_reach(source):
  messages = [{'role': 'user'}]
  with pytest.raises(sandbox.TemplateError):
    render(source, messages=messages)
  assert messages == [{'role': 'user'}]


@pytest.mark.parametrize(
  ('source', 'text'),
  [
    ("{{ 'a' ~ 1 ~ x }}", 'a1<b>'),
    ('{{ [1, 2] + [3] }}', '[1, 2, 3]'),
    ("{{ '%s-%.2f-%3d' % (x, 1.5, 7) }}", '<b>-1.50-  7'),
    ('{{ x * 2 }}{{ 2 ** 10 }}{{ 7 % 4 }}', '<b><b>10243'),
    ("{{ '%(a)s%%%(b)03d' % {'a': x, 'b': 7, 'c': 1} }}", '<b>%007'),
    ("{{ '%s-%d' | format(x, 3) }}{{ '%(a)r' | format(a=x) }}", "<b>-3'<b>'"),
    ("{{ '{} {1[0]} {a!r:>6} {:{w}}|'.format(1, [x], a=x, w=3) }}"
     .replace('{}', '{0}').replace('{:{w}}', '{0:{w}}'), "1 <b>  '<b>'   1|"),
    ("{{ '{:08.3f} {:,} {:+d} {:^5}'.format(1.5, 1000, 3, x) }}",
     '0001.500 1,000 +3  <b> '),
    ("{{ '{a}{b}'.format_map({'a': [x], 'b': 2}) }}", "['<b>']2"),
    ("{{ 'ab'.zfill(4) }}{{ x.ljust(5) }}{{ x.rjust(5, '-') }}"
     "{{ x.center(-9) }}", '00ab<b>  --<b><b>'),
    ("{{ '\t'.expandtabs() }}{{ 'a\tb'.expandtabs(tabsize=4) }}",
     '        a   b'),
    ('{{ 1.256 | round(2) }}{{ 1.2 | round(method="ceil") | int }}', '1.262'),
    ("{{ [1, 2] | sum }}{{ [{'a': 2}] | sum('a', 1) }}"
     '{{ [[1], [2]] | sum(start=[]) }}', '33[1, 2]'),
    ("{% for b in [1, 2, 3] | batch(2, 'f') %}{{ b | join }};{% endfor %}",
     '12;3f;'),
    ('{% for b in range(4) | slice(3) %}{{ b | join }};{% endfor %}',
     '01;2;3;'),
    ("{{ 'ab' | center(6) }}{{ x | forceescape }}", '  ab  &lt;b&gt;'),
    ("{{ {'b': [x]} | pprint }}{{ 'é b/' | urlencode }}"
     "{{ {'a': x} | urlencode }}", "{'b': ['<b>']}%C3%A9%20b/a=%3Cb%3E"),
    ("{{ 'aa bbb\ncccc' | wordwrap(3) }}", 'aa\nbbb\nccc\nc'),
    ("{% set j = joiner(x) %}{% for i in [1, 2] %}{{ j() }}{{ i }}"
     '{% endfor %}', '1<b>2'),
    ("{% set c = cycler('a', x) %}{{ c.next() }}{{ c.next() }}"
     '{{ c.current }}{{ c.next() }}{{ c.reset() or c.next() }}', 'a<b>aaa'),
    ('{% macro f(y) %}{{ y }}{{ varargs }}{{ kwargs }}{{ varargs is defined }}'
     '{% endmacro %}{{ f(1, x, z=2) }}', "1('<b>',){'z': 2}True"),
    ('{% macro f() %}{{ varargs | join }}{% endmacro %}'
     '{% macro g() %}{{ f(*varargs) }}{% endmacro %}{{ g(1, x) }}', '1<b>'),
    ("{{ [1] | tojson(indent='\t') }}", '[\n\t1\n]'),
    ("{{ {'a': [x]} | tojson }}", '{"a": ["<b>"]}'),
    ("{{ {'b': 1, 'a': 'é'} | tojson(indent=2, sort_keys=True) }}",
     '{\n  "a": "é",\n  "b": 1\n}'),
    ("{{ 'é' | tojson(ensure_ascii=True) }}", '"\\u00e9"'),
    ("{{ [1] | tojson(separators=(',', ':')) }}", '[1]'),
    ("{{ ['a', 'b'] | join(', ') }}{{ 'a b'.split()[1] }}", 'a, bb'),
    ("{{ ['a', x] | map('upper') | list | string }}", "['A', '<B>']"),
    ("{{ 'a\\nb' | indent(2) }}", 'a\n  b'),
    ("{{ 'abc' | replace('b', x) }}{{ 'aa'.replace('a', 'b', 1) }}",
     'a<b>cba'),
    ('{% for i in range(5) %}{% if i == 2 %}{% break %}{% endif %}'
     '{{ i }}{{ loop.last }}{% endfor %}', '0False1False'),
    ('{% macro f(y) %}[{{ y }}]{% endmacro %}{{ f(x) }}{{ f(1) }}',
     '[<b>][1]'),
    ('{% for k, v in {"a": 1}.items() %}{{ k }}{{ v }}{% endfor %}', 'a1'),
    ('{% generation %}said{% endgeneration %}', 'said'),
    ('{% set a, b = 1, 2 %}{{ b }}{{ "a" in ["a"] }}', '2True'),
    ('  {% if x %}\n  y\n  {% endif %}\n', '  y\n'),
    ("{{ namespace(a=1).a }}{{ dict(a=2)['a'] }}{{ missing }}", '12'),
    ("{{ strftime_now('%%d') }}{{ strftime_now('%Y') | length }}", '%d4'),
  ],
)  # fmt: skip
def test_ordinary_templates_work(source, text):
  assert render(source, x='<b>') == text


@pytest.mark.parametrize(
  'loop',
  [
    '{{% for i in range({n}) %}}{text}{{% endfor %}}',
    '{{% macro f() %}}{text}{{% endmacro %}}'
    '{{% for i in range({n}) %}}{{{{ f() }}}}{{% endfor %}}',
  ],
)
def test_literal_text_of_loops_is_paid_for(loop):
  budget = meter.Budget(work=100_000)
  text = 'A' * 9000
  assert render(loop.format(n=5, text=text), budget) == text * 5
  with pytest.raises(sandbox.TemplateError, match='too large'):
    render(loop.format(n=50, text=text), budget)


def test_raise_exception_says_what_the_template_says():
  with pytest.raises(sandbox.TemplateError, match='roles must alternate'):
    render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
  'use', ["{{ 'a' | x }}", "{{ ['a'] | map('x') | list }}",
          '{% filter x %}a{% endfilter %}'],
)  # fmt: skip
def test_unknown_filters_fail_where_they_are_used(use):
  source = '{% for i in no %}' + use + '{% endfor %}b'
  assert render(source) == 'b'
  with pytest.raises(sandbox.TemplateError, match="'x'"):
    render(source, no=[1])


def test_long_messages_are_cut():
  with pytest.raises(sandbox.TemplateError) as caught:
    render("{{ raise_exception('a' * 100000) }}")
  assert len(str(caught.value)) < 700


def test_variables_are_what_a_caller_may_pass():
  template = sandbox.Template(
    '{% set a = 1 %}{{ a + b }}{{ range(c) }}{{ raise_exception(d) }}'
  )
  assert template.variables == {'b', 'c', 'd'}


def test_budgets_do_not_mix_between_threads():
  template = sandbox.Template("{{ 'a' * n }}")
  budget = meter.Budget(work=10_000)

  def one(n):
    try:
      return len(template.render(budget, n=n))
    except sandbox.TemplateError:
      return None

  sizes = [1000, 100_000] * 50
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert list(pool.map(one, sizes)) == [1000, None] * 50


def test_a_template_is_compiled_once():
  source = 'compiled once {{ x }}'
  assert sandbox.compile_template(source) is sandbox.compile_template(source)
