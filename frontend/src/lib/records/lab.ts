// The records of physalis.lab.pages and physalis.lab.checks, field by field. tests/web/lab/test_lab_pages.py compares them.

export interface Axis {
  label: string;
  log: boolean;
  low: number | null;
  high: number | null;
  names: string[];
}

/** A line across the drawing at a value that theory names. */
export interface Rule {
  at: number;
  label: string;
}

/** One line, or one group of dots. */
export interface Series {
  name: string;
  x: (number | null)[];
  y: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  faint: boolean;
}

export interface Lines {
  kind: 'lines';
  title: string;
  x: Axis;
  y: Axis;
  series: Series[];
  rules: Rule[];
  follows: string;
}

export interface Dots {
  kind: 'dots';
  title: string;
  x: Axis;
  y: Axis;
  series: Series[];
  rules: Rule[];
  follows: string;
}

/** Directions in the plane, from the origin. */
export interface Vectors {
  kind: 'vectors';
  title: string;
  x: number[];
  y: number[];
  weight: number[];
  group: number[];
  names: string[];
  linked: boolean;
  reach: number | null;
}

/** A matrix in colour, the first row at the top. */
export interface Cells {
  kind: 'cells';
  title: string;
  values: (number | null)[][];
  scale: 'diverging' | 'sequential' | 'classes';
  classes: string[];
  ground: number | null;
  rows: string;
  columns: string;
  row_ticks: string[];
  column_ticks: string[];
  lines: Series[];
}

/** Bars with parts: `parts[i][j]` is bar i's share in part j. */
export interface Stacks {
  kind: 'stacks';
  title: string;
  bars: string[];
  parts: number[][];
  names: string[];
  value: Axis;
}

export interface Words {
  kind: 'words';
  title: string;
  columns: string[];
  rows: string[][];
}

export type Panel = Lines | Dots | Vectors | Cells | Stacks | Words;

export interface Slider {
  name: string;
  values: string[];
  start: number;
  alike: boolean;
}

export interface Frame {
  at: number[];
  panels: Panel[];
}

export interface Page {
  id: string;
  title: string;
  idea: string;
  original: string;
  source: string;
  link: string;
  sliders: Slider[];
  frames: Frame[];
  panels: Panel[];
}

/** One statement held against numbers; a bound that does not exist is null. */
export interface Finding {
  what: string;
  /** null: it could not be measured. */
  value: number | null;
  low: number | null;
  high: number | null;
  seeds: (number | null)[];
  holds: boolean;
}

export interface Check {
  id: string;
  claim: string;
  source: string;
  findings: Finding[];
  control: string;
  control_findings: Finding[];
  seconds: number;
  control_fails: boolean;
  passed: boolean;
}

/** What the index shows of an experiment; see physalis.web.lab.app. */
export interface Card {
  id: string;
  title: string;
  idea: string;
  source: string;
  passed: boolean;
  seconds: number;
  picture: Panel | null;
}

/** Where sliders stand in a drawing that follows some: on the x axis, or in a row and a column. */
export interface Mark {
  x?: number;
  row?: number;
  column?: number;
}

export function followed(panel: Panel, sliders: Slider[], at: number[]): Mark {
  if (panel.kind === 'cells') {
    const place = (name: string, ticks: string[]) => {
      const i = sliders.findIndex((s) => s.name === name);
      const k = i < 0 ? -1 : ticks.indexOf(sliders[i].values[at[i]]);
      return k < 0 ? undefined : k;
    };
    return { row: place(panel.rows, panel.row_ticks), column: place(panel.columns, panel.column_ticks) };
  }
  if (panel.kind !== 'lines' && panel.kind !== 'dots') return {};
  const i = sliders.findIndex((s) => s.name === (panel.follows || panel.x.label));
  if (i < 0) return {};
  const points = panel.series.find((s) => !s.faint)?.x ?? [];
  if (panel.follows && points.length === sliders[i].values.length) return { x: points[at[i]] ?? undefined };
  const text = sliders[i].values[at[i]].replaceAll(',', '').replace('−', '-');
  const value = parseFloat(text) / (text.endsWith('%') ? 100 : 1);
  return Number.isFinite(value) ? { x: value } : {};
}

/** Whether all values are shown side by side: where they are words, or a few. A slider has a stop for each. */
export const sideBySide = ({ values }: Slider): boolean =>
  values.length <= 3 || (values.length <= 5 && values.some((v) => Number.isNaN(parseFloat(v.replace('−', '-')))));

/** The frame at these positions: the last slider's are fastest. */
export const frameAt = (page: Page, at: number[]): Frame =>
  page.frames[page.sliders.reduce((sum, slider, i) => sum * slider.values.length + at[i], 0)];
