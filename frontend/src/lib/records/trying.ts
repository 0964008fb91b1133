// The records of physalis.web.atlas.try_records and physalis.search, field by field, and questions as addresses spell them.
// tests/web/atlas/test_try_page.py compares them.

export interface Tryable {
  meaning: boolean;
}

export interface Try {
  text: string;
  strongest: number;
  sort: 'peak' | 'relative' | 'total' | 'tokens';
  densest: number;
  limit: number;
}
export interface TryFeatures {
  text: string;
  feature: number[];
}
export interface TryToken {
  text: string[];
  token: string;
  limit: number;
}
export interface TryContrast {
  here: string[];
  there: string[];
  measure: 'mean_code' | 'share_of_tokens' | 'share_of_texts';
  limit: number;
}
export interface TryMeaning {
  query: string;
  limit: number;
}

export interface Named {
  id: number;
  headline: string;
  density: number;
  max_code: number;
}
export interface TokenCode {
  id: number;
  code: number;
}
export interface TriedToken {
  token: string;
  left_out: string | null;
  features: TokenCode[];
}
export interface FiredFeature {
  id: number;
  peak: number;
  at: number;
  total: number;
  tokens: number;
}
export interface Tried {
  state: string;
  tokens: TriedToken[];
  n_fired: number;
  features: FiredFeature[];
  names: Named[];
}
export interface Trace {
  feature: Named;
  codes: number[];
}
export interface Traced {
  state: string;
  tokens: string[];
  left_out: (string | null)[];
  traces: Trace[];
}

export interface TokenFeature {
  id: number;
  fires: number;
  low: number | null;
  high: number | null;
  elsewhere: number;
  mean_code: number;
  share_of_code: number;
}
export interface OnToken {
  id: number;
  n: number;
  n_texts: number;
  features: TokenFeature[];
}
export interface TokenTried {
  state: string;
  on: OnToken;
  names: Named[];
}

export interface Contrasted {
  id: number;
  here: number;
  there: number;
  difference: number;
  low: number | null;
  high: number | null;
  effect: number | null;
  p: number;
  q: number;
  baseline: number;
  texts_here: number;
  texts_there: number;
}
export interface Contrast {
  measure: string;
  n_here: number;
  n_there: number;
  n_features: number;
  labellings: number;
  exhaustive: boolean;
  least_q: number;
  found: number;
  more_here: Contrasted[];
  more_there: Contrasted[];
}
export interface ContrastTried {
  state: string;
  verdict: string;
  contrast: Contrast;
  names: Named[];
}

export interface Meant {
  id: number;
  cosine: number;
  text: string;
}
export interface Found {
  typical: number;
  features: Meant[];
}
export interface MeaningTried {
  state: string;
  found: Found;
  names: Named[];
}

/** What each way of asking is asked; what is left out has its default value. */
export interface Questions {
  text: Partial<Try>;
  contrast: Partial<TryContrast>;
  token: Partial<TryToken>;
  meaning: Partial<TryMeaning>;
}
export interface Answers {
  text: Tried;
  contrast: ContrastTried;
  token: TokenTried;
  meaning: MeaningTried;
}
export type Mode = keyof Questions;

export const MODES: Record<Mode, { name: string; path: string; about: string }> = {
  text: { name: 'Text', path: '/api/try', about: 'Which features fire on it, and on which of its tokens?' },
  contrast: { name: 'Contrast', path: '/api/contrast', about: 'Which features are more active in texts A than in texts B, or the reverse?' },
  token: { name: 'By token', path: '/api/try/token', about: 'Which features fire on one kind of token, and not on others?' },
  meaning: { name: 'By meaning', path: '/api/meaning', about: 'Which features have a headline or label with this meaning?' },
};

const LISTS: Partial<Record<Mode, string[]>> = { contrast: ['here', 'there'], token: ['text'] };
const NUMBERS = ['strongest', 'densest', 'limit'];
/** Of the page, not of the question. */
const OWN = ['mode', 'at', 'trace'];

export const modeOf = (given: URLSearchParams): Mode => {
  const mode = given.get('mode') ?? 'text';
  return Object.hasOwn(MODES, mode) ? (mode as Mode) : 'text';
};

/** The question that an address holds: nothing where it holds none. */
export function questionOf<M extends Mode>(mode: M, given: URLSearchParams): Questions[M] | undefined {
  const names = [...new Set(given.keys())].filter((name) => !OWN.includes(name));
  if (!names.length) return undefined;
  const value = (name: string) => {
    if (LISTS[mode]?.includes(name)) return given.getAll(name);
    return NUMBERS.includes(name) ? Number(given.get(name)) : given.get(name);
  };
  return Object.fromEntries(names.map((name) => [name, value(name)])) as Questions[M];
}

/** One text a line; where there are empty lines, these part the texts, which may have lines of their own. */
export const split = (typed: string): string[] => typed.split(/\n\s*\n/.test(typed) ? /\n\s*\n/ : '\n').filter((text) => text.trim());
export const join = (texts: string[]): string => (texts.some((text) => text.includes('\n')) ? texts.join('\n\n') + '\n\n' : texts.join('\n'));
