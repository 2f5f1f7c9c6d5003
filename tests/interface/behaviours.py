"""Per parameter of a request: what it changes.

A case is (how to look, a request without, a request with, what is seen with);
`...` is anything but what is seen without. Fields go on top of `BASE`.
"""

import base64

A, EOS = ord('a'), 257
BASE = {
  'model': 'tiny', 'messages': [{'role': 'user', 'content': 'hi'}], 'seed': 1,
  'max_tokens': 6, 'return_token_ids': True,
}  # fmt: skip
ANY = {}


def said(role='user', content='x', **fields):
  return {'messages': [{'role': role, 'content': content, **fields}]}


def part(**fields):
  return said(content=[{'type': 'text', 'text': 'x'}, fields])


def refused(text):
  return said('assistant', [{'type': 'refusal', 'refusal': text}])


def file(text='x', filename='a.txt'):
  data = base64.b64encode(text.encode()).decode()
  return part(type='file', file={'file_data': data, 'filename': filename})


def called(name='f', arguments='{}', call_id='c1', **call):
  call = call or {
    'type': 'function', 'function': {'name': name, 'arguments': arguments},
  }  # fmt: skip
  messages = said('assistant', None, tool_calls=[{'id': call_id, **call}])
  messages['messages'].append(
    {'role': 'tool', 'tool_call_id': call_id, 'content': '1'}
  )
  return messages


def called_custom(name='c', text='x'):
  return called(type='custom', custom={'name': name, 'input': text})


def answered(*call_ids):
  """Two calls, and their results in this order."""
  calls = [
    {'id': f'c{i}', 'type': 'function',
     'function': {'name': 'f', 'arguments': '{}'}}
    for i in (1, 2)
  ]  # fmt: skip
  messages = said('assistant', None, tool_calls=calls)
  messages['messages'] += [
    {'role': 'tool', 'tool_call_id': one, 'content': '1'} for one in call_ids
  ]
  return messages


def called_old(name='f', arguments='{}'):
  call = {'name': name, 'arguments': arguments}
  messages = said('assistant', None, function_call=call)
  messages['messages'].append(
    {'role': 'function', 'name': name, 'content': '1'}
  )
  return messages


def constant(value, **more):
  """A schema of which `value` is all that there is."""
  return {
    'type': 'object', 'properties': {'a': {'const': value}, **more},
    'required': ['a', *more], 'additionalProperties': False,
  }  # fmt: skip


def function(name='f', **fields):
  fields = {'parameters': constant(1), **fields}
  return {'type': 'function', 'function': {'name': name, **fields}}


def custom(name='c', **fields):
  return {'type': 'custom', 'custom': {'name': name, **fields}}


def grammar(definition, syntax='regex'):
  form = {'syntax': syntax, 'definition': definition}
  return custom(format={'type': 'grammar', 'grammar': form})


def must(*tools, choice='required', **fields):
  """One call, unless `fields` say otherwise."""
  return {
    'tools': tools, 'tool_choice': choice, 'parallel_tool_calls': False,
    'max_tokens': 99, **fields,
  }  # fmt: skip


def named(kind, name):
  return {'type': kind, kind: {'name': name}}


def only(*tools, mode='required'):
  allowed = {'mode': mode, 'tools': tools}
  return {'type': 'allowed_tools', 'allowed_tools': allowed}


def other(tool, **fields):
  return {**tool, 'function': {**tool['function'], **fields}}


def old(*names, choice=None, **fields):
  functions = [{'name': n, 'parameters': constant(1), **fields} for n in names]
  choice = choice or {'name': names[0]}
  return {'functions': functions, 'function_call': choice, 'max_tokens': 99}


def formed(schema, **fields):
  form = {'name': 'x', 'schema': schema, **fields}
  return {
    'response_format': {'type': 'json_schema', 'json_schema': form},
    'max_tokens': 60,
  }  # fmt: skip


def one_of(*texts):
  return {'structured_outputs': {'choice': texts}, 'max_tokens': 60}


def shaped(**fields):
  return {'structured_outputs': fields, 'max_tokens': 60}


def predicted(content='a' * 20, kind='content'):
  return {'prediction': {'type': kind, 'content': content}}


