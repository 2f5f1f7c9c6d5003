// Tokens tinted by their probability, with the alternatives of each.

import {find, make} from './dom.js';

/** What is kept of the log-probabilities in a chunk. */
export function fromChunk(entries) {
  return entries.map((entry) => ({
    name: spell(entry),
    bytes: entry.bytes,
    logprob: entry.logprob,
    top: entry.top_logprobs.map((one) => [spell(one), one.logprob]),
  }));
}

/** Shows a growing list of tokens. */
export class TokenView {
  constructor() {
    this.element = make('div', {
      class: 'tokens',
      role: 'group',
      'aria-label': 'Tokens; arrow keys go through them',
      onkeydown: (event) => this.move(event),
    });
    this.decoder = new TextDecoder();
  }

  update(tokens) {
    for (const token of tokens.slice(this.element.childNodes.length)) {
      this.element.append(this.make(token));
    }
  }

  make(token) {
    // A character of several tokens appears with the last of them.
    const bytes = new Uint8Array(token.bytes ?? []);
    const text = this.decoder.decode(bytes, {stream: true});
    const element = make('span', {
      class: 'token',
      role: 'button',
      tabindex: this.element.childNodes.length ? '-1' : '0',
      'aria-label': `${token.name}, ${percent(token.logprob)}`,
      onmouseenter: () => open(element, token),
      onmouseleave: close,
      onfocus: () => open(element, token),
      onblur: close,
    }, text === '' ? '·' : text.replace(/^\n/, '⏎\n'));
    element.style.setProperty('--doubt', 1 - Math.exp(token.logprob));
    return element;
  }

  move(event) {
    const all = [...this.element.childNodes];
    const at = all.indexOf(document.activeElement);
    const goal = {
      ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1,
      Home: 0, End: all.length - 1,
    }[event.key];
    if (goal === undefined || !all[goal] || at < 0) {
      return;
    }
    event.preventDefault();
    all[at].tabIndex = -1;
    all[goal].tabIndex = 0;
    all[goal].focus();
  }
}

export function close() {
  const popover = find('popover');
  const wasOpen = !popover.hidden;
  popover.hidden = true;
  document.querySelector('[aria-describedby="popover"]')
    ?.removeAttribute('aria-describedby');
  return wasOpen;
}

function open(element, token) {
  close();
  // What was drawn need not be among the likeliest.
  const rows = token.top.some(([name]) => name === token.name)
    ? token.top : [[token.name, token.logprob], ...token.top];
  const popover = find('popover');
  popover.replaceChildren(make('table', {},
    make('tbody', {}, ...rows.map(([name, logprob]) =>
      make('tr', {class: name === token.name ? 'chosen' : ''},
        make('td', {}, name),
        make('td', {class: 'bar'}, bar(logprob)),
        make('td', {class: 'right'}, percent(logprob)))))));
  popover.hidden = false;
  element.setAttribute('aria-describedby', 'popover');
  place(popover, element.getClientRects()[0]);
}

function place(popover, target) {
  const {offsetWidth: width, offsetHeight: height} = popover;
  const left = Math.min(target.left, window.innerWidth - width - 8);
  const isBelow = target.bottom + height + 12 < window.innerHeight;
  const top = isBelow ? target.bottom + 6 : target.top - height - 6;
  popover.style.left = `${Math.max(8, left)}px`;
  popover.style.top = `${Math.max(8, top)}px`;
}

function bar(logprob) {
  const element = make('i');
  element.style.width = `${100 * Math.exp(logprob)}%`;
  return element;
}

/** A name that can be seen; parts of characters are named by their bytes. */
function spell({token, bytes}) {
  if (token.includes('\ufffd') && bytes) {
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  }
  return token.replace(/ /g, '␣').replace(/\n/g, '⏎').replace(/\t/g, '⇥') ||
    '(empty)';
}

export function percent(logprob) {
  const value = 100 * Math.exp(logprob);
  return value < 0.1 ? '< 0.1 %' : `${value.toFixed(value < 10 ? 1 : 0)} %`;
}
