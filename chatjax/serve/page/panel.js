// The settings: what they ask of the server, and what is wrong with them.

import {find} from './dom.js';
import * as store from './store.js';

const NUMBERS = {
  temperature: 'Temperature', top_p: 'Top p', max_tokens: 'Max tokens',
};
const FIELDS = [
  ...Object.keys(NUMBERS), 'seed', 'system', 'schema', 'tools', 'logprobs',
];
const NUM_ALTERNATIVES = 5;

export class SettingsError extends Error {
  constructor(id, message) {
    super(message);
    this.id = id;
  }
}

/** Restores the fields, and keeps what is typed into them. */
export function start() {
  const kept = store.settings();
  fill(kept);
  find('settings').addEventListener('input', () => {
    showError(null);
    store.saveSettings(Object.fromEntries(FIELDS.map((id) => [id, value(id)])));
  });
  find('settings').addEventListener('submit', (event) => event.preventDefault());
  find('reset').addEventListener('click', () => {
    fill({});
    showError(null);
    store.saveSettings({});
  });
}

/**
 * What the next answer is asked with: {system, seed, fields}.
 *
 * Empty fields are not sent: the model's own defaults count.
 */
export function read() {
  const fields = {};
  for (const [id, name] of Object.entries(NUMBERS)) {
    if (!find(id).validity.valid) {
      throw new SettingsError(id, `${name}: ${find(id).validationMessage}`);
    }
    if (value(id) !== '') {
      fields[id] = Number(value(id));
    }
  }
  const schema = json('schema', 'JSON schema');
  if (schema !== undefined) {
    fields.response_format = {
      type: 'json_schema',
      json_schema: {name: 'answer', schema, strict: true},
    };
  }
  const tools = json('tools', 'Tools');
  if (tools !== undefined) {
    fields.tools = tools;
  }
  if (find('logprobs').checked) {
    fields.logprobs = true;
    fields.top_logprobs = NUM_ALTERNATIVES;
  }
  return {system: value('system').trim(), seed: seed(), fields};
}

export function showError(error) {
  FIELDS.forEach((id) => find(id).removeAttribute('aria-invalid'));
  const line = find('settings-error');
  line.hidden = !error;
  line.textContent = error?.message ?? '';
  if (error) {
    find(error.id).setAttribute('aria-invalid', 'true');
    find(error.id).focus();
  }
}

export function setSeed(text) {
  find('seed').value = text;
  find('seed').dispatchEvent(new Event('input', {bubbles: true}));
}

function value(id) {
  const field = find(id);
  return field.type === 'checkbox' ? field.checked : field.value;
}

function fill(values) {
  for (const id of FIELDS) {
    if (find(id).type === 'checkbox') {
      find(id).checked = Boolean(values[id]);
    } else {
      find(id).value = values[id] ?? '';
    }
  }
}

/** The seed as a text: numbers of 64 bits do not fit into one of ours. */
function seed() {
  const text = value('seed').trim();
  if (text && !/^-?(0|[1-9]\d{0,18})$/.test(text)) {
    throw new SettingsError('seed', `Seed: "${text}" is no whole number of 64 bits.`);
  }
  return text || null;
}

function json(id, name) {
  if (!value(id).trim()) {
    return undefined;
  }
  try {
    return JSON.parse(value(id));
  } catch (error) {
    throw new SettingsError(id, `${name}: ${error.message}.`);
  }
}
