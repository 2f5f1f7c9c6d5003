// The interface of the server: requests, streams of events, errors in words.

const KEY = 'chatjax.key';

export class ApiError extends Error {
  constructor(message, {status = 0, param = null} = {}) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

export function setKey(key) {
  sessionStorage.setItem(KEY, key);
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

let model = null;

export async function modelId() {
  const answer = await send('v1/models');
  model = (await answer.json()).data[0].id;
  return model;
}

/**
 * Yields the chunks of an answer.
 *
 * The seed is a text on both ways: it has 64 bits, a number here only 53.
 */
export async function* stream(body, seed, signal) {
  const answer = await send('v1/chat/completions', {
    method: 'POST',
    body: withSeed({model: model ?? await modelId(), ...body}, seed),
    signal,
  });
  for await (const data of events(answer.body)) {
    if (data === '[DONE]') {
      return;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) {
      throw new ApiError(chunk.error.message, {param: chunk.error.param});
    }
    if (chunk.chatjax) {
      chunk.chatjax.seed = seedOf(data);
    }
    yield chunk;
  }
  throw new ApiError('The connection ended before the answer did.');
}

export function withSeed(body, seed) {
  const text = JSON.stringify(body);
  return seed ? `${text.slice(0, -1)},"seed":${seed}}` : text;
}

/** A text inside of the JSON has its quotes escaped, so it cannot match. */
export function seedOf(data) {
  const found = /"chatjax"\s*:\s*\{[^{}]*?"seed"\s*:\s*(-?\d+)/.exec(data);
  return found ? found[1] : null;
}

async function send(path, {method = 'GET', body, signal} = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) {
    headers.Authorization = `Bearer ${key}`;
  }
  if (body) {
    headers['Content-Type'] = 'application/json';
  }
  let answer;
  try {
    answer = await fetch(path, {method, body, signal, headers});
  } catch (error) {
    if (error.name === 'AbortError') {
      throw error;
    }
    throw new ApiError('The server cannot be reached. Is it still running?');
  }
  if (!answer.ok) {
    model = null;  // the server may have started anew, with another one
    throw await refusal(answer);
  }
  return answer;
}

async function refusal(answer) {
  let error = {};
  try {
    error = (await answer.json()).error ?? {};
  } catch {
    // Not JSON: something between the page and the server has answered.
  }
  const message = error.message ?? `The server answered ${answer.status}.`;
  return new ApiError(message, {status: answer.status, param: error.param});
}

/** The data of each server-sent event; comments are dropped. */
export async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    while (true) {
      const {done, value} = await read(reader);
      if (done) {
        return;
      }
      const parts = (rest + decoder.decode(value, {stream: true})).split(
        /\r?\n\r?\n/,
      );
      rest = parts.pop();
      for (const part of parts) {
        const data = part
          .split(/\r?\n/)
          .filter((line) => line.startsWith('data:'))
          .map((line) => line.slice(5).replace(/^ /, ''));
        if (data.length) {
          yield data.join('\n');
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === 'AbortError') {
      throw error;
    }
    throw new ApiError('The connection was lost.');
  }
}
