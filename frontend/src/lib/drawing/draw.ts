// Draws a map on a canvas.
import { HUES, type Cell, type Frame, type Point } from './geometry';
import type { Map as Atlas } from '../records/atlas';

export type Colouring = 'region' | 'density';

export interface Colours {
  ink: string;
  paper: string;
  vein: string;
  faint: string;
  accent: string;
  heat: string;
  regions: string[];
  densities: string[];
}

export interface Scene {
  map: Atlas;
  cells: Cell[];
  colouring: Colouring;
  /** Features that a search found, best first: the others fade. */
  found: Set<number> | null;
  /** Region that is pointed at, or -1. */
  region: number;
  labels: boolean;
}

/** The theme's colours as they are at `element`, in a form that a canvas takes. */
export function coloursAt(element: Element): Colours {
  const probe = document.createElement('i');
  element.append(probe);
  const of = (name: string) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const colours = {
    ink: of('ink'), paper: of('paper'), vein: of('vein'), faint: of('faint'), accent: of('accent'), heat: of('heat-strong'),
    regions: Array.from({ length: HUES }, (_, i) => of(`region-${i}`)),
    densities: Array.from({ length: DENSITIES }, (_, i) => of(`density-${i}`)),
  };
  probe.remove();
  return colours;
}

const DENSITIES = 5;

/** Of what a search found, so many stand out. */
const BEST = 40;

/** log10 of the densities at which the colour changes. */
export const DENSITY_STEPS = [-4, -3, -2, -1];

const step = (density: number) => {
  const log = Math.log10(Math.max(density, 1e-12));
  const i = DENSITY_STEPS.findIndex((s) => log < s);
  return i < 0 ? DENSITIES - 1 : i;
};

export function draw(ctx: CanvasRenderingContext2D, frame: Frame, scene: Scene, colours: Colours): void {
  ctx.clearRect(0, 0, frame.width, frame.height);
  lattice(ctx, frame, scene, colours);
  points(ctx, frame, scene, colours);
  if (scene.labels) {
    const words = new Words(ctx, frame, colours);
    names(words, scene);
    headlines(words, scene);
  }
}

/** The regions as the net of a husk. */
function lattice(ctx: CanvasRenderingContext2D, frame: Frame, scene: Scene, colours: Colours): void {
  const small = Math.min(frame.width, frame.height) < 320;
  ctx.lineWidth = small ? 0.8 : 1;
  ctx.strokeStyle = colours.vein;
  for (const cell of scene.cells) {
    if (cell.outline.length < 3) continue;
    rounded(ctx, cell.outline.map(([x, y]): Point => [frame.px(x), frame.py(y)]), small ? 5 : 12, cell, frame);
    ctx.globalAlpha = cell.region === scene.region ? 0.16 : scene.colouring === 'region' ? 0.055 : 0;
    ctx.fillStyle = colours.regions[cell.hue];
    ctx.fill();
    ctx.globalAlpha = 1;
    ctx.stroke();
  }
}

/** A path round a convex shape with its corners rounded, a little inside it, so that the veins between cells show. */
function rounded(ctx: CanvasRenderingContext2D, shape: Point[], radius: number, cell: Cell, frame: Frame): void {
  const cx = frame.px(cell.centre[0]);
  const cy = frame.py(cell.centre[1]);
  const inside = shape.map(([x, y]): Point => {
    const away = Math.hypot(x - cx, y - cy) || 1;
    return [x + ((cx - x) / away) * 1.6, y + ((cy - y) / away) * 1.6];
  });
  ctx.beginPath();
  inside.forEach((p, i) => {
    const before = inside[(i + inside.length - 1) % inside.length];
    const after = inside[(i + 1) % inside.length];
    if (i === 0) ctx.moveTo((before[0] + p[0]) / 2, (before[1] + p[1]) / 2);
    const half = Math.min(Math.hypot(p[0] - before[0], p[1] - before[1]), Math.hypot(after[0] - p[0], after[1] - p[1])) / 2;
    ctx.arcTo(p[0], p[1], after[0], after[1], Math.min(radius, half));
    ctx.lineTo((p[0] + after[0]) / 2, (p[1] + after[1]) / 2);
  });
  ctx.closePath();
}

