// The words of an article that comments hang on: chosen by who reads, found again, and marked where they stand.
// What counts as its words is the same here and in physalis.web.articles.passages.
import type { PassageAnchor } from '../records/comments';

const SPACE = ' \t\n\r\f';
const LEFT_OUT = 'sup, [data-figure], .talk';
/** Characters around a passage that tell it from others with the same words. */
const AROUND = 40;
/** Of a passage, as physalis.people.comments.anchors has it. */
export const LONGEST = 1000;

export type Quote = Pick<PassageAnchor, 'exact' | 'prefix' | 'suffix'>;

/** Words that lead to what is said of them. */
export interface Said extends Quote {
  id: string;
  title: string;
}

interface Words {
  text: string;
  nodes: Text[];
  /** Of each character: which node it is in, and where. */
  node: number[];
  at: number[];
}

/** The words below an element: white space of any length is one space, and the notes in the margin come last. */
function words(body: Element): Words {
  const walk = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  const [text, notes]: [Text[], Text[]] = [[], []];
  while (walk.nextNode()) {
    const node = walk.currentNode as Text;
    if (!node.parentElement!.closest(LEFT_OUT)) (node.parentElement!.closest('.note') ? notes : text).push(node);
  }
  const found: Words = { text: '', nodes: [...text, ...notes], node: [], at: [] };
  const letters: string[] = [];
  found.nodes.forEach((node, n) => {
    for (let i = 0; i < node.data.length; i++) {
      const space = SPACE.includes(node.data[i]);
      if (space && letters.at(-1) === ' ') continue;
      letters.push(space ? ' ' : node.data[i]);
      found.node.push(n);
      found.at.push(i);
    }
  });
  found.text = letters.join('');
  return found;
}

/** Where the words are, as PassageAnchor.find does it. */
export function find(text: string, { exact, prefix, suffix }: Quote): [number, number] | undefined {
  let best: [number, number] | undefined;
  let longest = -1;
  for (let start = text.indexOf(exact); start >= 0; start = text.indexOf(exact, start + 1)) {
    const end = start + exact.length;
    let agreed = 0;
    for (let i = 1; i <= prefix.length && text[start - i] === prefix[prefix.length - i]; i++) agreed++;
    for (let i = 0; i < suffix.length && text[end + i] === suffix[i]; i++) agreed++;
    if (agreed > longest) [best, longest] = [[start, end], agreed];
  }
  return best;
}

/** The words in a range of the page. Where it goes over notes in the margin, they are left out unless it begins in one. */
export function chosen(body: Element, range: Range): Quote | undefined {
  if (!range.intersectsNode(body)) return undefined;
  const { text, nodes, node, at } = words(body);
  const inNote = (n: Node) => !!(n instanceof Element ? n : n.parentElement)?.closest('.note');
  const notes = inNote(range.startContainer);
  const kept: number[] = [];
  for (let i = 0; i < text.length; i++) {
    const here = nodes[node[i]];
    if (inNote(here) !== notes || !range.intersectsNode(here)) continue;
    if (here === range.startContainer && at[i] < range.startOffset) continue;
    if (here === range.endContainer && at[i] >= range.endOffset) continue;
    if (text[i] !== ' ') kept.push(i);
  }
  if (!kept.length) return undefined;
  const [start, end] = [kept[0], kept.at(-1)! + 1];
  // Cut between characters, which may be two units of UTF-16.
  return {
    exact: text.slice(start, end),
    prefix: [...text.slice(0, start)].slice(-AROUND).join(''),
    suffix: [...text.slice(end, end + 2 * AROUND)].slice(0, AROUND).join(''),
  };
}

/** Takes earlier marks away and marks the words of each: they lead to what is said, and words that several share to the
 *  first. Returns the id of the place where each one's begin; nothing for words that are not there. */
export function mark(body: Element, all: Said[]): Map<string, string> {
  body.querySelectorAll('.passage').forEach(unwrap);
  const places = new Map<string, string>();
  for (const said of all) {
    const { text, nodes, node, at } = words(body);
    const [start, end] = find(text, said) ?? [0, 0];
    let count = 0;
    for (let from = start, to = start; from < end; from = to) {
      while (to < end && node[to] === node[from]) to++;
      // Between two paragraphs there is white space, which is no place for a link.
      if (!text.slice(from, to).trim()) continue;
      const shared = nodes[node[from]].parentElement!.closest('.passage');
      if (!shared) count++;
      const place = shared?.id ?? `passage-${said.id}${count > 1 ? `-${count}` : ''}`;
      if (!places.has(said.id)) places.set(said.id, place);
      if (!shared) wrap(nodes[node[from]], at[from], at[to - 1] + 1, said, place);
    }
  }
  return places;
}

/** Only the text around it is made whole again: figures that are alive have empty text of their own. */
function unwrap(passage: Element) {
  const words = [passage.previousSibling, ...passage.childNodes, passage.nextSibling].filter((node) => node instanceof Text);
  passage.replaceWith(...passage.childNodes);
  words[0].data = words.map((each) => each.data).join('');
  words.slice(1).forEach((each) => each.remove());
}

function wrap(node: Text, from: number, to: number, { id, title }: Said, place: string) {
  const words = node.splitText(from);
  words.splitText(to - from);
  // A link can hold no other.
  const wrapped = document.createElement(node.parentElement!.closest('a') ? 'mark' : 'a');
  Object.assign(wrapped, { className: 'passage', id: place, title });
  if (wrapped instanceof HTMLAnchorElement) wrapped.href = `#comment-${id}`;
  words.replaceWith(wrapped);
  wrapped.append(words);
}
