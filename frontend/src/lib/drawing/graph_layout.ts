// Where the items of a graph stand: a column for each token, a row for each layer, the prompt below and the ends above.
import type { GraphPage } from '../records/graph';
import type { Item, Scene } from './graph_scene';

export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface Layout {
  width: number;
  height: number;
  /** Where nodes stand; round it are the names of layers and tokens. */
  plot: Box;
  /** Of each item. */
  x: Float32Array;
  y: Float32Array;
  /** Radius. */
  r: Float32Array;
  /** Of each token's column: its middle and its width. */
  columns: { x: number; width: number }[];
  /** Of each layer, with that of the tokens first and that of the ends last. */
  rows: { layer: number; y: number }[];
}

/** Pixels between nodes of one place, where there is room. */
const APART = 15;
/** What each column has in any case, in nodes. */
const AIR = 1.1;
const [SMALLEST, LARGEST] = [2.2, 9];

export function layOut(graph: GraphPage, scene: Scene, width: number, height: number): Layout {
  const narrow = width < 560;
  const plot: Box = { left: narrow ? 26 : 42, right: width - (narrow ? 12 : 22), top: narrow ? 66 : 98, bottom: height - (narrow ? 58 : 66) };
  const last = Math.max(...graph.layers) + 1;
  const levels = [-1, ...graph.layers, last];
  // A little more room between the prompt, the layers and the ends than between layers.
  const step = (plot.bottom - plot.top) / (levels.length - 1 + 1.6);
  const row = (i: number) => plot.bottom - step * (i + (i > 0 ? 0.8 : 0) + (i === levels.length - 1 ? 0.8 : 0));
  const rows = levels.map((layer, i) => ({ layer, y: row(i) }));
  const rowOf = new Map(levels.map((layer, i) => [layer, i]));

  // Every node has its place, also in a supernode that is closed: nothing else moves when it opens.
  const cells = new Map<string, number[]>();
  const { kind, layer, position, influence } = graph.nodes;
  const nodes = scene.items.flatMap((item) => item.nodes).filter((node) => kind[node] !== 'end');
  const crowd = new Array<number>(graph.tokens.length).fill(0);
  for (const node of nodes) {
    const place = `${layer[node]},${position[node]}`;
    const cell = cells.get(place) ?? cells.set(place, []).get(place)!;
    crowd[position[node]] = Math.max(crowd[position[node]], cell.push(node));
  }
  const wanted = crowd.map((n) => Math.max(n, 1) + AIR);
  const all = wanted.reduce((sum, n) => sum + n, 0);
  const unit = (plot.right - plot.left) / all;
  let at = plot.left;
  const columns = wanted.map((n) => {
    const width = n * unit;
    at += width;
    return { x: at - width / 2, width };
  });

  const placeX = new Float32Array(kind.length);
  const placeY = new Float32Array(kind.length);
  for (const cell of cells.values()) {
    cell.sort((a, b) => influence[b] - influence[a]);
    const column = columns[position[cell[0]]];
    const apart = Math.min(APART, (column.width - unit * AIR * 0.5) / cell.length);
    cell.forEach((node, i) => {
      // The strongest in the middle, the others to its right and left in turn.
      placeX[node] = column.x + (i % 2 ? 1 : -1) * Math.ceil(i / 2) * apart + (cell.length % 2 ? 0 : -apart / 2);
      placeY[node] = rows[rowOf.get(layer[node])!].y;
    });
  }
  const first = kind.length - graph.ends.length;
  const room = Math.min(narrow ? 26 : 54, (plot.right - plot.left) / graph.ends.length);
  // What they are called leans to the right of them.
  const middle = Math.min(columns[columns.length - 1].x, plot.right - (narrow ? 30 : 56) - (room * (graph.ends.length - 1)) / 2);
  graph.ends.forEach((_, i) => {
    placeX[first + i] = middle + room * (i - (graph.ends.length - 1) / 2);
    placeY[first + i] = rows[rows.length - 1].y;
  });

  const n = scene.items.length;
  const layout: Layout = { width, height, plot, columns, rows, x: new Float32Array(n), y: new Float32Array(n), r: new Float32Array(n) };
  const most = Math.max(1e-9, ...scene.items.map((item) => (item.kind === 'feature' || item.kind === 'error' ? item.influence : 0)));
  const tight = Math.max(0.55, Math.min(1, step / 17, unit / 9));
  scene.items.forEach((item, i) => {
    let weight = 0;
    for (const node of item.nodes) {
      const own = influence[node] + 1e-9;
      layout.x[i] += placeX[node] * own;
      layout.y[i] += placeY[node] * own;
      weight += own;
    }
    layout.x[i] /= weight;
    layout.y[i] /= weight;
    const half = item.kind === 'group' ? boxHalf(item, layout) + 4 : 0;
    if (half) layout.x[i] = Math.max(plot.left + half, Math.min(width - half, layout.x[i]));
    const size = item.kind === 'token' ? 4.4 : item.kind === 'end' ? 5.5 : SMALLEST + (LARGEST - SMALLEST) * Math.sqrt(Math.min(1, item.influence / most));
    layout.r[i] = item.kind === 'group' ? 10 : size * (item.kind === 'end' ? 1 : tight);
  });
  return layout;
}

/** Where one looks: what of the layout lies in the middle, and how many times larger. */
export interface View {
  x: number;
  y: number;
  zoom: number;
}

export const wholeOf = (width: number, height: number): View => ({ x: width / 2, y: height / 2, zoom: 1 });

/** From the layout to the screen. */
export const toX = (view: View, layout: Layout, x: number): number => (x - view.x) * view.zoom + layout.width / 2;
export const toY = (view: View, layout: Layout, y: number): number => (y - view.y) * view.zoom + layout.height / 2;

/** How much larger marks are drawn: less than the picture, so that zooming parts them. */
export const markScale = (view: View): number => Math.pow(view.zoom, 0.45);

/** Half the width of a closed supernode's box: of its name, as far as there is room. */
export const boxHalf = (item: Item, layout: Layout): number => Math.min(layout.width < 560 ? 40 : 84, 9 + item.name.length * 3.1);

/** The item under a point of the screen, -1 if there is none within `reach` pixels of its mark. */
export function itemAt(scene: Scene, layout: Layout, view: View, px: number, py: number, reach: number): number {
  let best = -1;
  let least = reach;
  const scale = markScale(view);
  for (let i = 0; i < scene.items.length; i++) {
    const [dx, dy] = [toX(view, layout, layout.x[i]) - px, toY(view, layout, layout.y[i]) - py];
    const wide = scene.items[i].kind === 'group' ? Math.max(0, Math.abs(dx) - boxHalf(scene.items[i], layout)) : Math.abs(dx);
    const away = Math.hypot(wide, dy) - layout.r[i] * scale;
    if (away < least) [best, least] = [i, away];
  }
  return best;
}

const CLOSEST = 24;

/** The view that is nearest to `view` and shows something. */
export function within(layout: Layout, view: View): View {
  const zoom = Math.max(1, Math.min(CLOSEST, view.zoom));
  const [halfX, halfY] = [layout.width / 2 / zoom, layout.height / 2 / zoom];
  const clamp = (v: number, half: number, size: number) => Math.max(half * 0.6, Math.min(size - half * 0.6, v));
  return { x: clamp(view.x, halfX, layout.width), y: clamp(view.y, halfY, layout.height), zoom };
}
