// Articles as physalis.web.articles.articles and physalis.web.articles.shelf write them, and features as physalis.web.server.packing packs them.
import type { Check, Page as Experiment } from './lab';
import type { GraphPage } from './graph';
import type { Example, Feature, FeatureRow } from './atlas';

/** Document, position, tokens with a character between them, and the codes that are not 0, each after its place. */
type PackedExample = [number, number, string, number[]];

/** See physalis.web.server.packing. */
export type Packed = Omit<Feature, 'groups'> & {
  between: string;
  groups: (Omit<Feature['groups'][number], 'examples'> & { examples: PackedExample[] })[];
};

export type Figure =
  | { kind: 'feature'; feature: Packed }
  | { kind: 'list'; rows: FeatureRow[] }
  | { kind: 'experiment'; page: Experiment; check: Check | null }
  | { kind: 'graph'; graph: GraphPage };

/** What an atlas's other pages tell of an article. */
export interface Told {
  path: string;
  title: string;
  description: string;
}

export interface Written {
  slug: string;
  title: string;
  html: string;
  figures: Figure[];
}

export function unpack({ between, ...packed }: Packed): Feature {
  const example = ([document, position, text, codes]: PackedExample): Example => {
    const tokens = text.split(between);
    const all = new Array<number>(tokens.length).fill(0);
    for (let i = 0; i < codes.length; i += 2) all[codes[i]] = codes[i + 1];
    return { document, position, tokens, codes: all };
  };
  return { ...packed, groups: packed.groups.map((group) => ({ ...group, examples: group.examples.map(example) })) };
}

/** The text that was written into the page, to be read without a script. It is taken out: a page shows it once. */
export function written(): string {
  const given = document.getElementById('article');
  const html = given?.innerHTML ?? '';
  given?.remove();
  return html;
}