function points(ctx: CanvasRenderingContext2D, frame: Frame, scene: Scene, colours: Colours): void {
  const { map, found } = scene;
  const hue = scene.cells.map((c) => c.hue);
  const n = map.ids.length;
  const radius = pointRadius(frame, n);
  // Circles are dear: past some thousand points squares look the same.
  const round = n <= 8000;
  const put = (i: number, r: number) => {
    const x = frame.px(map.x[i]);
    const y = frame.py(map.y[i]);
    if (x < -9 || y < -9 || x > frame.width + 9 || y > frame.height + 9) return;
    if (round) {
      ctx.moveTo(x + r, y);
      ctx.arc(x, y, r, 0, 7);
    } else ctx.fillRect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
  };
  const paint = (style: string, alpha: number, list: number[], r: number) => {
    ctx.fillStyle = style;
    ctx.globalAlpha = alpha;
    ctx.beginPath();
    for (const i of list) put(i, r);
    if (round) ctx.fill();
  };
  const palette = scene.colouring === 'region' ? colours.regions : colours.densities;
  const groups: number[][] = palette.map(() => []);
  const rank = found && new Map([...found].map((id, r) => [id, r]));
  const best: number[] = [];
  const others: number[] = [];
  for (let i = 0; i < n; i++) {
    const place = rank?.get(map.ids[i]);
    if (place !== undefined) (place < BEST ? best : others).push(i);
    else groups[scene.colouring === 'region' ? hue[map.region[i]] : step(map.density[i])].push(i);
  }
  groups.forEach((list, g) => paint(palette[g], found ? 0.16 : 0.72, list, radius));
  paint(colours.heat, 0.55, others, radius + 0.5);
  paint(colours.heat, 1, best, radius + 2.2);
  ctx.globalAlpha = 1;
}

/** Points in sight of which each may have its headline. */
const READABLE = 160;

export const pointRadius = (frame: Frame, n: number): number =>
  Math.max(0.7, Math.min(6, (0.21 * frame.scale) / Math.sqrt(n + 80) / Math.sqrt(frame.camera.zoom)));

/** Writes words on the map, and none where they would cover others. */
class Words {
  private readonly taken: [number, number, number, number][] = [];
  private readonly family: string;

  constructor(readonly ctx: CanvasRenderingContext2D, readonly frame: Frame, private readonly colours: Colours) {
    this.family = getComputedStyle(ctx.canvas).fontFamily;
    ctx.textBaseline = 'middle';
    ctx.lineJoin = 'round';
  }

  /** Centred at (x, y), or beginning there. */
  write(text: string, x: number, y: number, size: number, weight: number, align: 'center' | 'left', colour: string): void {
    const { ctx, frame } = this;
    ctx.font = `${weight} ${size}px ${this.family}`;
    ctx.textAlign = align;
    const wide = ctx.measureText(text).width;
    const left = align === 'center' ? x - wide / 2 : x;
    const box: [number, number, number, number] = [left - 6, y - size * 0.8, left + wide + 6, y + size * 0.8];
    if (box[0] < 0 || box[2] > frame.width || box[1] < 0 || box[3] > frame.height) return;
    if (this.taken.some((t) => box[0] < t[2] && box[2] > t[0] && box[1] < t[3] && box[3] > t[1])) return;
    this.taken.push(box);
    ctx.strokeStyle = this.colours.paper;
    ctx.lineWidth = 4;
    ctx.globalAlpha = 0.9;
    ctx.strokeText(text, x, y);
    ctx.globalAlpha = 1;
    ctx.fillStyle = colour;
    ctx.fillText(text, x, y);
  }

  get ink(): string {
    return this.colours.ink;
  }
}

/** Regions, those of large ones first. */
function names(words: Words, scene: Scene): void {
  const { frame } = words;
  const size = frame.width < 500 ? 12 : 14;
  for (const cell of [...scene.cells].sort((a, b) => b.size - a.size)) {
    if (cell.size) words.write(cell.name, frame.px(cell.centre[0]), frame.py(cell.centre[1]), size, 500, 'center', words.ink);
  }
}

/** Headlines beside their points, once few enough are in sight to be read. */
function headlines(words: Words, { map }: Scene): void {
  const { frame } = words;
  const radius = pointRadius(frame, map.ids.length);
  const inside = map.ids.flatMap((_, i) => {
    const [x, y] = [frame.px(map.x[i]), frame.py(map.y[i])];
    return x > 0 && y > 0 && x < frame.width && y < frame.height ? [[i, x, y]] : [];
  });
  if (inside.length > READABLE) return;
  for (const [i, x, y] of inside) words.write(map.headline[i], x + radius + 5, y, 13, 400, 'left', words.ink);
}
