// Draws a graph on a canvas: edges as curves, solid where they speak for their target and dashed where against it; features
// as discs, errors as diamonds, tokens and ends as squares, closed supernodes as boxes.
import { boxHalf, markScale, toX, toY, type Layout, type View } from './graph_layout';
import type { Item, Link, Scene } from './graph_scene';

export interface Inks {
  paper: string;
  ink: string;
  soft: string;
  faint: string;
  rule: string;
  vein: string;
  accent: string;
  wash: string;
  cold: string;
  serif: string;
  sans: string;
  mono: string;
}

const NAMES = { paper: 'paper', ink: 'ink', soft: 'soft', faint: 'faint', rule: 'rule', vein: 'vein', accent: 'accent', wash: 'accent-soft', cold: 'cold' } as const;

/** The theme as it is at `element`. */
export function inksAt(element: Element): Inks {
  const probe = document.createElement('i');
  element.append(probe);
  const found = Object.fromEntries(
    Object.entries(NAMES).map(([name, property]) => {
      probe.style.color = `var(--${property})`;
      return [name, getComputedStyle(probe).color];
    }),
  );
  const face = (name: string) => {
    probe.style.fontFamily = `var(--${name})`;
    return getComputedStyle(probe).fontFamily;
  };
  const inks = { ...found, serif: face('serif'), sans: face('sans'), mono: face('mono') } as unknown as Inks;
  probe.remove();
  return inks;
}

const DASH = [4, 3];

/** How strong a link is among those of its scene, from 0 to 1. */
const strength = (scene: Scene, link: Link): number => Math.sqrt(Math.abs(link.flow) / (scene.most || 1));

/** The way of an edge. One that rises within a column bows out, to the right if it is positive, so that it is seen beside the nodes that it passes. */
function way(ctx: CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number, positive: boolean): void {
  const rise = (y1 - y0) * 0.46;
  const bow = Math.abs(x1 - x0) < 10 ? (positive ? 1 : -1) * Math.min(30, Math.abs(y1 - y0) * 0.14) : 0;
  ctx.moveTo(x0, y0);
  ctx.bezierCurveTo(x0 + bow, y0 + rise, x1 + bow, y1 - rise, x1, y1);
}

/** Edges that are drawn where none is pointed at, the strongest: of more, the weakest are a mist. */
const MOST = 5000;

/** Links from the `begin`th on, faint, as far as `enough` allows. Returns where it stopped. */
export function paintFaint(
  ctx: OffscreenCanvasRenderingContext2D, scene: Scene, layout: Layout, view: View, inks: Inks, begin: number, enough: () => boolean,
): number {
  ctx.lineCap = 'butt';
  const thick = Math.pow(view.zoom, 0.3);
  let i = Math.max(begin, scene.links.length - MOST);
  for (; i < scene.links.length; i++) {
    if (i % 32 === 0 && i > begin && enough()) break;
    const link = scene.links[i];
    const s = strength(scene, link);
    const positive = link.flow >= 0;
    ctx.globalAlpha = Math.min(0.75, 0.035 + 0.85 * s * s + 0.1 * s);
    ctx.strokeStyle = positive ? inks.soft : inks.cold;
    ctx.lineWidth = Math.max(0.6, 2.2 * s) * thick;
    ctx.setLineDash(positive ? [] : DASH);
    ctx.beginPath();
    way(ctx, toX(view, layout, layout.x[link.source]), toY(view, layout, layout.y[link.source]), toX(view, layout, layout.x[link.target]), toY(view, layout, layout.y[link.target]), positive);
    ctx.stroke();
  }
  ctx.setLineDash([]);
  ctx.globalAlpha = 1;
  return i;
}

/** The links of one item, bright. */
export function paintBright(ctx: CanvasRenderingContext2D, scene: Scene, layout: Layout, view: View, inks: Inks, at: number): void {
  const links = [...scene.into[at], ...scene.from[at]];
  const most = Math.max(...links.map((link) => Math.abs(link.flow)), 1e-12);
  const thick = Math.pow(view.zoom, 0.3);
  for (const link of links.sort((a, b) => Math.abs(a.flow) - Math.abs(b.flow))) {
    const s = Math.sqrt(Math.abs(link.flow) / most);
    const positive = link.flow >= 0;
    ctx.globalAlpha = 0.12 + 0.88 * s;
    ctx.strokeStyle = positive ? inks.accent : inks.cold;
    ctx.lineWidth = (0.6 + 3 * s) * thick;
    ctx.setLineDash(positive ? [] : [6, 4]);
    ctx.beginPath();
    way(ctx, toX(view, layout, layout.x[link.source]), toY(view, layout, layout.y[link.source]), toX(view, layout, layout.x[link.target]), toY(view, layout, layout.y[link.target]), positive);
    ctx.stroke();
  }
  ctx.setLineDash([]);
  ctx.globalAlpha = 1;
}

