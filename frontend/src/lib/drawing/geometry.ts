// The shape of a map: its regions' cells and which point lies under a finger. Pure functions of places in [0, 1].
import type { Map } from '../records/atlas';

export type Point = readonly [x: number, y: number];

export interface Cell {
  region: number;
  name: string;
  centre: Point;
  size: number;
  /** Convex; empty for a region without features. */
  outline: Point[];
  /** One of `HUES`: no two cells with a common border have the same, as far as that many allow. */
  hue: number;
}

export const HUES = 6;

/** Cells of the regions. They are k-means clusters, so a region is all that lies nearest its centre: a Voronoi cell. */
function cells(map: Map): Cell[] {
  const n = map.regions.length;
  const size = new Array<number>(n).fill(0);
  const sumX = new Array<number>(n).fill(0);
  const sumY = new Array<number>(n).fill(0);
  map.region.forEach((r, i) => {
    size[r]++;
    sumX[r] += map.x[i];
    sumY[r] += map.y[i];
  });
  const centres: Point[] = size.map((s, r) => (s ? [sumX[r] / s, sumY[r] / s] : [NaN, NaN]));
  const husk = grow(hull(map.x.map((x, i): Point => [x, map.y[i]])), 0.035);
  const outlines = centres.map((c, r) => {
    let shape = size[r] ? husk : [];
    centres.forEach((other, o) => {
      if (o !== r && size[o]) shape = nearer(shape, c, other);
    });
    return shape;
  });
  const hues = colour(outlines);
  return centres.map((centre, region) => ({
    region, centre, size: size[region], name: map.regions[region], outline: outlines[region], hue: hues[region],
  }));
}

/** The part of a convex shape that lies nearer `a` than `b`. */
function nearer(shape: Point[], a: Point, b: Point): Point[] {
  const nx = b[0] - a[0];
  const ny = b[1] - a[1];
  const middle = (nx * (a[0] + b[0]) + ny * (a[1] + b[1])) / 2;
  const side = (p: Point) => nx * p[0] + ny * p[1] - middle;
  const out: Point[] = [];
  shape.forEach((p, i) => {
    const q = shape[(i + 1) % shape.length];
    const sp = side(p);
    const sq = side(q);
    if (sp <= 0) out.push(p);
    if (sp < 0 !== sq < 0 && sp !== sq) {
      const t = sp / (sp - sq);
      out.push([p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])]);
    }
  });
  return out;
}

/** Convex hull by Andrew's monotone chain. */
function hull(points: Point[]): Point[] {
  const sorted = [...points].sort((p, q) => p[0] - q[0] || p[1] - q[1]);
  const half = (list: Point[]) => {
    const out: Point[] = [];
    for (const p of list) {
      while (out.length > 1 && turn(out[out.length - 2], out[out.length - 1], p) <= 0) out.pop();
      out.push(p);
    }
    out.pop();
    return out;
  };
  return [...half(sorted), ...half(sorted.reverse())];
}

const turn = (o: Point, p: Point, q: Point) => (p[0] - o[0]) * (q[1] - o[1]) - (p[1] - o[1]) * (q[0] - o[0]);

/** A convex shape moved outwards by `margin` and its corners cut twice. Something round where there is no shape. */
function grow(shape: Point[], margin: number): Point[] {
  const n = Math.max(1, shape.length);
  const cx = shape.reduce((s, p) => s + p[0], 0) / n || 0.5;
  const cy = shape.reduce((s, p) => s + p[1], 0) / n || 0.5;
  if (shape.length < 3) {
    return Array.from({ length: 24 }, (_, i) => [cx + 0.3 * Math.cos((i * Math.PI) / 12), cy + 0.3 * Math.sin((i * Math.PI) / 12)]);
  }
  let out = shape.map(([x, y]): Point => {
    const away = Math.hypot(x - cx, y - cy) || 1;
    return [x + ((x - cx) / away) * margin, y + ((y - cy) / away) * margin];
  });
  for (let pass = 0; pass < 2; pass++) {
    out = out.flatMap((p, i): Point[] => {
      const q = out[(i + 1) % out.length];
      return [[p[0] * 0.8 + q[0] * 0.2, p[1] * 0.8 + q[1] * 0.2], [p[0] * 0.2 + q[0] * 0.8, p[1] * 0.2 + q[1] * 0.8]];
    });
  }
  return out;
}

