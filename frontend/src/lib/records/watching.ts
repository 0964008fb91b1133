// The records of physalis.web.watch.run and physalis.atlas.build.preview, field by field. tests/web/watch/test_watching.py compares them.
import type { Example } from './atlas';

/** Rows of the history as columns. */
export interface Curves {
  tokens: number[];
  loss: number[];
  fvu: number[];
  l0: number[];
  dead: number[];
}

export interface Watched {
  name: string;
  state: 'waiting' | 'training' | 'stopped' | 'finished';
  architecture: string;
  n_features: number;
  k: number;
  d_in: number;
  step: number;
  steps: number;
  tokens: number;
  n_tokens: number;
  rate: number | null;
  left: number | null;
  since: number | null;
  curves: Curves;
  readable: string;
  note: string;
}

export interface Preview {
  id: number;
  headline: string;
  density: number;
  max_code: number;
  examples: Example[];
}

export interface First {
  readable: string;
  step: number;
  n_tokens: number;
  held_out: boolean;
  text: string;
  features: Preview[];
  lack: string;
}

/** 95 → "95 s", 400 → "7 min", 9000 → "2.5 h". */
export function lasting(seconds: number): string {
  if (seconds < 100) return `${Math.max(1, Math.round(seconds))}\u00a0s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}\u00a0min`;
  return `${(seconds / 3600).toFixed(1)}\u00a0h`;
}
