// The words on a graph: layers at its left, the prompt below, the ends above, and names beside nodes that are looked at.
import type { GraphPage } from '../records/graph';
import { markScale, toX, toY, type Layout, type View } from './graph_layout';
import { cut, type Inks, type Marks } from './graph_paint';
import { shown, type Scene } from './graph_scene';

/** Rows and columns as hairlines, under all else. */
export function paintGround(ctx: CanvasRenderingContext2D, layout: Layout, view: View, inks: Inks): void {
  ctx.strokeStyle = inks.rule;
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (const { layer, y } of layout.rows) {
    if (layer >= 0 && layer % 5) continue;
    const at = Math.round(toY(view, layout, y)) + 0.5;
    ctx.moveTo(toX(view, layout, layout.plot.left), at);
    ctx.lineTo(toX(view, layout, layout.plot.right), at);
  }
  ctx.stroke();
}

/** What stays at the edges while the picture is moved under it. */
export function paintEdgesOfPicture(ctx: CanvasRenderingContext2D, graph: GraphPage, layout: Layout, view: View, inks: Inks, probability: (p: number) => string): void {
  const { plot, width, height } = layout;
  ctx.fillStyle = inks.paper;
  ctx.fillRect(0, 0, plot.left - 12, height);
  ctx.fillRect(0, plot.bottom + 10, width, height - plot.bottom);
  layers(ctx, layout, view, inks);
  tokens(ctx, graph, layout, view, inks);
  ends(ctx, graph, layout, view, inks, probability);
}

function layers(ctx: CanvasRenderingContext2D, layout: Layout, view: View, inks: Inks): void {
  const { plot } = layout;
  const inner = layout.rows.filter(({ layer }, i) => layer >= 0 && i < layout.rows.length - 1);
  const apart = inner.length > 1 ? Math.abs(inner[1].y - inner[0].y) * view.zoom : 99;
  const every = apart > 13 ? 1 : apart > 6.5 ? 2 : 5;
  ctx.font = `400 11px ${inks.sans}`;
  ctx.textAlign = 'right';
  ctx.textBaseline = 'middle';
  ctx.fillStyle = inks.soft;
  for (const { layer, y } of inner) {
    const at = toY(view, layout, y);
    if (layer % every || at < 14 || at > plot.bottom + 4) continue;
    ctx.fillText(String(layer), plot.left - 16, at);
  }
}

function tokens(ctx: CanvasRenderingContext2D, graph: GraphPage, layout: Layout, view: View, inks: Inks): void {
  const { plot, width } = layout;
  ctx.font = `400 ${width < 560 ? 11 : 12.5}px ${inks.mono}`;
  ctx.fillStyle = inks.ink;
  ctx.textBaseline = 'middle';
  const texts = graph.tokens.map(shown);
  // All lie flat, or all lean: a prompt is read in one line.
  const lean = texts.some((text, i) => ctx.measureText(text).width > layout.columns[i].width * view.zoom - 6);
  let taken = -99;
  texts.forEach((text, i) => {
    const x = toX(view, layout, layout.columns[i].x);
    if (x < plot.left - 8 || x > width + 20 || (lean && x - taken < 11)) return;
    taken = x;
    ctx.save();
    ctx.translate(x, plot.bottom + 22);
    ctx.textAlign = lean ? 'right' : 'center';
    if (lean) ctx.rotate(-Math.PI / 4);
    ctx.fillText(cut(ctx, text, lean ? 58 : 999), lean ? 4 : 0, lean ? -4 : 0);
    ctx.restore();
  });
}

function ends(ctx: CanvasRenderingContext2D, graph: GraphPage, layout: Layout, view: View, inks: Inks, probability: (p: number) => string): void {
  const first = layout.rows[layout.rows.length - 1].y;
  const y = toY(view, layout, first) - 11 * markScale(view);
  const n = graph.ends.length;
  const narrow = layout.width < 560;
  for (let i = 0; i < n; i++) {
    const end = graph.ends[i];
    const x = endX(graph, layout, view, i);
    if (x < layout.plot.left - 10 || y < 4) continue;
    ctx.save();
    ctx.translate(x, y);
    ctx.rotate(-Math.PI / 4);
    ctx.textAlign = 'left';
    ctx.textBaseline = 'middle';
    ctx.font = `${i ? 400 : 600} ${narrow ? 11 : 12.5}px ${inks.mono}`;
    ctx.fillStyle = inks.ink;
    const text = cut(ctx, shown(end.name), narrow ? 62 : 74);
    ctx.fillText(text, 4, -1);
    if (end.token !== null && !narrow) {
      const wide = ctx.measureText(text).width;
      ctx.font = `400 11.5px ${inks.sans}`;
      ctx.fillStyle = inks.soft;
      ctx.fillText(probability(end.probability), 9 + wide, -1);
    }
    ctx.restore();
  }
}

const endX = (graph: GraphPage, layout: Layout, view: View, i: number): number => toX(view, layout, layout.x[layout.x.length - graph.ends.length + i]);

/** Neighbours of a node whose names are tried, on each side. */
const NEAR = 16;
/** Marks that names avoid, and names that are tried, at most. */
const [CROWD, NAMED] = [800, 160];

/** Names beside the item that is looked at and its strongest neighbours, and beside the strongest of all where there is room: none lies over another. */
export function paintNames(ctx: CanvasRenderingContext2D, scene: Scene, layout: Layout, view: View, inks: Inks, marks: Marks): void {
  const focus = marks.at >= 0 ? marks.at : marks.pinned;
  const order: number[] = [];
  if (focus >= 0) {
    order.push(focus);
    const near = [...scene.into[focus].slice(0, NEAR), ...scene.from[focus].slice(0, NEAR)];
    for (const link of near) order.push(link.source === focus ? link.target : link.source);
  } else if (view.zoom > 2.2) {
    order.push(...scene.items.keys());
    order.sort((a, b) => scene.items[b].influence - scene.items[a].influence);
  }
  const scale = markScale(view);
  const taken: [number, number, number, number][] = [];
  // Nor over marks of those that are looked at.
  for (const i of order.slice(0, CROWD)) {
    const [x, y, r] = [toX(view, layout, layout.x[i]), toY(view, layout, layout.y[i]), layout.r[i] * scale];
    taken.push([x - r, y - r, x + r, y + r]);
  }
  ctx.font = `500 12.5px ${inks.sans}`;
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'left';
  ctx.lineJoin = 'round';
  for (const i of order.slice(0, NAMED)) {
    const item = scene.items[i];
    if (item.kind !== 'feature' && i !== focus) continue;
    if (item.kind === 'group' || item.kind === 'end' || item.kind === 'token') continue; // their names are there
    const [x, y] = [toX(view, layout, layout.x[i]), toY(view, layout, layout.y[i])];
    if (x < layout.plot.left || x > layout.width || y < 8 || y > layout.plot.bottom) continue;
    const text = cut(ctx, item.name, 150);
    const wide = ctx.measureText(text).width;
    const beside = layout.r[i] * scale + 5;
    const left = x + beside + wide > layout.width - 4 ? x - beside - wide : x + beside;
    const box: [number, number, number, number] = [left - 2, y - 8, left + wide + 2, y + 8];
    if (i !== focus && taken.some((t) => box[0] < t[2] && box[2] > t[0] && box[1] < t[3] && box[3] > t[1])) continue;
    taken.push(box);
    ctx.lineWidth = 3.5;
    ctx.strokeStyle = inks.paper;
    ctx.strokeText(text, left, y);
    ctx.fillStyle = i === focus ? inks.accent : inks.ink;
    ctx.fillText(text, left, y);
  }
}