/** Greedy colouring, cells with most neighbours first, the hue least used among those that are free. */
function colour(outlines: Point[][]): number[] {
  const keys = outlines.map((o) => new Set(o.map(([x, y]) => `${Math.round(x * 1e6)},${Math.round(y * 1e6)}`)));
  const beside = keys.map((a, i) =>
    keys.flatMap((b, j) => (i !== j && [...a].filter((k) => b.has(k)).length >= 2 ? [j] : [])),
  );
  const hue = new Array<number>(outlines.length).fill(-1);
  const used = new Array<number>(HUES).fill(0);
  const order = [...outlines.keys()].sort((i, j) => beside[j].length - beside[i].length);
  for (const i of order) {
    const taken = new Set(beside[i].map((j) => hue[j]));
    const free = [...used.keys()].filter((h) => !taken.has(h));
    const pool = free.length ? free : [...used.keys()];
    hue[i] = pool.reduce((best, h) => (used[h] < used[best] ? h : best));
    used[hue[i]]++;
  }
  return hue;
}

/** Finds the point nearest a place: points sorted into a grid once. */
export class Finder {
  private grid: number[][];
  private readonly n: number;

  constructor(private readonly x: number[], private readonly y: number[]) {
    this.n = Math.max(1, Math.min(256, Math.round(Math.sqrt(x.length) / 2)));
    this.grid = Array.from({ length: this.n * this.n }, () => []);
    x.forEach((_, i) => this.grid[this.at(y[i]) * this.n + this.at(x[i])].push(i));
  }

  private at(v: number): number {
    return Math.max(0, Math.min(this.n - 1, Math.floor(v * this.n)));
  }

  /** Index of the point nearest (x, y) within `radius`, -1 if there is none. */
  nearest(x: number, y: number, radius: number): number {
    let best = -1;
    let least = radius * radius;
    for (let row = this.at(y - radius); row <= this.at(y + radius); row++) {
      for (let column = this.at(x - radius); column <= this.at(x + radius); column++) {
        for (const i of this.grid[row * this.n + column]) {
          const d = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
          if (d <= least) [best, least] = [i, d];
        }
      }
    }
    return best;
  }
}

/** Where one looks: the middle of the view in map places, and how many times larger than all of it. */
export interface Camera {
  x: number;
  y: number;
  zoom: number;
}

export const whole: Camera = { x: 0.5, y: 0.5, zoom: 1 };

/** Between places and pixels of a view. */
export class Frame {
  readonly scale: number;

  constructor(readonly width: number, readonly height: number, readonly camera: Camera) {
    this.scale = Math.min(width, height) * 0.93 * camera.zoom;
  }

  px(x: number): number {
    return (x - this.camera.x) * this.scale + this.width / 2;
  }

  py(y: number): number {
    return (y - this.camera.y) * this.scale + this.height / 2;
  }

  x(px: number): number {
    return (px - this.width / 2) / this.scale + this.camera.x;
  }

  y(py: number): number {
    return (py - this.height / 2) / this.scale + this.camera.y;
  }
}

const known = new WeakMap<Map, { cells: Cell[]; finder: Finder }>();

/** A map's cells and finder, worked out once. */
export function shapeOf(map: Map): { cells: Cell[]; finder: Finder } {
  let shape = known.get(map);
  if (!shape) known.set(map, (shape = { cells: cells(map), finder: new Finder(map.x, map.y) }));
  return shape;
}
