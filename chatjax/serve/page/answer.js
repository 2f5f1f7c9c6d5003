// One message on the page, and what can be done with it.

import {copyButton, make} from './dom.js';
import * as markdown from './markdown.js';
import * as tokens from './tokens.js';

const ENDINGS = {
  length: 'Cut off: the token limit is reached.',
  content_filter: 'Cut off by a filter.',
  stopped: 'Stopped.',
};

export function userElement(message) {
  return make('article', {class: 'user', 'aria-label': 'You'},
    make('div', {class: 'said'}, message.content));
}

/** What a tool returned. */
export function resultElement(message) {
  return make('article', {class: 'result', 'aria-label': 'Tool result'},
    make('details', {}, make('summary', {}, 'Result of the tool'),
      make('pre', {tabindex: '0'}, message.content)));
}

/**
 * An answer, while it grows and after.
 *
 * `actions`: repeat(), again(), useSeed(seed), results([{id, text}]).
 */
export class AnswerView {
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.reasoning = make('pre', {class: 'reasoning', tabindex: '0'});
    this.thought = make('summary', {}, 'Reasoning');
    this.fold = make('details', {hidden: true}, this.thought, this.reasoning);
    this.text = make('div', {class: 'markdown'});
    this.tokens = new tokens.TokenView();
    this.showsTokens = true;
    this.calls = make('div', {class: 'calls'});
    this.error = make('p', {class: 'error', role: 'alert', hidden: true});
    this.bottom = make('footer');
    this.element = make('article', {class: 'answer', 'aria-label': 'Answer'},
      this.fold, this.text, this.tokens.element, this.calls, this.error,
      this.bottom);
  }

  update({isRunning = false, isLast = false} = {}) {
    const {message} = this;
    this.element.setAttribute('aria-busy', String(isRunning));
    this.fold.hidden = !message.reasoning;
    this.reasoning.textContent = message.reasoning;
    this.thought.textContent =
      isRunning && !message.content ? 'Reasoning…' : 'Reasoning';
    const hasTokens = message.tokens.length > 0;
    this.text.hidden = hasTokens && this.showsTokens;
    this.tokens.element.hidden = !this.text.hidden;
    markdown.show(this.text, message.content);
    this.tokens.update(message.tokens);
    this.element.classList.toggle('waits', isRunning && isEmpty(message));
    this.showCalls(isLast && !isRunning);
    this.error.hidden = !message.error;
    this.error.textContent = message.error ?? '';
    this.bottom.replaceChildren(...(isRunning ? [] : this.footer(isLast)));
  }

  showCalls(isAnswerable) {
    const open = [...this.calls.querySelectorAll('details')].map((fold) => fold.open);
    const {calls} = this.message;
    this.calls.replaceChildren(...calls.map((call, idx) =>
      make('details', {open: open[idx]},
        make('summary', {}, 'Calls ', make('code', {}, call.name)),
        markdown.codeBlock({text: pretty(call.arguments), language: 'arguments'}))));
    if (isAnswerable && calls.length) {
      this.calls.append(this.resultForm(calls));
    }
  }

  resultForm(calls) {
    const areas = calls.map((call) =>
      make('textarea', {rows: '2', class: 'code', required: true}));
    const submit = (event) => {
      event.preventDefault();
      this.actions.results(calls.map(({id}, idx) => ({id, text: areas[idx].value})));
    };
    return make('form', {class: 'results', onsubmit: submit},
      ...calls.map((call, idx) =>
        make('label', {}, `Result of ${call.name}`, areas[idx])),
      make('button', {type: 'submit'}, 'Send the results'));
  }

  footer(isLast) {
    const {message, actions} = this;
    const parts = [];
    const button = (text, onclick, properties = {}) =>
      parts.push(make('button', {type: 'button', class: 'quiet', onclick, ...properties}, text));
    if (message.content) {
      parts.push(copyButton(() => message.content));
    }
    if (message.tokens.length) {
      button(this.showsTokens ? 'Show text' : 'Show tokens', () => {
        this.showsTokens = !this.showsTokens;
        this.update({isLast});
        this.element.querySelector('.toggle').focus();
      }, {class: 'quiet toggle'});
    }
    if (isLast && message.seed) {
      button('Regenerate, same seed', actions.repeat, {class: 'quiet repeat'});
    }
    if (isLast) {
      button('Try again', actions.again, {class: 'quiet again'});
    }
    return [make('div', {class: 'chips'}, ...this.chips()),
      make('div', {class: 'actions'}, ...parts)];
  }

  chips() {
    const {seed, fingerprint, finish, usage, verdict} = this.message;
    const chips = [];
    if (seed) {
      chips.push(make('button', {
        type: 'button', class: 'chip seed', title: 'Use this seed from now on',
        onclick: () => this.actions.useSeed(seed),
      }, `seed ${seed}`));
    }
    if (fingerprint) {
      chips.push(make('span', {
        class: 'chip fingerprint',
        title: 'The same request and seed give the same answer as long as this stays',
      }, fingerprint));
    }
    if (usage) {
      chips.push(make('span', {class: 'chip'}, `${usage.completion_tokens} tokens`));
    }
    if (ENDINGS[finish]) {
      chips.push(make('span', {class: 'chip'}, ENDINGS[finish]));
    }
    if (verdict) {
      chips.push(make('span', {class: 'chip verdict'}, verdict));
    }
    return chips;
  }
}

const isEmpty = (message) =>
  !message.content && !message.reasoning && !message.calls.length;

function pretty(text) {
  try {
    // Shown only; the text itself goes back to the model.
    JSON.parse(text);
    return text.length > 60 ? JSON.stringify(JSON.parse(text), null, 2) : text;
  } catch {
    return text;
  }
}
