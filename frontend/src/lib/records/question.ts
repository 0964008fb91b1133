// What a list was asked, as an object and as a query string.

export interface Range {
  low: number | null;
  high: number | null;
}

export interface Question {
  query: string;
  /** Empty: best match for a search, density for a list. */
  sort: string;
  descending: boolean;
  filters: Record<string, Range>;
  offset: number;
  limit: number;
}

export const LIMIT = 50;

export const everything: Question = { query: '', sort: '', descending: true, filters: {}, offset: 0, limit: LIMIT };

/** "?query=import&filter=density:0.001..": only what differs from asking for everything. */
export function toQuery(q: Question): string {
  const out = new URLSearchParams();
  if (q.query) out.set('query', q.query);
  if (q.sort) out.set('sort', q.sort);
  if (!q.descending) out.set('descending', 'false');
  for (const [name, { low, high }] of Object.entries(q.filters)) {
    if (low !== null || high !== null) out.append('filter', `${name}:${low ?? ''}..${high ?? ''}`);
  }
  if (q.offset) out.set('offset', String(q.offset));
  if (q.limit !== LIMIT) out.set('limit', String(q.limit));
  const text = out.toString().replaceAll('%3A', ':');
  return text && `?${text}`;
}

export function fromQuery(search: string): Question {
  const given = new URLSearchParams(search);
  const filters: Question['filters'] = {};
  for (const text of given.getAll('filter')) {
    const match = /^(\w+):(.*)\.\.(.*)$/.exec(text);
    if (match) filters[match[1]] = { low: bound(match[2]), high: bound(match[3]) };
  }
  return {
    query: given.get('query') ?? '',
    sort: given.get('sort') ?? '',
    descending: given.get('descending') !== 'false',
    filters,
    offset: Number(given.get('offset') ?? 0) || 0,
    limit: Number(given.get('limit') ?? LIMIT) || LIMIT,
  };
}

const bound = (text: string): number | null => (text === '' || !Number.isFinite(Number(text)) ? null : Number(text));
