"""Stop strings over a stream of text."""

from __future__ import annotations

from collections.abc import Iterable


class StopMatcher:
  """Releases text up to the first stop string.

  The stop string that ends earliest wins; of those that end at the same
  character the longest. Only a suffix that may still become a stop string is
  held back. An Aho-Corasick automaton: linear in the text, whatever the stops.

    >>> matcher = StopMatcher(['END'])
    >>> matcher.feed('the E')
    ('the ', False)
    >>> matcher.feed('NDless')
    ('', True)

  Args:
    stops: none of them empty.
    keeps_stop: whether the stop string that ends the text is part of it.

  Attributes:
    visible_len: characters released so far; once stopped, where in the whole
      stream the visible text ends.
    is_stopped: whether a stop string was seen.
  """

  def __init__(self, stops: Iterable[str], *, keeps_stop: bool = False):
    self.visible_len = 0
    self.is_stopped = False
    self._keeps_stop = keeps_stop
    self._held = ''
    self._state = 0
    self._automaton = _Automaton(tuple(stops))

  def feed(self, text: str) -> tuple[str, bool]:
    """Takes more text.

    Returns: the text that became visible, and whether a stop string was
      seen. After that nothing becomes visible any more.
    """
    if self.is_stopped:
      return '', True
    automaton, state = self._automaton, self._state
    for count, character in enumerate(text, start=1):
      state = automaton.next_state(state, character)
      if match_len := automaton.match_lens[state]:
        self.is_stopped = True
        seen = self._held + text[:count]
        cut = 0 if self._keeps_stop else match_len
        return self._release(seen[: len(seen) - cut], ''), True
    self._state = state
    seen = self._held + text
    border = len(seen) - automaton.depths[state]
    return self._release(seen[:border], seen[border:]), False

  def flush(self) -> str:
    """The text held back, now that no more follows."""
    return self._release(self._held, '')

  def _release(self, visible: str, held: str) -> str:
    self.visible_len += len(visible)
    self._held = held
    return visible


class _Automaton:
  """The trie of all stops; a state is the longest prefix just seen.

  Attributes:
    depths: length of each state's prefix.
    match_lens: length of the longest stop that ends in a state, 0 if none.
  """

  def __init__(self, stops: tuple[str, ...]):
    if '' in stops:
      raise ValueError('A stop string is empty; leave it out.')
    self.depths = [0]
    self.match_lens = [0]
    self._children: list[dict[str, int]] = [{}]
    for stop in stops:
      self._add(stop)
    self._fails = [0] * len(self.depths)
    self._link()

  def next_state(self, state: int, character: str) -> int:
    children = self._children
    while state and character not in children[state]:
      state = self._fails[state]
    return children[state].get(character, 0)

  def _add(self, stop: str) -> None:
    state = 0
    for character in stop:
      child = self._children[state].get(character)
      if child is None:
        child = len(self.depths)
        self._children[state][character] = child
        self._children.append({})
        self.depths.append(self.depths[state] + 1)
        self.match_lens.append(0)
      state = child
    self.match_lens[state] = len(stop)

  def _link(self) -> None:
    """Points each state to its longest proper suffix, nearest first."""
    queue = list(self._children[0].values())
    for state in queue:
      for character, child in self._children[state].items():
        fail = self.next_state(self._fails[state], character)
        self._fails[child] = fail
        # A state's own stop is longer than any that ends in its suffix.
        self.match_lens[child] = self.match_lens[child] or self.match_lens[fail]
        queue.append(child)
