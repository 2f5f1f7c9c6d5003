// Elements without markup: what a model says is only ever text.

export const find = (id) => document.getElementById(id);

/** Makes an element; properties named on… are listeners. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) {
      element.addEventListener(name.slice(2), value);
    } else if (name === 'class') {
      element.className = value;
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? '' : value);
    }
  }
  element.append(...children);
  return element;
}

/** Tells those who cannot see the screen. */
export function announce(text) {
  find('status').textContent = text;
}

/** A button that copies what `read` returns. */
export function copyButton(read, label = 'Copy') {
  const button = make('button', {type: 'button', class: 'quiet copy'}, label);
  button.addEventListener('click', async () => {
    const isDone = await copy(read());
    button.textContent = isDone ? 'Copied' : 'Cannot copy';
    announce(button.textContent);
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);  // there is no clipboard without https
  }
}

function copyBySelection(text) {
  const area = make('textarea', {class: 'hidden', 'aria-hidden': 'true'});
  const focused = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  const isDone = document.execCommand('copy');
  area.remove();
  focused?.focus();
  return isDone;
}
