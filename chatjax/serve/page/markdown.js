// A small, safe Markdown: text in, elements out, no markup in between.

import {copyButton, make} from './dom.js';
import {inline} from './inline.js';

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}>\s?/;
const ITEM = /^(\s*)([-*+]|(\d{1,9})[.)])(?:\s+|$)/;
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const MAX_DEPTH = 8;
const shown = new WeakMap();

/** Shows a growing text: only blocks that have changed are made anew. */
export function show(container, text) {
  const next = blocks(text.split('\n'));
  const before = shown.get(container) ?? [];
  let same = 0;
  while (same < before.length && before[same] === next[same]?.source) {
    same++;
  }
  while (container.childNodes.length > same) {
    container.lastChild.remove();
  }
  container.append(...next.slice(same).map(render));
  shown.set(container, next.map((block) => block.source));
}

/** Cuts lines into blocks; each knows its source. */
function blocks(lines, depth = 0) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at++;
      continue;
    }
    const block = (depth < MAX_DEPTH && special(lines, at, depth)) ||
      paragraph(lines, at);
    block.source = lines.slice(at, block.end).join('\n');
    found.push(block);
    at = block.end;
  }
  return found;
}

function special(lines, at, depth) {
  const line = lines[at];
  const heading = HEADING.exec(line);
  if (heading) {
    return {kind: 'heading', level: heading[1].length, text: heading[2], end: at + 1};
  }
  if (RULE.test(line)) {
    return {kind: 'rule', end: at + 1};
  }
  if (FENCE.test(line)) {
    return fence(lines, at);
  }
  if (QUOTE.test(line)) {
    return quote(lines, at, depth);
  }
  if (ITEM.test(line)) {
    return list(lines, at, depth);
  }
  return isTable(lines, at) ? table(lines, at) : null;
}

const isTable = (lines, at) =>
  lines[at].includes('|') && at + 1 < lines.length &&
  lines[at + 1].includes('-') && DIVIDER.test(lines[at + 1]) &&
  cells(lines[at]).length === cells(lines[at + 1]).length;

const starts = (lines, at) =>
  HEADING.test(lines[at]) || RULE.test(lines[at]) || FENCE.test(lines[at]) ||
  QUOTE.test(lines[at]) || ITEM.test(lines[at]) || isTable(lines, at);

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !starts(lines, end)) {
    end++;
  }
  return {kind: 'paragraph', lines: lines.slice(at, end), end};
}

function fence(lines, at) {
  const [, indent, mark, info] = FENCE.exec(lines[at]);
  const isClosing = (line) => {
    const text = line.trim();
    return text.length >= mark.length && text === mark[0].repeat(text.length);
  };
  let end = at + 1;
  while (end < lines.length && !isClosing(lines[end])) {
    end++;
  }
  const text = lines.slice(at + 1, end)
    .map((line) => line.replace(new RegExp(`^ {0,${indent.length}}`), ''));
  return {
    kind: 'code',
    language: info.trim().split(/\s+/)[0],
    text: text.join('\n'),
    end: Math.min(end + 1, lines.length),
  };
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) {
    end++;
  }
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ''));
  return {kind: 'quote', blocks: blocks(inner, depth + 1), end};
}

const indentOf = (line) => line.length - line.trimStart().length;

function list(lines, at, depth) {
  const [, indent, , number] = ITEM.exec(lines[at]);
  const items = [];
  let width = 0;
  let end = at;
  for (; end < lines.length; end++) {
    const line = lines[end];
    const item = ITEM.exec(line);
    if (item && item[1].length < indent.length + 2 && !RULE.test(line)) {
      if (Boolean(item[3]) !== Boolean(number)) {
        break;
      }
      width = item[0].length;
      items.push([line.slice(width)]);
    } else if (!line.trim()) {
      if (!goesOn(lines, end, indent.length)) {
        break;
      }
      items.at(-1).push('');
    } else if (indentOf(line) > indent.length) {
      items.at(-1).push(line.slice(Math.min(width, indentOf(line))));
    } else if (lines[end - 1].trim() && !starts(lines, end)) {
      items.at(-1).push(line);
    } else {
      break;
    }
  }
  return {
    kind: 'list',
    start: number,
    items: items.map((inner) => blocks(inner, depth + 1)),
    end,
  };
}

/** Whether a list has something after the empty lines at `at`. */
function goesOn(lines, at, indent) {
  const next = lines.slice(at, at + 3).find((line) => line.trim());
  return next !== undefined && (indentOf(next) > indent || ITEM.test(next));
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, '').replace(/(?<!\\)\|$/, '');
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim());
}

function table(lines, at) {
  const aligns = cells(lines[at + 1]).map((cell) =>
    cell.endsWith(':') ? (cell.startsWith(':') ? 'center' : 'right') : 'left');
  let end = at + 2;
  while (end < lines.length && lines[end].includes('|')) {
    end++;
  }
  const rows = lines.slice(at + 2, end).map(cells);
  return {kind: 'table', head: cells(lines[at]), aligns, rows, end};
}

const RENDER = {
  paragraph: (block) => make('p', {}, ...inlineLines(block.lines)),
  heading: (block) =>
    // The page's own are h1 and h2.
    make(`h${Math.min(6, block.level + 2)}`, {}, ...inline(block.text)),
  rule: () => make('hr'),
  quote: (block) => make('blockquote', {}, ...block.blocks.map(render)),
  code: codeBlock,
  list: (block) =>
    make(
      block.start === undefined ? 'ul' : 'ol',
      {start: block.start},
      ...block.items.map((item) => make('li', {}, ...tight(item))),
    ),
  table: tableElement,
};

const render = (block) => RENDER[block.kind](block);

const tight = (item) =>
  item.flatMap((block, idx) =>
    idx === 0 && block.kind === 'paragraph'
      ? inlineLines(block.lines) : [render(block)]);

function inlineLines(lines) {
  const isBroken = (line) => / {2}$|\\$/.test(line);
  return lines.flatMap((line, idx) => [
    ...inline(line.trim().replace(/\\$/, '')),
    ...(idx === lines.length - 1 ? []
      : [isBroken(line) ? make('br') : '\n']),
  ]);
}

export function codeBlock({text, language = ''}) {
  return make(
    'figure',
    {class: 'code-block'},
    make('figcaption', {}, make('span', {}, language || 'text'),
      copyButton(() => text, 'Copy')),
    make('pre', {tabindex: '0'}, make('code', {}, text)),
  );
}

function tableElement({head, aligns, rows}) {
  const row = (tag, texts) => make('tr', {}, ...aligns.map((align, idx) =>
    make(tag, {class: align}, ...inline((texts[idx] ?? '').replace(/\\\|/g, '|')))));
  return make('div', {class: 'table', tabindex: '0'}, make('table', {},
    make('thead', {}, row('th', head)),
    make('tbody', {}, ...rows.map((texts) => row('td', texts)))));
}
