// What physalis.web.publish.site writes into the pages of a published atlas, and how the views' paths lie among its files.
import type { Figure, Packed, Told } from '../lib/records/articles';
import type { Labelled } from '../lib/records/notes';
import type { Question } from '../lib/records/question';
import type { FeatureList, FeatureRow, Map, Metric, Summary } from '../lib/records/atlas';

/** A row, and the other words it is found by. */
export type Row = FeatureRow & { words: string };

interface Site {
  /** From this page to the site's folder: "" or "../". */
  root: string;
  published: number;
  total: number;
  /** Features that this page may link to. */
  linked: number[];
}

export type SitePage = Site &
  (
    | { view: 'summary'; summary: Summary; striking: FeatureRow[]; articles: Told[] }
    | { view: 'list'; rows: Row[]; metrics: Metric[] }
    | { view: 'feature'; feature: Packed; before: number; after: number; comments: boolean; labels: Labelled[] }
    | { view: 'map' }
    | { view: 'article'; figures: Figure[] }
  );

/** The file of a path such as "/features/12"; undefined where it is not published. */
export function address(path: string, root: string, has: (id: number) => boolean): string | undefined {
  const [, place, search] = /^([^?]*)\??(.*)$/s.exec(path)!;
  const id = /^\/features\/(\d+)$/.exec(place)?.[1];
  if (id !== undefined) return has(Number(id)) ? `${root}features/${id}.html` : undefined;
  const file = ({ '/': 'index', '/features': 'list', '/map': 'map' } as Record<string, string>)[place];
  return file && `${root}${file}.html${search && `#${search}`}`;
}

/** What assets/map.js holds: too large for every page, and none needs it to show its text. */
export interface Held {
  map: Map;
  published: number[];
}

let asked: Promise<Held> | undefined;

export const held = (root: string): Promise<Held> =>
  (asked ??= new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = `${root}assets/map.js`;
    script.onload = () => resolve((globalThis as unknown as { physalisMap: Held }).physalisMap);
    script.onerror = reject;
    document.head.append(script);
  }));

/** What the server would answer, of the rows that are here. */
export function answer(rows: Row[], question: Question): FeatureList {
  const typed = question.query.trim().toLowerCase();
  const words = typed.split(/\s+/).filter(Boolean);
  const number = /^#?(\d+)$/.exec(typed)?.[1];
  const only = typed.startsWith('#') && number !== undefined;
  const filters = Object.entries(question.filters);
  const rank = new globalThis.Map<number, number>();
  const found = rows.filter((row) => {
    const values = row as unknown as Record<string, number>;
    if (!filters.every(([name, { low, high }]) => (low === null || values[name] >= low) && (high === null || values[name] <= high))) return false;
    if (!typed) return true;
    if (only) return String(row.id) === number;
    const headline = row.headline.toLowerCase();
    const text = `${headline} ${row.words} ${row.snippet.join('').toLowerCase()}`;
    const byNumber = number !== undefined && String(row.id).startsWith(number) ? (String(row.id) === number ? 3 : 2) : 0;
    if (!byNumber && !words.every((word) => text.includes(word))) return false;
    rank.set(row.id, byNumber || (words.every((word) => headline.includes(word)) ? 1 : 0));
    return true;
  });
  const sort = question.sort || (typed && !only ? 'relevance' : 'density');
  const value = (row: Row) => (sort === 'relevance' ? (rank.get(row.id) ?? 0) + row.density / 2 : (row as unknown as Record<string, number>)[sort] ?? 0);
  const way = question.descending ? -1 : 1;
  found.sort((a, b) => way * (value(a) - value(b)) || a.id - b.id);
  const { offset, limit } = question;
  return { total: found.length, offset, rows: found.slice(offset, offset + limit) };
}

/** Ids of living features whose headlines have all the words. */
export function findOn(map: Map, query: string): { ids: number[]; total: number } {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const ids = map.ids.filter((id, i) => String(id) === query.trim() || words.every((word) => map.headline[i].toLowerCase().includes(word)));
  return { ids, total: ids.length };
}
