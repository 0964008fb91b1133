// Lays out a tree of features: columns from left to right, leaves one below the other, each parent amid its children.
import { ABSORBED, type Kin, type Node } from '../records/comparison';

/** What is drawn of a feature, whatever it was compared in. */
export interface Twig {
  key: string;
  /** Of the twig to the left that it hangs from. */
  parent: string | null;
  column: number;
  feature: number;
  headline: string;
  /** From 0 to 1: how thick. */
  weight: number;
  /** The one that this tree is about. */
  here: boolean;
  /** It stands aside: drawn pale. */
  aside: boolean;
  /** Suspected of having absorbed what its parent's heir should do. */
  suspect: boolean;
  path?: string;
  /** What is said of it, name by name. */
  said: [string, string][];
  snippet: string[];
  codes: number[];
  max: number;
}

export interface Placed {
  twig: Twig;
  y: number;
  /** Twigs below it that are not drawn. */
  folded: number;
}

export interface Layout {
  placed: Placed[];
  leaves: number;
  folded: number;
}

/** Leaves that are drawn at most; of more, those that fire least are folded into their parents. */
export const MOST_LEAVES = 200;

/** Places in units of rows. Children stand in the order given. */
export function layOut(twigs: Twig[], most = MOST_LEAVES): Layout {
  const children = new Map<string | null, Twig[]>();
  const keys = new Set(twigs.map((t) => t.key));
  for (const twig of twigs) {
    const parent = twig.parent !== null && keys.has(twig.parent) ? twig.parent : null;
    children.set(parent, [...(children.get(parent) ?? []), twig]);
  }
  const gone = fold(twigs, children, most);
  const folded = new Map<string, number>();
  for (const twig of twigs) if (gone.has(twig.key) && twig.parent !== null) folded.set(twig.parent, (folded.get(twig.parent) ?? 0) + 1);
  const placed: Placed[] = [];
  let row = 0;
  const place = (twig: Twig): number => {
    const below = (children.get(twig.key) ?? []).filter((t) => !gone.has(t.key));
    const at = placed.push({ twig, y: 0, folded: folded.get(twig.key) ?? 0 }) - 1;
    const ys = below.map(place);
    const y = ys.length ? (ys[0] + ys[ys.length - 1]) / 2 : row++;
    placed[at].y = y;
    return y;
  };
  for (const root of children.get(null) ?? []) place(root);
  return { placed, leaves: row, folded: gone.size };
}

/** Keys of what is left out, the lightest leaves first, until few enough leaves stay. */
function fold(twigs: Twig[], children: Map<string | null, Twig[]>, most: number): Set<string> {
  const gone = new Set<string>();
  const living = new Map(twigs.map((t) => [t.key, children.get(t.key)?.length ?? 0]));
  let leaves = twigs.filter((t) => !living.get(t.key)).length;
  for (const twig of [...twigs].sort((a, b) => b.column - a.column || a.weight - b.weight)) {
    if (leaves <= most) break;
    if (living.get(twig.key) || twig.here) continue;
    gone.add(twig.key);
    const left = twig.parent === null ? 1 : (living.get(twig.parent) ?? 1) - 1;
    if (twig.parent !== null) living.set(twig.parent, left);
    // The last child of a parent makes a leaf of the parent.
    if (left) leaves--;
  }
  return gone;
}

/** The way through a tree's curve from the end of one stem to the start of another. */
export const branch = (x0: number, y0: number, x1: number, y1: number): string => {
  const middle = (x0 + x1) / 2;
  return `M${x0.toFixed(1)},${y0.toFixed(1)}C${middle.toFixed(1)},${y0.toFixed(1)} ${middle.toFixed(1)},${y1.toFixed(1)} ${x1.toFixed(1)},${y1.toFixed(1)}`;
};

const keyOf = (level: number, feature: number) => `${level}/${feature}`;

/** The heir first, then what fires most. */
const inOrder = (a: Node, b: Node) => Number(b.heir) - Number(a.heir) || b.n_fired - a.n_fired || a.feature - b.feature;

interface Options {
  /** Ancestors and siblings too. */
  whole: boolean;
  path: (node: Node) => string | undefined;
  percent: (share: number) => string;
  fraction: (value: number) => string;
}

/** What is drawn of a family: the feature and what descends from it, and with `whole` where it comes from. */
export function twigsOf(kin: Kin, { whole, path, percent, fraction }: Options): Twig[] {
  const { node, ancestors, siblings, descendants } = kin.family;
  const line = whole ? [...ancestors].reverse() : [];
  const beside = whole ? siblings : [];
  const nodes = [...line, ...[node, ...beside].sort(inOrder), ...[...descendants].sort((a, b) => a.level - b.level || inOrder(a, b))];
  const most = Math.max(1, ...nodes.map((n) => n.n_fired));
  const first = Math.min(...nodes.map((n) => n.level));
  return nodes.map((n) => {
    const known = kin.known[n.level]?.[n.feature];
    const said: [string, string][] = [['fires on', `${percent(n.n_fired / kin.n_tokens)} of tokens`]];
    if (n.fires !== null) said.push(['its parent fires on', `${percent(n.fires)} of those`]);
    if (n.share !== null) said.push(['share of the parent’s activation on its tokens', percent(n.share)]);
    if (n.cosine !== null) said.push(['cosine with the parent', fraction(n.cosine)]);
    if (n.heir) said.push(['role', 'main child: it carries on its parent']);
    if (n.absorbed !== null) said.push(['the main child fires less beside it, by', fraction(n.absorbed)]);
    return {
      key: keyOf(n.level, n.feature),
      parent: n.parent === null ? null : keyOf(n.level - 1, n.parent),
      column: n.level - first,
      feature: n.feature,
      headline: known?.headline ?? '',
      weight: n.n_fired / most,
      here: n === node && whole,
      aside: beside.includes(n),
      suspect: n.absorbed !== null && n.absorbed >= ABSORBED,
      path: path(n),
      said,
      snippet: known?.snippet ?? [],
      codes: known?.snippet_codes ?? [],
      max: known?.max_code ?? 1,
    };
  });
}
