// What is drawn of a graph: its strongest nodes, supernodes that are closed in place of their members, and what goes from
// one to the other. Pure functions of the record.
import type { GraphPage, NodeKind } from '../records/graph';
import { pieces } from '../text/tokens';

/** A node, or a supernode that is closed. */
export interface Item {
  key: string;
  kind: NodeKind | 'group';
  /** Which nodes of the record. */
  nodes: number[];
  layer: number;
  position: number;
  influence: number;
  /** In a word or two; of a feature that no atlas knows, its number. */
  name: string;
  /** The supernode that a node is of, or that this is; -1 without one. */
  group: number;
}

/** `flow`: the share of influence on the ends that goes along an edge, negative where it speaks against its target. */
export interface Link {
  source: number;
  target: number;
  flow: number;
}

export interface Scene {
  items: Item[];
  /** The weakest first: the others are drawn over it. */
  links: Link[];
  /** Of each item, its links, the strongest first. */
  into: Link[][];
  from: Link[][];
  /** The largest flow. */
  most: number;
}

/** Nodes that a reader chooses among: tokens and ends are always there. */
export const choosable = (graph: GraphPage): number[] =>
  graph.nodes.kind.flatMap((kind, i) => (kind === 'feature' || kind === 'error' ? [i] : [])).sort((a, b) => graph.nodes.influence[b] - graph.nodes.influence[a]);

export const keyOf = (graph: GraphPage, node: number): string => {
  const { kind, layer, position, feature } = graph.nodes;
  if (kind[node] === 'feature') return `L${layer[node]}.${feature[node]}.${position[node]}`;
  if (kind[node] === 'error') return `E${layer[node]}.${position[node]}`;
  return kind[node] === 'token' ? `T${position[node]}` : `Y${node - graph.nodes.kind.length + graph.ends.length}`;
};

/** A token as it stands in a line: white space is seen only where there is nothing else. */
export const shown = (token: string): string => pieces(token).map((part) => part.text).join('').trim();

function nameOf(graph: GraphPage, node: number): string {
  const { kind, name, feature, position } = graph.nodes;
  if (kind[node] === 'feature') return name[node] || `${graph.basis === 'neurons' ? 'neuron ' : '#'}${feature[node]}`;
  if (kind[node] === 'error') return 'error';
  if (kind[node] === 'token') return shown(graph.tokens[position[node]]);
  return shown(graph.ends[node - graph.nodes.kind.length + graph.ends.length].name);
}

/** With `most` of the nodes that can be chosen, and the supernodes in `open` taken apart. */
export function sceneOf(graph: GraphPage, order: number[], most: number, open: Set<number>): Scene {
  const { kind, layer, position, influence, enters } = graph.nodes;
  const inSight = new Set(order.slice(0, most));
  const groupOf = new Map<number, number>();
  graph.supernodes.forEach((group, g) => group.members.forEach((node) => groupOf.set(node, g)));
  const items: Item[] = [];
  const itemOf = new Map<number, number>();
  const closed = new Map<number, Item>();
  for (let node = 0; node < kind.length; node++) {
    if ((kind[node] === 'feature' || kind[node] === 'error') && !inSight.has(node)) continue;
    const group = groupOf.get(node) ?? -1;
    const held = closed.get(group);
    if (held) {
      held.nodes.push(node);
      held.influence += influence[node];
      itemOf.set(node, items.indexOf(held));
      continue;
    }
    const item: Item =
      group >= 0 && !open.has(group)
        ? { key: `S${group}`, kind: 'group', nodes: [node], layer: layer[node], position: position[node], influence: influence[node], name: graph.supernodes[group].name, group }
        : { key: keyOf(graph, node), kind: kind[node], nodes: [node], layer: layer[node], position: position[node], influence: influence[node], name: nameOf(graph, node), group };
    itemOf.set(node, items.push(item) - 1);
    if (item.kind === 'group') closed.set(group, item);
  }
  const sums = new Map<number, number>();
  const { source, target, weight } = graph.edges;
  for (let e = 0; e < weight.length; e++) {
    const from = itemOf.get(source[e]);
    const to = itemOf.get(target[e]);
    if (from === undefined || to === undefined || from === to) continue;
    const at = from * items.length + to;
    const flow = (weight[e] / (enters[target[e]] || 1)) * influence[target[e]];
    sums.set(at, (sums.get(at) ?? 0) + flow);
  }
  const links = [...sums].map(([at, flow]): Link => ({ source: Math.floor(at / items.length), target: at % items.length, flow }));
  links.sort((a, b) => Math.abs(a.flow) - Math.abs(b.flow));
  const into: Link[][] = items.map(() => []);
  const from: Link[][] = items.map(() => []);
  for (let i = links.length - 1; i >= 0; i--) {
    into[links[i].target].push(links[i]);
    from[links[i].source].push(links[i]);
  }
  return { items, links, into, from, most: links.length ? Math.abs(links[links.length - 1].flow) : 0 };
}
