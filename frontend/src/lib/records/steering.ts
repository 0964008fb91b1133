// The records of physalis.steering and physalis.web.atlas.steering, field by field, and edits as addresses spell them.
// tests/web/atlas/test_steering_page.py compares them.

export interface Add {
  feature: number;
  kind: 'add';
  strength: number;
}
export interface Clamp {
  feature: number;
  kind: 'clamp';
  value: number;
}
export interface Scale {
  feature: number;
  kind: 'scale';
  factor: number;
}
export interface Project {
  feature: number;
  kind: 'project';
  strength: number;
}
export interface Cap {
  feature: number;
  kind: 'cap';
  limit: number;
}
export type Edit = Add | Clamp | Scale | Project | Cap;
export type Kind = Edit['kind'];

export interface Steerable {
  model: string;
  site: string;
  unit: number | null;
  answers: boolean;
  doses: boolean;
}

export interface Step {
  plain: string | null;
  edited: string | null;
}

export interface Measured {
  value: number;
  low: number | null;
  high: number | null;
}
export interface Dose {
  strength: number;
  target: Measured;
  times: Measured;
  kl: Measured;
  perplexity: Measured;
}
export interface Response {
  name: string;
  doses: Dose[];
  suggested: number | null;
  cliff: number | null;
}
export interface DoseResponse {
  feature: number;
  target: string[];
  target_ids: number[];
  unedited: Measured;
  cost: number;
  n_tokens: number;
  unit: number;
  responses: Response[];
}

/** What an edit is called, and what its amount is of. */
export const KINDS: Record<Kind, { name: string; amount: 'strength' | 'value' | 'factor' | 'limit'; start: number; help: string }> = {
  add: { name: 'add', amount: 'strength', start: 0.25, help: 'adds this much of the feature’s direction at every token' },
  clamp: { name: 'clamp to', amount: 'value', start: 0.25, help: 'sets the feature’s activation to this at every token' },
  scale: { name: 'multiply by', amount: 'factor', start: 0, help: '0 ablates the feature, 1 does nothing' },
  project: { name: 'project to', amount: 'strength', start: 0, help: 'sets the projection on the feature’s direction to this at every token' },
  cap: { name: 'cap at', amount: 'limit', start: 0, help: 'limits the projection on the feature’s direction to at most this' },
};

/** An edit of this kind and amount. */
export const edit = (kind: Kind, feature: number, amount: number): Edit => ({ kind, feature, [KINDS[kind].amount]: amount }) as unknown as Edit;

export const amountOf = (e: Edit): number => (e as unknown as Record<string, number>)[KINDS[e.kind].amount];

/** "add:12:40", as physalis.steering.parse_edit reads it. */
export const spell = (e: Edit): string => `${e.kind}:${e.feature}:${amountOf(e)}`;

export function read(text: string): Edit | null {
  const [kind, feature, amount] = text.split(':');
  if (!(kind in KINDS) || !/^\d+$/.test(feature ?? '') || !Number.isFinite(parseFloat(amount))) return null;
  return edit(kind as Kind, Number(feature), parseFloat(amount));
}

/** How many tokens both texts begin with. */
export function alike(plain: string[], edited: string[]): number {
  let n = 0;
  while (n < plain.length && n < edited.length && plain[n] === edited[n]) n++;
  return n;
}
