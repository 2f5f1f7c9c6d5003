// Puts the page together: keys, drawers, the list of chats, the API key.

import * as api from './api.js';
import {Chat} from './chat.js';
import {announce, find, make} from './dom.js';
import * as panel from './panel.js';
import * as store from './store.js';
import * as tokens from './tokens.js';

const DRAWERS = {'open-chats': 'chats', 'open-panel': 'panel'};
const input = find('input');

function onChange(chat, {hasWrongSettings = false, showsSettings = false} = {}) {
  find('send').hidden = chat.isRunning;
  find('stop').hidden = !chat.isRunning;
  document.body.classList.toggle('empty', !chat.data.messages.length);
  if (hasWrongSettings || showsSettings) {
    showDrawer('open-panel', true);
  }
  listChats(chat);
}

function listChats(current) {
  find('chat-list').replaceChildren(...store.chats().map((data) => {
    const title = data.title || 'Untitled';
    const isCurrent = data.id === current.data.id;
    return make('li', {},
      make('button', {
        type: 'button', class: 'quiet title',
        'aria-current': isCurrent ? 'true' : null,
        onclick: () => leaveTo(data),
      }, title),
      make('button', {
        type: 'button', class: 'quiet', 'aria-label': `Delete ${title}`,
        onclick: () => deleteChat(data, isCurrent),
      }, '×'));
  }));
}

function leaveTo(data) {
  chat.open(data);
  hideDrawers();
  input.focus();
}

function deleteChat(data, isCurrent) {
  if (!confirm(`Delete "${data.title}"?`)) {
    return;
  }
  if (isCurrent) {
    chat.open(store.newChat());
  }
  store.remove(data.id);
  listChats(chat);
}

function submit() {
  if (chat.send(input.value)) {
    input.value = '';
    grow();
    input.focus();
  }
}

function grow() {
  input.style.height = 'auto';
  input.style.height = `${input.scrollHeight + 2}px`;
}

// Drawers: both are open where there is room, which style.css decides.

function showDrawer(buttonId, isShown) {
  const button = find(buttonId);
  const drawer = find(DRAWERS[buttonId]);
  if (!button.checkVisibility()) {
    return;  // it is not a drawer at this width
  }
  drawer.classList.toggle('shown', isShown);
  button.setAttribute('aria-expanded', String(isShown));
  const isAny = Boolean(document.querySelector('.drawer.shown'));
  document.body.classList.toggle('drawn', isAny);
  // Tab stays in the drawer.
  document.querySelectorAll('header, main').forEach((rest) => (rest.inert = isAny));
  if (isShown) {
    drawer.querySelector('button, input, textarea')?.focus();
  } else if (drawer.contains(document.activeElement)) {
    button.focus();
  }
}

function hideDrawers() {
  const isAny = Boolean(document.querySelector('.drawer.shown'));
  Object.keys(DRAWERS).forEach((id) => showDrawer(id, false));
  return isAny;
}

function startDrawers() {
  for (const [buttonId, drawerId] of Object.entries(DRAWERS)) {
    find(buttonId).addEventListener('click', () => {
      const isShown = find(drawerId).classList.contains('shown');
      hideDrawers();
      showDrawer(buttonId, !isShown);
    });
  }
  find('backdrop').addEventListener('click', hideDrawers);
  document.querySelectorAll('.close').forEach((button) =>
    button.addEventListener('click', hideDrawers));
}

// The API key.

function askKey() {
  find('key-error').hidden = !api.hasKey();
  if (!find('key-dialog').open) {
    find('key-dialog').showModal();
  }
}

async function connect() {
  try {
    find('model').textContent = await api.modelId();
  } catch (error) {
    if (error.status === 401) {
      askKey();
    }
    announce(error.message);
    find('model').textContent = error.status === 401 ? 'key needed' : 'not reachable';
  }
}

function start() {
  panel.start();
  startDrawers();
  connect();
  find('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
  input.addEventListener('input', grow);
  input.addEventListener('keydown', (event) => {
    // While a word is being composed, Enter belongs to that.
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    }
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !find('key-dialog').open) {
      tokens.close() || hideDrawers() || chat.stop();
    }
  });
  find('log').addEventListener('scroll', tokens.close);
  find('stop').addEventListener('click', () => {
    chat.stop();
    input.focus();
  });
  find('new-chat').addEventListener('click', () => leaveTo(store.newChat()));
  find('key-form').addEventListener('submit', () => {
    api.setKey(find('key').value);
    find('key').value = '';
    connect();
  });
}

const chat = new Chat({onChange, onKeyNeeded: askKey});
const latest = store.chats()[0];
if (latest) {
  chat.open(latest);
}
start();
