"""What the prompts of `chatjax bench` are cut from."""

TEXT = """\
A library that runs a language model has two jobs that want different things.
The first is to read the prompt. All of its words are known at once, so their
numbers can be multiplied as large blocks, and what counts is how fast the
processor can multiply. The second is to write the answer. Each word depends on
the word before, so every step has to walk through all the weights of the model
for a handful of numbers, and what counts is how fast memory can be read.

That is why answering several people at once is nearly free for a while. The
weights are fetched from memory once per step whether one row wants them or
eight, and the multiplications that come on top are few. Only when the rows
become many does arithmetic catch up with memory, and from then on each new row
costs as much as the one before. Somewhere between lies the point at which a
machine gives the most words per second and nobody waits too long for the next.

def moving_average(values, width):
  total = 0.0
  window = collections.deque()
  for value in values:
    window.append(value)
    total += value
    if len(window) > width:
      total -= window.popleft()
    yield total / len(window)

The keys and values of earlier words are kept, so that nothing has to be read
twice. They lie in pages of equal size, like the sheets of a loose-leaf binder:
a conversation takes a new sheet when its last one is full and hands all of
them back when it ends. No sheet has to lie next to the one before it, so the
binder never has to be sorted, and a short question leaves no long gap behind.

A fair measurement is dull. It says which machine it ran on, what it counted
and from when to when, and it is repeated until the numbers stop moving. It
gives the middle of what was seen, and the smallest and the largest beside it,
because one number alone hides whether the next run would say the same. It
compares with what the machine could do at best: if memory delivers ten billion
bytes in a second, and the weights are five hundred million, then no program,
however clever, makes more than twenty steps in that second. What share of the
twenty was reached tells more than the words per second do, since it stays the
same on a faster machine.
"""
