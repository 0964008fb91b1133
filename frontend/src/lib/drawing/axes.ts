// Scales and ticks of the lab's drawings.
import { scaleLinear, scaleLog, type ScaleContinuousNumeric } from 'd3-scale';
import { number, powerOfTen, tenToThe } from '../text/format';
import type { Axis, Dots, Lines } from '../records/lab';

export interface Span {
  low: number;
  high: number;
}

export type Scale = ScaleContinuousNumeric<number, number>;

const known = (values: (number | null)[]) => values.filter((v): v is number => v !== null && Number.isFinite(v));

/** What an axis must reach, for all of these drawings alike: one that stays lets their frames be compared. */
export function spanOf(drawings: (Lines | Dots)[], side: 'x' | 'y'): Span {
  const axis = drawings[0][side];
  let values = drawings.flatMap((d) => [
    ...d.series.flatMap((s) => (side === 'x' ? s.x : [...s.y, ...s.low, ...s.high])),
    ...(side === 'y' ? d.rules.map((r) => r.at) : []),
  ]);
  if (axis.log) values = values.filter((v) => v !== null && v > 0);
  return within(axis, known(values));
}

export function within(axis: Axis, values: number[]): Span {
  let low = axis.low ?? Infinity;
  let high = axis.high ?? -Infinity;
  for (const v of values) {
    if (axis.low === null && v < low) low = v;
    if (axis.high === null && v > high) high = v;
  }
  if (!Number.isFinite(low)) low = axis.log ? 0.1 : 0;
  if (!Number.isFinite(high)) high = low + 1;
  if (low < high) return { low, high };
  return axis.log ? { low: low / 2, high: low * 2 } : { low: low - 0.5, high: low + 0.5 };
}

/** A scale over the span, rounded outwards where the axis does not say where it ends. */
export function scaleOf(axis: Axis, { low, high }: Span, range: [number, number]): Scale {
  if (axis.log) {
    const room = (high / low) ** 0.02;
    return scaleLog([axis.low ?? low / room, axis.high ?? high * room], range);
  }
  // Nearly nothing on a long scale is nothing.
  const from = axis.low ?? (low > 0 && low < 0.25 * high ? 0 : low);
  const nice = scaleLinear([from, high], range).nice(5).domain();
  return scaleLinear([axis.low ?? nice[0], axis.high ?? nice[1]], range);
}

export interface Tick {
  at: number;
  label: string;
}

/** At most about `most` ticks that can be read. */
export function ticksOf(axis: Axis, scale: Scale, most: number): Tick[] {
  if (axis.names.length) return axis.names.map((label, at) => ({ at, label }));
  if (!axis.log) {
    return scale.ticks(Math.max(2, most)).map((at) => ({ at, label: short(at) }));
  }
  const [low, high] = scale.domain();
  const decades = Math.log10(high / low);
  const steps = decades > 1.6 ? [1] : decades > 0.7 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7];
  // One spelling for all.
  const power = low < 0.005 || high > 5000 ? tenToThe : powerOfTen;
  const found: Tick[] = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
    for (const s of steps) {
      const at = s * 10 ** e;
      if (at >= low * 0.999 && at <= high * 1.001) found.push({ at, label: s === 1 ? power(e) : short(Number(at.toPrecision(3))) });
    }
  }
  const every = Math.ceil(found.length / Math.max(2, most));
  return found.filter((_, i) => i % every === 0);
}

/** "2k" rather than "2,000" beside others like it. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${number(value / 1e6)}M`;
  if (size >= 10_000) return `${number(value / 1000)}k`;
  return number(value);
}
