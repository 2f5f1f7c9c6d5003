// What the browser keeps: chats and settings. Nothing of it leaves.

const CHAT = 'chatjax.chat.';
const SETTINGS = 'chatjax.settings';
const MAX_CHATS = 100;

export function newChat() {
  return {id: makeId(), title: '', updated: Date.now(), messages: []};
}

/** All chats, the latest first. */
export function chats() {
  return Object.keys(localStorage)
    .filter((name) => name.startsWith(CHAT))
    .map((name) => read(name))
    .filter((chat) => chat?.messages?.length)
    .sort((a, b) => b.updated - a.updated);
}

/** Saves a chat; says whether there was room for it. */
export function save(chat) {
  chat.updated = Date.now();
  const all = chats().filter((other) => other.id !== chat.id);
  all.slice(MAX_CHATS - 1).forEach((other) => remove(other.id));
  const others = all.slice(0, MAX_CHATS - 1);
  // Token probabilities are most of the weight and the least of the loss.
  const lighten = [
    () => others.forEach((other) => write(CHAT + other.id, bare(other))),
    ...others.reverse().map((other) => () => remove(other.id)),
  ];
  while (!write(CHAT + chat.id, chat)) {
    if (!lighten.length) {
      return write(CHAT + chat.id, bare(chat));
    }
    lighten.shift()();
  }
  return true;
}

export function remove(id) {
  localStorage.removeItem(CHAT + id);
}

export function settings() {
  return read(SETTINGS) ?? {};
}

export function saveSettings(values) {
  write(SETTINGS, values);
}

const bare = (chat) => ({
  ...chat,
  messages: chat.messages.map((message) =>
    message.tokens ? {...message, tokens: []} : message),
});

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;  // of another version, or somebody else's
  }
}

function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
    return true;
  } catch {
    return false;  // no room
  }
}

function makeId() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
