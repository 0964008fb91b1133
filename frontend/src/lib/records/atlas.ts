// The records of physalis.atlas.records, field by field. tests/web/server/test_web.py compares the two.

/** A measured number with its 95 % interval; no ends where there were too few documents for one. */
export interface Estimate {
  value: number;
  low: number | null;
  high: number | null;
}

/** A window of text around one firing: `codes[i]` is the feature's code at `tokens[i]`, `position` its peak. */
export interface Example {
  document: number;
  position: number;
  tokens: string[];
  codes: number[];
}

/** Examples whose peak code lies in (low, high], and the share this interval has of all firings and of all code. */
export interface ExampleGroup {
  name: string;
  low: number;
  high: number;
  share_of_firings: number;
  share_of_code: number;
  examples: Example[];
}

/** `counts[i]` values in [edges[i], edges[i + 1]). */
export interface Histogram {
  edges: number[];
  counts: number[];
}

export interface TokenEffect {
  token: string;
  id: number;
  logit: number;
}

export interface TokenCount {
  token: string;
  id: number;
  count: number;
  share_of_code: number;
}

export interface Neighbour {
  id: number;
  value: number;
  headline: string;
}

export interface RuleInShort {
  rule: string;
  f1: number;
  size: number;
  judged: boolean;
}

export interface FeatureRow {
  id: number;
  headline: string;
  named_by: 'tokens' | 'rule' | 'words' | 'label';
  rule: RuleInShort | null;
  density: number;
  n_fired: number;
  max_code: number;
  mean_code: number;
  token_entropy: number;
  logit_kurtosis: number;
  nearest_cosine: number;
  x: number;
  y: number;
  region: number;
  snippet: string[];
  snippet_codes: number[];
}

/** A token's mean probability where the feature fires: as it is, without the feature, without a random direction. */
export interface TokenShift {
  token: string;
  id: number;
  before: number;
  after: number;
  random: number;
}

/** `groups[group].examples[example]`: `changes[i]` nats more are lost on the token `position + 1 + i` without the feature,
    `random[i]` without as much of a random direction. */
export interface AblatedExample {
  group: number;
  example: number;
  code: number;
  changes: number[];
  random: number[];
}

/** What removing the feature does to the loss, in nats a token, and to the tokens predicted where it fires. */
export interface Ablation {
  change: Estimate;
  random: Estimate;
  beyond_random: Estimate;
  promoted: Estimate | null;
  fell: TokenShift[];
  rose: TokenShift[];
  examples: AblatedExample[];
}

/** The share of the code at the peak that goes when the token at `position` is another one. */
export interface TokenOcclusion {
  position: number;
  share: number;
  low: number;
  high: number;
}

/** Which tokens the code at the peak of `groups[group].examples[example]` depends on. */
export interface LeaveOneOut {
  group: number;
  example: number;
  code: number;
  replacements: number;
  needs: TokenOcclusion[];
}

/** What was found by editing the model or its text. */
export interface Causes {
  ablation: Ablation;
  leave_one_out: LeaveOneOut[];
}

/** How much a panel is worth: "causal", "tested", "correlational", or null where there is nothing to judge. */
export interface Evidence {
  panel: string;
  level: string | null;
  why: string;
}

export interface Feature extends FeatureRow {
  tokens: string;
  histogram: Histogram;
  groups: ExampleGroup[];
  top_tokens: TokenCount[];
  promoted: TokenEffect[];
  suppressed: TokenEffect[];
  logit_histogram: Histogram;
  nearest: Neighbour[];
  cofiring: Neighbour[];
  causes: Causes | null;
  unmeasured: string;
  worth: Evidence[];
}

export interface FeatureList {
  total: number;
  offset: number;
  rows: FeatureRow[];
}

/** Every living feature's place, as columns; `regions[r]` names region r. */
export interface Map {
  ids: number[];
  x: number[];
  y: number[];
  region: number[];
  density: number[];
  headline: string[];
  regions: string[];
}

export interface Baseline {
  name: string;
  metrics: Record<string, Estimate>;
}

export interface Summary {
  name: string;
  model: string;
  site: string;
  architecture: string;
  n_features: number;
  k: number;
  d_in: number;
  n_tokens: number;
  n_trained: number | null;
  text: string;
  metrics: Record<string, Estimate>;
  held_out: boolean;
  counted_on: 'held out' | 'training' | 'all' | '';
  baselines: Baseline[];
  left_out: Record<string, number>;
  density_histogram: Histogram;
  n_dead: number;
  striking: number[];
  provenance: Record<string, string>;
  document_shape: number[] | null;
}

/** Of physalis.web.atlas.histograms: a metric that lists sort and filter by, and how its values are spread over the features. */
export interface Metric {
  name: string;
  description: string;
  log: boolean;
  histogram: Histogram;
}
