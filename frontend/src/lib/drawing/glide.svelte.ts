// Panels that change move: every number of one goes to that of the next, so that a vector can be followed.
import { cubicInOut } from 'svelte/easing';
import { prefersReducedMotion, Tween } from 'svelte/motion';
import type { Panel } from '../records/lab';

const LONG = 420;

/** Numbers that are names: half way between two groups is no group. */
const NAMES = new Set(['group', 'start', 'at']);

/** `t` of the way from `a` to `b`, number by number where both have the same shape; elsewhere `b`. */
function between(a: any, b: any, t: number): any {
  if (typeof b === 'number') return typeof a === 'number' ? a + (b - a) * t : b;
  if (Array.isArray(b)) return Array.isArray(a) && a.length === b.length ? b.map((v, i) => between(a[i], v, t)) : b;
  if (b && typeof b === 'object') {
    const from = a ?? {};
    return Object.fromEntries(Object.entries(b).map(([key, v]) => [key, NAMES.has(key) ? v : between(from[key], v, t)]));
  }
  return b;
}

const fluid = (a: Panel, b: Panel) => a.kind === b.kind && !(b.kind === 'cells' && b.scale === 'classes');

/** The panel as it is to be drawn now, on its way to what `panel` returns. */
export function glide<P extends Panel>(panel: () => P): { readonly current: P } {
  return Tween.of(panel, {
    easing: cubicInOut,
    duration: (a, b) => (prefersReducedMotion.current || a === b || !fluid(a, b) ? 0 : LONG),
    interpolate: (a, b) => (t) => (t >= 1 ? b : t <= 0 ? a : between(a, b, t)),
  });
}
