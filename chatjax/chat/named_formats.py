"""Chat formats for files that carry no template, by name."""

# Completion style, for models that know no turns: the contents as they are,
# one per line, and the model goes on where the last one ends. Roles do not
# show, and add_generation_prompt has nothing to add.
PLAIN = (
  '{{ bos_token }}'
  '{% for message in messages %}'
  '{{ message.content }}'
  "{% if not loop.last %}{{ '\\n' }}{% endif %}"
  '{% endfor %}'
)

# Instruction-tuned Gemma has no system turn: its text leads the first user
# turn.
GEMMA = (
  '{{ bos_token }}'
  "{% set lead = '' %}"
  "{% if messages[0].role == 'system' %}"
  "{% set lead = messages[0].content + '\\n\\n' %}"
  '{% set messages = messages[1:] %}'
  '{% endif %}'
  '{% for message in messages %}'
  "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
  "{{ raise_exception('after an optional system message the roles user and "
  "assistant must alternate') }}"
  '{% endif %}'
  "{% set role = 'model' if message.role == 'assistant' else message.role %}"
  "{{ '<start_of_turn>' + role + '\\n' + (lead if loop.first else '') }}"
  "{{ message.content | trim }}{{ '<end_of_turn>\\n' }}"
  '{% endfor %}'
  "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)

TEMPLATES = {'gemma': GEMMA, 'plain': PLAIN}