export interface Marks {
  /** The item that is looked at, and the one that is held; -1 for none. */
  at: number;
  pinned: number;
  /** A supernode whose members are pointed out. */
  group: number;
}

/** Items, those that have nothing to do with the one that is looked at pale. */
export function paintItems(ctx: CanvasRenderingContext2D, scene: Scene, layout: Layout, view: View, inks: Inks, marks: Marks): void {
  const focus = marks.at >= 0 ? marks.at : marks.pinned;
  const near = focus < 0 ? null : new Set([focus, ...scene.into[focus].map((l) => l.source), ...scene.from[focus].map((l) => l.target)]);
  const scale = markScale(view);
  const one = (item: Item, i: number) => {
    const [x, y] = [toX(view, layout, layout.x[i]), toY(view, layout, layout.y[i])];
    if (x < -120 || y < -40 || x > layout.width + 120 || y > layout.height + 40) return;
    const lit = near?.has(i) ?? false;
    const half = item.kind === 'group' ? boxHalf(item, layout) : layout.r[i] * scale;
    ctx.globalAlpha = near && !lit ? 0.28 : 1;
    mark(ctx, item, x, y, half, inks, lit);
    if (i === marks.pinned || i === marks.at || (item.group >= 0 && item.group === marks.group)) ring(ctx, item, x, y, half, inks, i === marks.pinned);
  };
  // Boxes lie over what they may cover.
  scene.items.forEach((item, i) => item.kind !== 'group' && one(item, i));
  scene.items.forEach((item, i) => item.kind === 'group' && one(item, i));
  ctx.globalAlpha = 1;
}

function mark(ctx: CanvasRenderingContext2D, item: Item, x: number, y: number, r: number, inks: Inks, lit: boolean): void {
  ctx.beginPath();
  ctx.lineWidth = 1;
  if (item.kind === 'feature') {
    ctx.arc(x, y, r, 0, 7);
    ctx.fillStyle = lit ? inks.accent : inks.ink;
    ctx.fill();
    ctx.strokeStyle = inks.paper;
    ctx.stroke();
  } else if (item.kind === 'error') {
    const d = r * 1.15;
    ctx.moveTo(x, y - d);
    ctx.lineTo(x + d, y);
    ctx.lineTo(x, y + d);
    ctx.lineTo(x - d, y);
    ctx.closePath();
    ctx.fillStyle = inks.paper;
    ctx.fill();
    ctx.strokeStyle = lit ? inks.accent : inks.soft;
    ctx.lineWidth = 1.2;
    ctx.stroke();
  } else if (item.kind === 'group') {
    ctx.roundRect(x - r, y - 10, 2 * r, 20, 5);
    ctx.fillStyle = inks.paper;
    ctx.fill();
    ctx.fillStyle = inks.wash;
    ctx.fill();
    ctx.strokeStyle = inks.accent;
    ctx.lineWidth = lit ? 1.8 : 1;
    ctx.stroke();
    ctx.fillStyle = inks.ink;
    ctx.font = `500 12px ${inks.sans}`;
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    ctx.fillText(cut(ctx, item.name, 2 * r - 10), x, y + 0.5);
  } else {
    ctx.rect(x - r, y - r, 2 * r, 2 * r);
    ctx.fillStyle = lit ? inks.accent : item.kind === 'end' ? inks.ink : inks.soft;
    ctx.fill();
    ctx.strokeStyle = inks.paper;
    ctx.stroke();
  }
}

function ring(ctx: CanvasRenderingContext2D, item: Item, x: number, y: number, r: number, inks: Inks, thick: boolean): void {
  ctx.globalAlpha = 1;
  ctx.beginPath();
  if (item.kind === 'group') ctx.roundRect(x - r - 3, y - 13, 2 * r + 6, 26, 7);
  else ctx.arc(x, y, r + 4, 0, 7);
  ctx.strokeStyle = inks.accent;
  ctx.lineWidth = thick ? 2.4 : 1.4;
  ctx.stroke();
}

/** As much of a text as has room. */
export function cut(ctx: CanvasRenderingContext2D, text: string, width: number): string {
  if (ctx.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && ctx.measureText(`${text.slice(0, end)}…`).width > width) end--;
  return `${text.slice(0, end)}…`;
}
