// A graph in words.
import type { GraphPage, Verdict } from '../records/graph';
import { shown, type Item } from '../drawing/graph_scene';
import { fraction, number, percent } from './format';

/** A probability, or a share of what the model gives: "< .001" where three digits say nothing. */
export const share = (value: number): string => (value > 0 && value < 0.0005 ? '<\u2009.001' : fraction(value));

/** What was traced first. */
export const answer = (graph: GraphPage): string => shown(graph.ends[0].name);

/** What a graph is a graph of. */
export const title = (graph: GraphPage): string => (graph.ends[0].token === null ? `What makes ${answer(graph)}` : `What makes “${answer(graph)}” likely`);

export type Standing = 'survives' | 'nothing to prove' | 'not established';

/** As `physalis trace` says it. */
export function standing(verdict: Verdict): Standing {
  if (verdict.survives) return 'survives';
  return verdict.none_kept > 0.5 * verdict.answer ? 'nothing to prove' : 'not established';
}

export const HEADINGS: Record<Standing, string> = {
  survives: 'It survives its trial',
  'nothing to prove': 'It has nothing to prove',
  'not established': 'It is not established',
};

export const MEANS: Record<Standing, string> = {
  survives: 'What was left out cannot undo the answer: even at the worst, half of what features do is left.',
  'nothing to prove': 'Errors and biases say nearly as much without any feature, so nothing is shown by these nodes.',
  'not established': 'What was left out can undo the answer. So it is not shown that the model answers by these nodes: read the picture as a conjecture.',
};

const at = (graph: GraphPage, position: number) => `“${shown(graph.tokens[position])}”`;

/** Where an item stands. */
export function place(graph: GraphPage, item: Item): string {
  if (item.kind === 'token') return `token ${item.position}`;
  if (item.kind === 'end') return 'what is predicted';
  if (item.kind === 'group') return `${item.nodes.length} features together`;
  return `layer ${item.layer} at ${at(graph, item.position)}`;
}

/** What its features are. */
export const one = (graph: GraphPage): string => (graph.basis === 'neurons' ? 'Neuron' : graph.basis === 'cross-layer features' ? 'Cross-layer feature' : 'Feature');

/** An item in one line. */
export function inWords(graph: GraphPage, item: Item): string {
  const own = percent(item.influence);
  if (item.kind === 'end') {
    const end = graph.ends[item.nodes[0] - graph.nodes.kind.length + graph.ends.length];
    return end.token === null ? item.name : `${item.name}, predicted with probability ${share(end.probability)}`;
  }
  if (item.kind === 'token') return `token ${at(graph, item.position)}, ${own} of influence`;
  const what = item.kind === 'error' ? 'Error: what the transcoder misses,' : item.kind === 'group' ? `Supernode ${item.name},` : `${one(graph)} ${item.name},`;
  const value = item.kind === 'feature' ? graph.nodes.value[item.nodes[0]] : null;
  return `${what} ${place(graph, item)}${value === null ? '' : `, activation ${number(value)}`}, ${own} of influence`;
}
