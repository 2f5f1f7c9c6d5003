"""A tag that may begin inside itself, cut anywhere."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from chatjax import types
from chatjax.grammar import tag as tag_lib
from tests.grammar import walks

_AB = st.text(st.sampled_from('ab'), max_size=12)


@given(text=_AB.filter(bool), pieces=st.lists(_AB, max_size=4))
def test_it_is_found_where_it_is(text, pieces):
  tag = tag_lib.Tag(walks.BYTES, text)
  state, read = 0, b''
  for piece in pieces:
    at = (read + piece.encode()).find(text.encode())
    state, end = tag.find(state, piece.encode())
    if at >= 0:
      assert end == at + len(text) - len(read)
      return
    assert end is None
    read += piece.encode()
  most = next(
    size
    for size in range(len(text), -1, -1)
    if read.endswith(text.encode()[:size])
  )
  assert state == most


@pytest.mark.parametrize(
  ('text', 'begins', 'is_there'),
  [
    (b'', True, False),
    (b'<th', True, False),
    (b'<think>', True, True),
    (b'<think>x', True, True),
    (b'x<think>', False, False),
    (b'<tool', False, False),
  ],
)
def test_at_the_start_of_a_text(text, begins, is_there):
  tag = tag_lib.Tag(walks.BYTES, '<think>')
  assert tag.begins(text) == begins
  assert tag.is_at_start(text) == is_there


def test_special_tokens_go_by_their_spelling():
  tokenizer = walks.merging()
  tag = tag_lib.Tag(tokenizer, '</tool_call>')
  (token,) = tag.ids
  assert tag.find(0, tag.piece(token)) == (12, 12)
  assert tag.piece(tokenizer.special_ids['<|im_end|>']) == b'<|im_end|>'
  assert tag.piece(10**6) == b''


def test_a_tag_that_cannot_be_spelled():
  class Losing:
    def __getattr__(self, name):
      return getattr(walks.BYTES, name)

    def encode_template(self, text):
      return walks.BYTES.encode_template(text)[:-1]

  with pytest.raises(types.ChatjaxError, match='</think>'):
    tag_lib.Tag(Losing(), '</think>')
