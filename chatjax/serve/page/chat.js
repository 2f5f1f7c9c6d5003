// A conversation: its messages, the one request that runs, what is shown.

import * as api from './api.js';
import * as answer_lib from './answer.js';
import {announce, find} from './dom.js';
import * as panel from './panel.js';
import * as store from './store.js';
import * as tokens from './tokens.js';

const TITLE_LENGTH = 60;
const NEAR_PX = 80;

/** `onChange` is told when the list of chats or the running state differs. */
export class Chat {
  constructor({onChange, onKeyNeeded}) {
    this.onChange = onChange;
    this.onKeyNeeded = onKeyNeeded;
    this.running = null;  // the AbortController of the request
    this.open(store.newChat());
  }

  open(data) {
    this.stop();
    this.data = data;
    this.render();
    this.onChange(this);
  }

  get isRunning() {
    return this.running !== null;
  }

  stop() {
    this.running?.abort();
  }

  /** Says whether the text was taken. */
  send(text) {
    const {messages} = this.data;
    if (this.isRunning || !text.trim()) {
      return false;
    }
    if (messages.at(-1)?.calls?.length) {
      announce('The tools come first: give their results below the calls.');
      find('log').querySelector('.results textarea')?.focus();
      return false;
    }
    const settings = this.settings();
    if (!settings) {
      return false;
    }
    messages.push({role: 'user', content: text});
    this.data.title ||= text.trim().slice(0, TITLE_LENGTH);
    this.run(settings, settings.seed);
    return true;
  }

  sendResults(results) {
    const settings = this.settings();
    if (settings && !this.isRunning) {
      this.data.messages.push(...results.map(({id, text}) =>
        ({role: 'tool', tool_call_id: id, content: text})));
      this.run(settings, settings.seed);
    }
  }

  /** The same request with the same seed; says whether the answer is too. */
  repeat() {
    const before = this.data.messages.pop();
    this.run(before.settings, before.seed, before);
  }

  /** With the settings of now and another seed. */
  again() {
    const settings = this.settings();
    if (settings) {
      this.data.messages.pop();
      this.run(settings, null);
    }
  }

  settings() {
    try {
      const settings = panel.read();
      panel.showError(null);
      return settings;
    } catch (error) {
      if (!(error instanceof panel.SettingsError)) {
        throw error;
      }
      this.onChange(this, {hasWrongSettings: true});
      panel.showError(error);
      return null;
    }
  }

  async run(settings, seed, before = null) {
    const body = request(this.data.messages, settings);
    const message = blank(settings, seed);
    const {data} = this;
    data.messages.push(message);
    const running = (this.running = new AbortController());
    this.render();
    this.onChange(this);
    announce('Answering. Escape stops.');
    try {
      for await (const chunk of api.stream(body, seed, running.signal)) {
        take(message, chunk);
        this.schedule(message);
      }
    } catch (error) {
      this.fail(message, error);
    }
    message.verdict = before && verdict(before, message);
    if (this.running === running) {
      this.running = null;
    }
    this.finish(data, message);
  }

  fail(message, error) {
    if (error.name === 'AbortError') {
      message.finish = 'stopped';
    } else if (error instanceof api.ApiError) {
      message.error = error.message;
      if (error.status === 401) {
        this.onKeyNeeded();
      }
    } else {
      message.error = `The page has failed: ${error.message}`;
      console.error(error);
    }
  }

  finish(data, message) {
    const isSaved = store.save(data);
    if (data === this.data) {
      this.update(message);
      announce(message.error ?? (isSaved ? 'Done.' : 'Done, but not kept: the browser has no room.'));
    }
    this.onChange(this);
  }

