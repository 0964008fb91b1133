// The records of physalis.comparing.records and physalis.web.comparison.records, field by field. tests/web/comparison/test_comparing_page.py
// compares the two.
import type { Estimate, Histogram } from './atlas';

export type Fate = 'shared' | 'split' | 'merged' | 'unique' | 'silent';

export interface Chance {
  rate: number;
  threshold: number | null;
  n_drawn: number;
  typical: number;
  highest: number;
}

/** The same share where nothing can be shared. */
export interface Baseline {
  name: string;
  share: Estimate;
}

/** Share of the narrower dictionary's features whose match scores more than that. */
export interface Level {
  score: number;
  share: Estimate;
  baselines: Baseline[];
}

export interface Matched {
  method: string;
  chance: Chance;
  share_a: Estimate;
  share_b: Estimate;
  baselines: Baseline[];
  levels: Level[];
  scores: Histogram;
  by_chance: Histogram;
}

export interface Side {
  name: string;
  architecture: string;
  n_features: number;
  k: number;
  seed: number | null;
  n_trained: number | null;
  hash: string;
  fates: Record<string, Estimate>;
  split_by_chance: Estimate | null;
  split_threshold: Chance | null;
  n_silent: number | null;
  fvu: Estimate | null;
  l0: Estimate | null;
  density: Histogram | null;
  lengths: Histogram;
  to_mean: Histogram;
  mean_length: number;
}

/** Two dictionaries side by side. */
export interface Summary {
  model: string | null;
  site: string | null;
  a: Side;
  b: Side;
  directions: Matched;
  codes: Matched | null;
  agreement: Estimate | null;
  in_place: Estimate | null;
  fvu_difference: Estimate | null;
  l0_difference: Estimate | null;
  n_tokens: number;
  n_held_out: number;
  provenance: Record<string, string>;
}

export interface Member {
  feature: number;
  purity: number;
  coverage: number;
  cosine: number;
}

/** One feature of `side`, and the several of the other dictionary that cover its firings. */
export interface Group {
  side: 'a' | 'b';
  feature: number;
  members: Member[];
  coverage: number;
  purity: number;
  alone: number;
}

export interface Compared {
  id: number;
  fate: Fate;
  n_fired: number | null;
  partner: number | null;
  cosine: number | null;
  correlation: number | null;
  p_value: number | null;
  found: boolean;
  by_code: number | null;
  by_code_correlation: number | null;
  found_by_code: boolean;
  group: number | null;
}

export interface ComparedList {
  total: number;
  offset: number;
  rows: Compared[];
}

/** Pairs that were found by direction, one entry a pair. */
export interface Pairs {
  a: number[];
  b: number[];
  fired_a: number[];
  fired_b: number[];
  cosine: number[];
}

/** A feature of one of a row of dictionaries, and its parent in the one before. */
export interface Node {
  level: number;
  feature: number;
  n_fired: number;
  parent: number | null;
  fires: number | null;
  share: number | null;
  cosine: number | null;
  n_children: number;
  heir: boolean;
  absorbed: number | null;
}

export interface Tree {
  root: Node;
  nodes: Node[];
  split_sizes: number[];
}

/** The parent first; descendants breadth first. */
export interface Family {
  node: Node;
  ancestors: Node[];
  siblings: Node[];
  descendants: Node[];
}

export interface Width {
  name: string;
  architecture: string;
  n_features: number;
  hash: string;
  n_firing: number;
}

/** From a dictionary to the next wider one. */
export interface Step {
  chance: Chance;
  least: number;
  with_parent: Estimate;
  by_chance: Estimate;
  split_sizes: number[];
  absorbed: Estimate | null;
}

export interface ForestSummary {
  model: string | null;
  site: string | null;
  widths: Width[];
  steps: Step[];
  n_tokens: number;
  provenance: Record<string, string>;
}

/** What an atlas says of a feature. */
export interface Known {
  headline: string;
  snippet: string[];
  snippet_codes: number[];
  max_code: number;
}

export interface ComparedRow {
  feature: Compared;
  known: Known | null;
  partner: Compared | null;
  partner_known: Known | null;
}

export interface ComparedRows {
  total: number;
  offset: number;
  rows: ComparedRow[];
}

export interface GroupRow {
  group: Group;
  known: Known | null;
  members: (Known | null)[];
}

export interface GroupRows {
  total: number;
  offset: number;
  rows: GroupRow[];
}

export interface TreeRow {
  root: Node;
  split_sizes: number[];
  known: Known | null;
}

export interface TreeRows {
  total: number;
  offset: number;
  rows: TreeRow[];
}

/** A feature's place in the tree; `known` has one entry a width, by the feature's number. */
export interface Kin {
  family: Family;
  widths: Width[];
  n_tokens: number;
  known: Record<string, Known>[];
}

/** What the list of a comparison's features is asked. */
export interface Asked {
  side: 'a' | 'b';
  fate: Fate | null;
  sort: 'id' | 'n_fired' | 'cosine' | 'correlation' | 'by_code_correlation' | 'p_value';
  descending: boolean;
  offset: number;
  limit: number;
}

export const FATES: Fate[] = ['shared', 'split', 'merged', 'unique', 'silent'];

export const MEANS: Record<Fate, string> = {
  shared: 'has a match in the other dictionary, nearer than chance',
  split: 'one feature here, several in the other dictionary',
  merged: 'one of several here that are one feature in the other dictionary',
  unique: 'none of these: only in this dictionary',
  silent: 'fires on none of the tokens that were read',
};

export const FIRST: Asked = { side: 'a', fate: null, sort: 'id', descending: false, offset: 0, limit: 25 };

/** "" for the list as it opens, else "?side=b&fate=split". */
export function askedQuery(asked: Asked): string {
  const said = Object.entries(asked).filter(([name, value]) => value !== null && value !== FIRST[name as keyof Asked]);
  return said.length ? `?${new URLSearchParams(said.map(([name, value]) => [name, String(value)]))}` : '';
}

export function readAsked(query: string): Asked {
  const given = new URLSearchParams(query);
  const whole = (name: 'offset' | 'limit') => Math.max(0, Math.floor(Number(given.get(name) ?? FIRST[name])) || FIRST[name]);
  const sorts: Asked['sort'][] = ['id', 'n_fired', 'cosine', 'correlation', 'by_code_correlation', 'p_value'];
  return {
    side: given.get('side') === 'b' ? 'b' : 'a',
    fate: FATES.find((f) => f === given.get('fate')) ?? null,
    sort: sorts.find((s) => s === given.get('sort')) ?? 'id',
    descending: given.get('descending') === 'true',
    offset: whole('offset'),
    limit: whole('limit'),
  };
}

/** Half at least of the parent's firing is gone: what physalis.comparing.growing counts as absorbed. */
export const ABSORBED = 0.5;