def worded(text, kind='text'):
  return predicted([{'type': kind, 'text': text}])


# Nothing but `a`, so that guesses hold and penalties tell.
BORING = {'logit_bias': {str(A): 100}, 'max_tokens': 24}
TWO = {
  'allowed_token_ids': [A, A + 1], 'logit_bias': {str(A): 1},
  'temperature': 0,
}  # fmt: skip
ENDING = {'logit_bias': {str(EOS): 100}}
ENDLESS = {'logit_bias': {str(EOS): -99}}
SAID = 'one. two'
ONE = {'a': 1}
LOOSE = {'type': 'object'}
F, G, C = function('f'), function('g'), custom('c')

CASES = {
  'messages': ('prompt', said(content='a'), said(content='b'), ...),
  'messages[].role': (
    'prompt', said(), said('system'), 'system: x\nassistant: '),
  'messages[].content': (
    'prompt', said(content='a'), said(content='b'), 'user: b\nassistant: '),
  'messages[].content[].type': (
    'prompt', part(type='text', text='x'), file(), ...),
  'messages[].content[].text': (
    'prompt', part(type='text', text='y'), part(type='text', text='z'),
    'user: xz\nassistant: '),
  'messages[].content[].refusal': (
    'prompt', refused('no'), refused('never'), ...),
  'messages[].content[].file': ('prompt', file('x'), file('y', 'b.txt'), ...),
  'messages[].content[].file.filename': (
    'prompt', file('x'), file('x', 'b.txt'), ...),
  'messages[].content[].file.file_data': ('prompt', file('x'), file('y'), ...),
  'messages[].name': (
    'prompt', said(), said(name='ann'), 'user ann: x\nassistant: '),
  'messages[].refusal': (
    'prompt', said('assistant'), said('assistant', refusal='no'), ...),
  'messages[].tool_calls': (
    'prompt', said('assistant'), called(), ...),
  'messages[].tool_calls[].id': (
    'prompt', called(call_id='c1'), called(call_id='c2'), ...),
  'messages[].tool_calls[].type': ('prompt', called('c'), called_custom(), ...),
  'messages[].tool_calls[].function': (
    'prompt', called(), called('g', '{"a": 1}'), ...),
  'messages[].tool_calls[].function.name': (
    'prompt', called('f'), called('g'), ...),
  'messages[].tool_calls[].function.arguments': (
    'prompt', called(), called(arguments='{"a": 1}'), ...),
  'messages[].tool_calls[].custom': (
    'prompt', called_custom(), called_custom('d', 'y'), ...),
  'messages[].tool_calls[].custom.name': (
    'prompt', called_custom(), called_custom('d'), ...),
  'messages[].tool_calls[].custom.input': (
    'prompt', called_custom(), called_custom(text='y'), ...),
  'messages[].tool_call_id': (
    'prompt', answered('c1', 'c2'), answered('c2', 'c1'), ...),
  'messages[].function_call': (
    'prompt', called_old(), called_old('g', '{"a": 1}'), ...),
  'messages[].function_call.name': (
    'prompt', called_old(), called_old('g'), ...),
  'messages[].function_call.arguments': (
    'prompt', called_old(), called_old(arguments='{"a": 1}'), ...),
  'messages[].reasoning': (
    'prompt', said('assistant'), said('assistant', reasoning='why'),
    'assistant: (why)x\nassistant: '),
  'messages[].reasoning_content': (
    'prompt', said('assistant'), said('assistant', reasoning_content='why'),
    'assistant: (why)x\nassistant: '),
  'model': ('status', ANY, {'model': 'other'}, 404),
  'temperature': ('ids', ANY, {'temperature': 0}, ...),
  'top_p': ('ids', ANY, {'top_p': 0.1}, ...),
  'max_completion_tokens': (
    'count', ANY, {'max_tokens': None, 'max_completion_tokens': 3}, 3),
  'max_tokens': ('count', ANY, {'max_tokens': 3}, 3),
  'n': ('number of choices', ANY, {'n': 3}, 3),
  'seed': ('ids', ANY, {'seed': 2}, ...),
  'stop': ('text', one_of(SAID), one_of(SAID) | {'stop': '. '}, 'one'),
  'presence_penalty': ('ids', TWO, TWO | {'presence_penalty': 2}, ...),
  'frequency_penalty': ('ids', TWO, TWO | {'frequency_penalty': 2}, ...),
  'repetition_penalty': ('ids', TWO, TWO | {'repetition_penalty': 1000}, ...),
  'logit_bias': ('text', ANY, {'logit_bias': {str(A): 100}}, 'aaaaaa'),
  'logprobs': ('number of log-probabilities', ANY, {'logprobs': True}, 6),
  'top_logprobs': (
    'number of alternatives', {'logprobs': True},
    {'logprobs': True, 'top_logprobs': 3}, 3),
  'stream': ('content type', ANY, {'stream': True}, 'text/event-stream'),
  'stream_options': (
    'usages', {'stream': True},
    {'stream': True, 'stream_options': {'include_usage': True}}, 1),
  'stream_options.include_usage': (
    'usages', {'stream': True, 'stream_options': {'include_usage': False}},
    {'stream': True, 'stream_options': {'include_usage': True}}, 1),
  'stream_options.include_obfuscation': (
    'is padded', {'stream': True},
    {'stream': True, 'stream_options': {'include_obfuscation': True}}, True),
  'tools': ('calls', ANY, must(F), [('f', ONE)]),
  'tools[].type': ('kinds of calls', must(F), must(grammar('x')), ['custom']),
  'tools[].function': ('calls', must(F), must(G), [('g', ONE)]),
  'tools[].function.name': ('calls', must(F), must(G), [('g', ONE)]),
  'tools[].function.description': (
    'prompt', {'tools': [F]}, {'tools': [function(description='Does.')]}, ...),
  'tools[].function.parameters': (
    'calls', must(F), must(function(parameters=constant(2))),
    [('f', {'a': 2})]),
  'tools[].function.strict': (
    'status', {'tools': [function(parameters=LOOSE)]},
    {'tools': [function(parameters=LOOSE, strict=True)]}, 400),
  'tools[].custom': (
    'calls', must(grammar('yes')), must(grammar('no')), [('c', 'no')]),
  'tools[].custom.name': (
    'prompt', {'tools': [C]}, {'tools': [custom('d')]}, ...),
  'tools[].custom.description': (
    'prompt', {'tools': [C]}, {'tools': [custom(description='Does.')]}, ...),
  'tools[].custom.format': (
    'calls', must(C), must(grammar('yes')), [('c', 'yes')]),
  'tools[].custom.format.type': (
    'calls', must(custom(format={'type': 'text'})), must(grammar('yes')),
    [('c', 'yes')]),
  'tools[].custom.format.grammar': (
    'calls', must(grammar('yes')), must(grammar('no')), [('c', 'no')]),
  'tools[].custom.format.grammar.syntax': (
    'calls', must(grammar('start: "x"')), must(grammar('start: "x"', 'lark')),
    [('c', 'x')]),
  'tools[].custom.format.grammar.definition': (
    'calls', must(grammar('yes')), must(grammar('no')), [('c', 'no')]),
  'tool_choice': ('calls', must(F, choice='none'), must(F), [('f', ONE)]),
  'tool_choice.type': (
    'kinds of calls', must(F, grammar('x'), choice=named('function', 'f')),
    must(F, grammar('x'), choice=named('custom', 'c')), ['custom']),
  'tool_choice.function': (
    'calls', must(F, G, choice=named('function', 'f')),
    must(F, G, choice=named('function', 'g')), [('g', ONE)]),
  'tool_choice.function.name': (
    'calls', must(F, G, choice=named('function', 'g')),
    must(F, G, choice=named('function', 'f')), [('f', ONE)]),
  'tool_choice.custom': (
    'calls', must(F, grammar('x'), choice=named('function', 'f')),
    must(F, grammar('x'), choice=named('custom', 'c')), [('c', 'x')]),
  'tool_choice.custom.name': (
    'status', must(C, choice=named('custom', 'c')),
    must(C, choice=named('custom', 'd')), 400),
  'tool_choice.allowed_tools': (
    'calls', must(F, G, choice=only(named('function', 'f'))),
    must(F, G, choice=only(named('function', 'g'))), [('g', ONE)] ),
  'tool_choice.allowed_tools.mode': (
    'calls', must(F, choice=only(named('function', 'f'), mode='auto')),
    must(F, choice=only(named('function', 'f'))), [('f', ONE)]),
  'tool_choice.allowed_tools.tools': (
    'calls', must(F, G, choice=only(named('function', 'g'))),
    must(F, G, choice=only(named('function', 'f'))), [('f', ONE)]),
  'tool_choice.allowed_tools.tools[].type': (
    'kinds of calls',
    must(F, grammar('x'), choice=only(named('function', 'f'))),
    must(F, grammar('x'), choice=only(named('custom', 'c'))), ['custom']),
  'tool_choice.allowed_tools.tools[].function': (
    'calls', must(F, G, choice=only(named('function', 'f'))),
    must(F, G, choice=only(named('function', 'g'))), [('g', ONE)]),
  'tool_choice.allowed_tools.tools[].function.name': (
    'calls', must(F, G, choice=only(named('function', 'g'))),
    must(F, G, choice=only(named('function', 'f'))), [('f', ONE)]),
  'tool_choice.allowed_tools.tools[].function.description': (
    'status', must(F, choice=only(F)),
    must(F, choice=only(other(F, description='Odd.'))), 400),
  'tool_choice.allowed_tools.tools[].function.parameters': (
    'status', must(F, choice=only(F)),
    must(F, choice=only(other(F, parameters={}))), 400),
  'tool_choice.allowed_tools.tools[].function.strict': (
    'status', must(F, choice=only(F)),
    must(F, choice=only(other(F, strict=True))), 400),
  'tool_choice.allowed_tools.tools[].custom': (
    'calls', must(F, grammar('x'), choice=only(named('function', 'f'))),
    must(F, grammar('x'), choice=only(named('custom', 'c'))), [('c', 'x')]),
  'tool_choice.allowed_tools.tools[].custom.name': (
    'status', must(C, choice=only(named('custom', 'c'))),
    must(C, choice=only(named('custom', 'd'))), 400),
  'parallel_tool_calls': (
    'end', must(F, **ENDLESS, parallel_tool_calls=True), must(F, **ENDLESS),
    'tool_calls'),
  'functions': ('old call', ANY, old('f'), ('f', ONE)),
  'functions[].name': ('old call', old('f'), old('g'), ('g', ONE)),
  'functions[].description': (
    'prompt', old('f'), old('f', description='Does.'), ...),
  'functions[].parameters': (
    'old call', old('f'), old('f', parameters=constant(2)), ('f', {'a': 2})),
  'function_call': (
    'old call', old('f', choice='none'), old('f'), ('f', ONE)),
  'function_call.name': (
    'old call', old('f', 'g'), old('f', 'g', choice={'name': 'g'}),
    ('g', ONE)),
  'response_format': ('first character', ANY, formed(constant(1)), '{'),
  'response_format.type': (
    'first character', {'response_format': {'type': 'text'}},
    {'response_format': {'type': 'json_object'}}, '{'),
  'response_format.json_schema': (
    'json', formed(constant(1)), formed(constant(2)), {'a': 2}),
  'response_format.json_schema.schema': (
    'json', formed(constant(1)), formed(constant(3)), {'a': 3}),
  'response_format.json_schema.strict': (
    'status', formed(LOOSE), formed(LOOSE, strict=True), 400),
  'reasoning_effort': (
    'thoughts', {'max_tokens': 60}, {'reasoning_effort': 'none',
    'max_tokens': 60}, 0),
  'verbosity': (
    'prompt', ANY, {'verbosity': 'low'},
    'system: Answer briefly.\nuser: hi\nassistant: '),
  'prediction': (
    'guessed', BORING | {'speculation': 'on'}, BORING | predicted(), ...),
  'prediction.type': ('status', predicted(), predicted(kind='x'), 400),
  'prediction.content': (
    'guessed right', BORING | predicted('bbbbbbbbbbbbb'), BORING | predicted(),
    ...),
  'prediction.content[].type': ('status', worded('x'), worded('x', 'y'), 400),
  'prediction.content[].text': (
    'guessed right', BORING | worded('bbbbbbbbbbbbb'),
    BORING | worded('a' * 20), ...),
  'modalities': (
    'status', {'modalities': ['text']}, {'modalities': ['audio']}, 400),
  'metadata': ('metadata', ANY, {'metadata': {'a': 'b'}}, {'a': 'b'}),
  'store': ('stored', ANY, {'store': True}, 200),
  'service_tier': ('is early', ANY, {'service_tier': 'priority'}, True),
  'priority': ('is early', ANY, {'priority': -1}, True),
  'prompt_cache_key': ('cached', ANY, {'prompt_cache_key': 'new'}, 0),
  'cache_salt': ('cached', ANY, {'cache_salt': 'new'}, 0),
  'prompt_cache_options': (
    'status', {'prompt_cache_options': {'mode': 'implicit'}},
    {'prompt_cache_options': {'mode': 'implicit', 'ttl': '30m'}}, 400),
  'prompt_cache_options.mode': (
    'status', {'prompt_cache_options': {'mode': 'implicit'}},
    {'prompt_cache_options': {'mode': 'explicit'}}, 400),
  'top_k': ('ids', {'temperature': 2}, {'temperature': 2, 'top_k': 1}, ...),
  'min_p': ('ids', {'temperature': 2}, {'temperature': 2, 'min_p': 1}, ...),
  'min_tokens': ('count', ENDING, ENDING | {'min_tokens': 3}, 4),
  'ignore_eos': ('count', ENDING, ENDING | {'ignore_eos': True}, 6),
  'stop_token_ids': ('count', BORING, BORING | {'stop_token_ids': [A]}, 1),
  'include_stop_str_in_output': (
    'text', one_of(SAID) | {'stop': '.'},
    one_of(SAID) | {'stop': '.', 'include_stop_str_in_output': True}, 'one.'),
  'bad_words': (
    'text', one_of('ba', 'bc') | BORING,
    one_of('ba', 'bc') | BORING | {'bad_words': ['ba']}, 'bc'),
  'allowed_token_ids': ('text', ANY, {'allowed_token_ids': [A]}, 'aaaaaa'),
  'logprobs_mode': (
    'log-probabilities', {'logprobs': True, 'temperature': 0.5},
    {'logprobs': True, 'temperature': 0.5, 'logprobs_mode': 'tempered'}, ...),
  'prompt_logprobs': (
    'number of prompt log-probabilities', ANY, {'prompt_logprobs': 0},
    len('user: hi\nassistant: ')),
  'return_token_ids': (
    'ids', {'return_token_ids': None, 'logit_bias': {str(A): 100}},
    {'logit_bias': {str(A): 100}}, [A] * 6),
  'add_generation_prompt': (
    'prompt', ANY, {'add_generation_prompt': False}, 'user: hi\n'),
  'continue_final_message': (
    'prompt', said('assistant', 'We'), said('assistant', 'We') | {
      'continue_final_message': True, 'add_generation_prompt': False},
    'assistant: We'),
  'chat_template_kwargs': (
    'prompt', ANY, {'chat_template_kwargs': {'mood': 'good'}},
    'mood=good\nuser: hi\nassistant: '),
  'structured_outputs': ('text', ANY, one_of('yes'), 'yes'),
  'structured_outputs.json': (
    'json', shaped(json=constant(1)), shaped(json=constant(2)), {'a': 2}),
  'structured_outputs.regex': (
    'text', shaped(regex='yes'), shaped(regex='no{3}'), 'nooo'),
  'structured_outputs.choice': ('text', one_of('yes'), one_of('no'), 'no'),
  'structured_outputs.grammar': (
    'text', shaped(grammar='start: "yes"'), shaped(grammar='start: "no"'),
    'no'),
  'thinking_token_budget': (
    'thoughts', {'max_tokens': 60, 'thinking_token_budget': 20},
    {'max_tokens': 60, 'thinking_token_budget': 3}, ...),
  'speculation': ('steps', BORING, BORING | {'speculation': 'off'}, ...),
}  # fmt: skip
