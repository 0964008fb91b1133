// What rules say of features: physalis.web.atlas.rules.
import type { Estimate, Histogram } from './atlas';

export interface RuleOf {
  feature: number;
  clauses: { leaves: string[]; in_words: string[]; level: number }[];
  in_words: string;
  size: number;
  f1: Estimate;
  f1_strong: Estimate;
  f1_token: number;
  precision: number | null;
  recall: number | null;
  n_held_out: number;
  mean_f1: number | null;
}

/** physalis.explanations.queue: how many features are explained of how many. */
export interface Progress {
  state: 'preparing' | 'explaining' | 'finished' | 'stopped';
  done: number;
  total: number;
}

export interface Queued {
  feature: number;
  place: number | null;
  progress: Progress;
}

export interface RuleRow {
  id: number;
  headline: string;
  rule: string;
  size: number;
  f1: number;
  f1_strong: number;
  f1_token: number;
  n_held_out: number;
}

export interface RuleList {
  rows: RuleRow[];
  total: number;
  offset: number;
  mean: { f1: Estimate; f1_strong: Estimate; f1_token: Estimate; at_least_80: number; size: number; features: number } | null;
  progress: Progress | null;
  spread: Histogram;
}

export interface RuleQuestion {
  query: string;
  sort: string;
  descending: boolean;
  offset: number;
}

/** "?query=import&sort=gain": only what differs from asking for everything. */
export function toQuery(asked: RuleQuestion): string {
  const out = new URLSearchParams();
  if (asked.query) out.set('query', asked.query);
  if (asked.sort !== 'f1') out.set('sort', asked.sort);
  if (!asked.descending) out.set('descending', 'false');
  if (asked.offset) out.set('offset', String(asked.offset));
  const text = out.toString();
  return text && `?${text}`;
}

export function fromQuery(search: string): RuleQuestion {
  const given = new URLSearchParams(search);
  return {
    query: given.get('query') ?? '',
    sort: given.get('sort') ?? 'f1',
    descending: given.get('descending') !== 'false',
    offset: Number(given.get('offset') ?? 0) || 0,
  };
}

/** A kind or a place is named, and is no text that stands in the examples. */
const NAMED = /^(?:not )?(?:kind|place) /;

/** A leaf in parts: words of the language, and the text that stands between quotation marks. `said` is it in other words. */
export function parts(leaf: string, said = leaf): { text: string; quoted: boolean }[] {
  if (said !== leaf && NAMED.test(leaf)) return [{ text: said.replace(/"((?:[^"\\]|\\.)*)"/, '$1'), quoted: false }];
  return said
    .split(/("(?:[^"\\]|\\.)*")/)
    .filter(Boolean)
    .map((part) => (part.startsWith('"') ? { text: JSON.parse(part) as string, quoted: true } : { text: part, quoted: false }));
}

/** Tokens of examples: surely[group][example] are places in its tokens. physalis.web.atlas.holding. */
export interface Lit {
  surely: number[][][];
  /** Where it depends on text before the example. */
  perhaps: number[][][];
}

export interface LitClause {
  decides: Lit;
  leaves: Lit[];
}

export interface RuleHolds {
  feature: number;
  clauses: LitClause[];
}

/** physalis.web.atlas.explained */
export interface WordsOf {
  words: string;
  model: string;
  side: 'input' | 'output';
}

export interface ScoreRow {
  task: string;
  metric: string;
  corpus: string;
  value: Estimate;
  token: number | null;
  swapped: number | null;
  oracle: number | null;
  chance: number | null;
  noise: number | null;
}

export interface ScoreTable {
  of: 'rules' | 'words';
  judge: string;
  n_features: number;
  among: boolean;
  rows: ScoreRow[];
}

export interface ExplainedFeature {
  words: WordsOf | null;
  scores: ScoreTable[];
}
