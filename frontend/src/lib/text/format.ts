// Numbers as people read them.
import { format } from 'd3-format';

const comma = format(',');
const three = format('.3~g');
const fixed3 = format('.3f');

/** 12345 → "12,345". */
export const count = (n: number): string => comma(Math.round(n));

/** Three significant digits, a real minus sign, no exponent between 0.001 and a million. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size >= 1000) return (value < 0 ? '−' : '') + comma(Math.round(size));
  if (size !== 0 && size < 0.001) return power(value);
  return three(value).replace('-', '−');
}

/** For a column of numbers near 1: ".117". */
export function fraction(value: number): string {
  if (Math.abs(value) >= 10) return number(value);
  const text = fixed3(Math.abs(value)).replace(/^0\./, '.');
  return (value < 0 && Number(text) !== 0 ? '−' : '') + text;
}

/** 0.0234 → "2.3 %", 0.00012 → "0.012 %". */
export function percent(share: number): string {
  const value = share * 100;
  if (value === 0) return '0\u00a0%';
  if (value >= 99.5 && value < 100) return `${value.toFixed(1)}\u00a0%`;
  if (value >= 10) return `${Math.round(value)}\u00a0%`;
  if (value >= 0.001) return `${three(Number(value.toPrecision(2)))}\u00a0%`;
  return `${power(value)}\u00a0%`;
}

/** 0.00042 → "1 in 2,400". */
export function oneIn(share: number): string {
  if (share <= 0) return 'never';
  const every = 1 / share;
  return `1 in ${count(every < 20 ? Math.round(every) : Number(every.toPrecision(2)))}`;
}

const SUPERSCRIPT = '⁰¹²³⁴⁵⁶⁷⁸⁹';

function power(value: number): string {
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  const digits = [...String(Math.abs(exponent))].map((d) => SUPERSCRIPT[Number(d)]).join('');
  const mantissa = three(Number((value / 10 ** exponent).toPrecision(2))).replace('-', '−');
  return `${mantissa}·10${exponent < 0 ? '⁻' : ''}${digits}`;
}

/** 10 to a whole number: "0.01 %" of tokens and the like, for axes. */
export function powerOfTen(exponent: number): string {
  return exponent >= -2 && exponent <= 3 ? comma(10 ** exponent) : tenToThe(exponent);
}

/** "10⁴", but 1 and 10 as they are. */
export function tenToThe(exponent: number): string {
  if (exponent === 0 || exponent === 1) return String(10 ** exponent);
  const digits = [...String(Math.abs(exponent))].map((d) => SUPERSCRIPT[Number(d)]).join('');
  return `10${exponent < 0 ? '⁻' : ''}${digits}`;
}

/** ".132–.140", "1.2–1.9 %". */
export function interval(ends: { low: number | null; high: number | null }, as: (value: number) => string): string {
  if (ends.low === null || ends.high === null) return 'too few documents for an interval';
  const [low, high] = [as(ends.low), as(ends.high)];
  const unit = '\u00a0%';
  return `${low.endsWith(unit) && high.endsWith(unit) ? low.slice(0, -unit.length) : low}–${high}`;
}
