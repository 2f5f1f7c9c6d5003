"""The snippets of docs/clients.md, and the model that answers them."""

import pathlib
import re

from tests.clients import scripted

PATH = pathlib.Path(__file__).parents[2] / 'docs' / 'clients.md'
ADDRESS = 'http://127.0.0.1:8000/v1'
REPLIES = (
  ('Paris', '{"name": "Paris", "country": "France"}'),
  ('tool: ', 'The {} it is.'),
  ('Add 1 and 2.', scripted.call('add', a=1, b=2)),
)


def snippets(language):
  """(heading, code) of the page's blocks in a language."""
  return re.findall(
    rf'^## ([^\n]+)\n(?:(?!^## ).)*?^```{language}\n(.*?)^```$',
    PATH.read_text(),
    flags=re.DOTALL | re.MULTILINE,
  )


def aimed(code, served):
  """The code with the address of another server."""
  assert code.count(ADDRESS) == 1
  assert scripted.MODEL_ID in code
  return code.replace(ADDRESS, served.client_args['base_url'])
