// Colours of the lab's panels: custom properties of parts/shell/Theme.svelte, mixed by the browser or, for a canvas, here.
import type { Series } from '../records/lab';

export const SERIES = 7;

/** Of line, group or part i. */
export const series = (i: number): string => `var(--series-${((i % SERIES) + SERIES) % SERIES})`;

/** Of class i: areas are paler than lines, and the ground palest. */
export const kind = (i: number, ground: number | null): string =>
  i === ground ? 'var(--ground)' : `color-mix(in oklab, ${series(i)} ${CLASS * 100}%, var(--paper))`;

const CLASS = 0.66;

/** From what matters little (0) to what matters most (1). */
export function weight(w: number): string {
  const share = Math.max(0, Math.min(1, w)) * 2;
  const [from, to] = share < 1 ? [0, 1] : [1, 2];
  return `color-mix(in oklab, var(--weight-${to}) ${((share - from) * 100).toFixed(0)}%, var(--weight-${from}))`;
}

/** Names of series in the order of their colours: those that stand behind have none of their own. */
export function coloured(all: Series[]): Map<string, string> {
  const names = [...new Set(all.filter((s) => !s.faint).map((s) => s.name))];
  const colours = new Map(names.map((name, i) => [name, series(i)]));
  for (const s of all) if (!colours.has(s.name)) colours.set(s.name, 'var(--faint)');
  return colours;
}

export type RGB = [number, number, number];

/** The same for a canvas. */
export const kinds = ([paper, pale, ...series]: RGB[], ground: number | null): RGB[] =>
  series.map((s, i) => (i === ground ? pale : ramp([paper, s], 101)[CLASS * 100]));

/** What the browser makes of a colour at this element, as bytes. */
export function resolve(element: Element, names: string[]): RGB[] {
  const probe = document.createElement('i');
  element.append(probe);
  const ctx = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })!;
  const found = names.map((name): RGB => {
    probe.style.color = `var(--${name})`;
    ctx.fillStyle = getComputedStyle(probe).color;
    ctx.fillRect(0, 0, 1, 1);
    const [r, g, b] = ctx.getImageData(0, 0, 1, 1).data;
    return [r, g, b];
  });
  probe.remove();
  return found;
}

const linear = (v: number) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const gamma = (v: number) => 255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);

function toLab([r, g, b]: RGB): RGB {
  const [x, y, z] = [linear(r), linear(g), linear(b)];
  const l = Math.cbrt(0.4122214708 * x + 0.5363325363 * y + 0.0514459929 * z);
  const m = Math.cbrt(0.2119034982 * x + 0.6806995451 * y + 0.1073969566 * z);
  const s = Math.cbrt(0.0883024619 * x + 0.2817188376 * y + 0.6299787005 * z);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function fromLab([L, a, b]: RGB): RGB {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    gamma(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    gamma(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    gamma(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ].map((v) => Math.max(0, Math.min(255, v))) as RGB;
}

/** `n` colours through `stops` at equal distances, even to the eye. */
export function ramp(stops: RGB[], n = 256): RGB[] {
  const labs = stops.map(toLab);
  return Array.from({ length: n }, (_, i) => {
    const at = (i / (n - 1)) * (stops.length - 1);
    const k = Math.min(stops.length - 2, Math.floor(at));
    return fromLab(labs[k].map((v, c) => v + (labs[k + 1][c] - v) * (at - k)) as RGB);
  });
}
