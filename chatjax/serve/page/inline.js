// Markdown inside of a line: code, emphasis, links.

import {make} from './dom.js';

// Spans are bounded, so that a wall of opening marks stays cheap.
const SPAN = '[^\\n]{0,1000}?';
const marked = (mark) => `${mark}(?=\\S)(${SPAN}\\S)${mark}`;
const RULES = [
  [/\\([\\`*_{}[\]()#+\-.!|~<>])/, (m) => m[1]],
  [/(`+)([^`]|[^`][^\n]{0,1000}?[^`])\1(?!`)/, (m) => code(m[2])],
  [new RegExp(marked('\\*\\*\\*')),
    (m, deep) => make('strong', {}, make('em', {}, ...deep(m[1])))],
  [new RegExp(marked('\\*\\*')), (m, deep) => make('strong', {}, ...deep(m[1]))],
  [new RegExp(`(?<!\\w)${marked('__')}(?!\\w)`),
    (m, deep) => make('strong', {}, ...deep(m[1]))],
  [new RegExp(`${marked('\\*')}(?!\\*)`),
    (m, deep) => make('em', {}, ...deep(m[1]))],
  [new RegExp(`(?<!\\w)${marked('_')}(?!\\w)`),
    (m, deep) => make('em', {}, ...deep(m[1]))],
  [new RegExp(marked('~~')), (m, deep) => make('del', {}, ...deep(m[1]))],
  [/\[([^[\]\n]{1,500})\]\((https?:\/\/[^\s()]+(?:\([^\s()]*\)[^\s()]*)?)\)/i,
    (m, deep) => link(m[2], deep(m[1]))],
  [/<?(https?:\/\/[^\s<>"'`)\]]*[^\s<>"'`)\].,;:!?*_])>?/i,
    (m) => link(m[1], [m[1]])],
];
const MAX_DEPTH = 6;

/** Nodes and strings for a text. */
export function inline(text, depth = 0) {
  const nodes = [];
  const deep = (inner) => (depth < MAX_DEPTH ? inline(inner, depth + 1) : [inner]);
  const searches = RULES.map(([pattern, build]) => ({
    pattern: new RegExp(pattern.source, pattern.flags + 'g'), build, at: null,
  }));
  let start = 0;
  while (start < text.length) {
    const first = earliest(searches, text, start);
    if (!first) {
      break;
    }
    const {at, build} = first;
    nodes.push(text.slice(start, at.index), build(at, deep));
    start = at.index + at[0].length;
  }
  nodes.push(text.slice(start));
  return nodes.filter((node) => node !== '');
}

/** The rule that matches first; each searches on only when it is passed. */
function earliest(searches, text, start) {
  let best = null;
  for (const search of searches) {
    if (search.at === undefined) {
      continue;  // nothing more of it
    }
    if (search.at === null || search.at.index < start) {
      search.pattern.lastIndex = start;
      search.at = search.pattern.exec(text) ?? undefined;
    }
    if (search.at && (!best || search.at.index < best.at.index)) {
      best = search;
    }
  }
  return best;
}

function code(text) {
  return make('code', {}, text.replace(/^ (.+) $/, '$1'));
}

function link(url, children) {
  return make(
    'a',
    {href: url, target: '_blank', rel: 'noopener noreferrer nofollow'},
    ...children,
  );
}