  /** Once a frame at most; a hidden page gets the whole at the end. */
  schedule(message) {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.update(message);
    });
  }

  render() {
    this.views = new Map();
    const {messages} = this.data;
    find('log').replaceChildren(...messages.map((message) => {
      if (message.role === 'user') {
        return answer_lib.userElement(message);
      }
      if (message.role === 'tool') {
        return answer_lib.resultElement(message);
      }
      const view = new answer_lib.AnswerView(message, this.actions());
      this.views.set(message, view);
      return view.element;
    }));
    messages.forEach((message) => this.update(message));
    find('log').scrollTop = find('log').scrollHeight;
  }

  update(message) {
    const log = find('log');
    const isNear = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_PX;
    const isLast = message === this.data.messages.at(-1);
    this.views.get(message)?.update({isLast, isRunning: isLast && this.isRunning});
    if (isNear) {
      log.scrollTop = log.scrollHeight;
    }
  }

  actions() {
    return {
      repeat: () => this.repeat(),
      again: () => this.again(),
      results: (results) => this.sendResults(results),
      useSeed: (seed) => {
        panel.setSeed(seed);
        announce(`The seed of the next answers is ${seed}.`);
        this.onChange(this, {showsSettings: true});
      },
    };
  }
}

const blank = (settings, seed) => ({
  role: 'assistant', content: '', reasoning: '', calls: [], tokens: [],
  seed, fingerprint: null, finish: null, usage: null, error: null, settings,
});

function request(messages, {system, fields}) {
  return {
    messages: [
      ...(system ? [{role: 'system', content: system}] : []),
      ...spoken(messages).map(wire),
    ],
    ...fields,
    stream: true,
    stream_options: {include_usage: true},
  };
}

/** Without answers that never began, and the questions that they leave. */
function spoken(messages) {
  const isLost = (message) =>
    message?.role === 'assistant' && !message.content && !message.calls.length;
  return messages.filter((message, idx) =>
    !isLost(message) && !(message.role === 'user' && isLost(messages[idx + 1])));
}

function wire(message) {
  if (message.role !== 'assistant') {
    return message;
  }
  const {content, calls} = message;
  return {
    role: 'assistant',
    content: content || null,
    ...(calls.length ? {tool_calls: calls.map(wireCall)} : {}),
  };
}

const wireCall = ({id, type, name, arguments: given}) =>
  type === 'custom'
    ? {id, type, custom: {name, input: given}}
    : {id, type, function: {name, arguments: given}};

/** Adds a chunk to an answer. */
function take(message, chunk) {
  message.fingerprint = chunk.system_fingerprint ?? message.fingerprint;
  message.seed = chunk.chatjax?.seed ?? message.seed;
  message.usage = chunk.usage ?? message.usage;
  for (const {delta, logprobs, finish_reason: finish} of chunk.choices) {
    message.content += delta.content ?? delta.refusal ?? '';
    message.reasoning += delta.reasoning ?? '';
    message.tokens.push(...tokens.fromChunk(logprobs?.content ?? []));
    (delta.tool_calls ?? []).forEach((part) => takeCall(message.calls, part));
    message.finish = finish ?? message.finish;
  }
}

function takeCall(calls, {index, id, type, function: named, custom}) {
  calls[index] ??= {id: '', type: 'function', name: '', arguments: ''};
  const call = calls[index];
  call.id = id ?? call.id;
  call.type = type ?? call.type;
  call.name += (named ?? custom)?.name ?? '';
  call.arguments += named?.arguments ?? custom?.input ?? '';
}

function verdict(before, now) {
  if (now.error || now.finish === 'stopped') {
    return null;
  }
  if (before.fingerprint !== now.fingerprint) {
    return 'Not comparable: the fingerprint is another one.';
  }
  const isWhole = !before.error && before.finish !== 'stopped';
  const text = ({content, reasoning, calls}) =>
    JSON.stringify([reasoning, content, calls.map((call) => [call.name, call.arguments])]);
  if (isWhole ? text(before) === text(now) : now.content.startsWith(before.content)) {
    return isWhole ? 'The same answer again' : 'The same, as far as it came before';
  }
  return 'Another answer than before';
}
