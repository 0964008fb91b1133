// The records of physalis.web.graphs, field by field. tests/web/graphs/test_graph_page.py compares the two.
import type { Example, RuleInShort, TokenEffect } from './atlas';

export type NodeKind = 'feature' | 'error' | 'token' | 'end';

/** What came of a graph's trial on its model. */
export interface Verdict {
  sources: number;
  edge_r: number | null;
  path_r: number | null;
  end_r: number | null;
  answer: number;
  kept_only: number;
  stochastic: number;
  adversarial: number;
  none_kept: number;
  dropped: number;
  kept: number;
  beats_the_model: boolean;
  survives: boolean;
}

export interface Scores {
  replacement: number;
  completeness: number;
}

export interface End {
  name: string;
  token: number | null;
  probability: number;
  weight: number;
}

/** One entry a node in each. */
export interface Nodes {
  kind: NodeKind[];
  layer: number[];
  position: number[];
  feature: number[];
  value: (number | null)[];
  influence: number[];
  enters: number[];
  left_out: number[];
  name: string[];
}

/** One entry an edge in each, the most influential first. */
export interface Edges {
  source: number[];
  target: number[];
  weight: number[];
}

export interface Supernode {
  name: string;
  members: number[];
}

export interface GraphPage {
  model: string;
  prompt: string;
  basis: string;
  tokens: string[];
  layers: number[];
  ends: End[];
  verdict: Verdict;
  scores: Scores;
  n_active: number;
  n_nodes: number;
  n_edges: number;
  nodes: Nodes;
  edges: Edges;
  supernodes: Supernode[];
  method: string;
  lack: string;
}

/** What an atlas says of a node's feature. */
export interface NodeFeature {
  headline: string;
  rule: RuleInShort | null;
  density: number;
  max_code: number;
  promoted: TokenEffect[];
  examples: Example[];
  page: string;
}
